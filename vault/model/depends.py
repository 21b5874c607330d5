"""What a service waits for before its tasks start: the label that says so, written and read.  Pure.

Written by `vault.stack` from `depends_on`, checked by `vault.store`, honoured by `vault.orchestrator.depends`.  It is
a label so that it survives what other clients do to a service.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vault.model.errors import InvalidArgument
from vault.model.names import check_service_name

DEPENDS_LABEL: Final = "vault.stack.depends-on"  # demo_db=service_healthy,demo_setup=service_completed_successfully


class Condition(StrEnum):
    """What has to be true of a service once."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Another service, and what has to be true of it."""

    service: str  # Its name in the cluster.
    condition: Condition


def depends_label(dependencies: Iterable[Dependency]) -> str:
    """Return the label's value."""
    return ",".join(f"{one.service}={one.condition.value}" for one in dependencies)


def dependencies_of(labels: Mapping[str, str]) -> tuple[Dependency, ...]:
    """Return what a service's labels say that it waits for; raise `InvalidArgument` when it is no such label."""
    text = labels.get(DEPENDS_LABEL)
    if not text:
        return ()
    return tuple(_dependency(part) for part in text.split(","))


def _dependency(part: str) -> Dependency:
    service, _, condition = part.strip().partition("=")
    try:
        check_service_name(service)
        return Dependency(service=service, condition=Condition(condition or Condition.STARTED))
    except (InvalidArgument, ValueError):
        raise InvalidArgument(
            f"label {DEPENDS_LABEL}: {part[:100]!r} is not SERVICE=CONDITION, with one of the conditions "
            f"{', '.join(Condition)}"
        ) from None
