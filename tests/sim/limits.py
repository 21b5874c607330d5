"""How much is done in one decision, made so small that what follows in the next has to be done, too."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from tests.sim.judge import placement
from vault.orchestrator import exchange, global_, job_slots, jobs, leaving, replicated, services
from vault.scheduler import fleet, schedule
from vault.store import rules_service

LIMITS = (
    (replicated, "MAX_NEW", 2),
    (replicated, "MAX_SURPLUS", 2),
    (global_, "MAX_NEW", 2),
    (jobs, "MAX_NEW", 1),
    (job_slots, "MAX_NEW", 1),
    (services, "MAX_LOOKS", 10),
    (services, "MAX_CHANGES", 1),
    (leaving, "MAX_ASKED", 2),
    (leaving, "MAX_LOOKS", 3),
    (exchange, "MAX_EXCHANGED", 2),
    (schedule, "MAX_CHANGES", 3),
    (schedule, "MAX_LOOKS", 10),
    (schedule, "MAX_READ", 10),
    (fleet, "MAX_FAILURES", 2),
    (placement, "FAILURES", 2),
    (rules_service, "STOPPED_WITH_IT", 1),
)


@contextmanager
def small() -> Iterator[None]:
    """Let little be done at a time."""
    with ExitStack() as stack:
        for module, name, value in LIMITS:
            stack.enter_context(patch.object(module, name, value))
        yield
