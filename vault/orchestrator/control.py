"""The control loop's one decider: orchestrate, allocate, schedule.

Pure, as its stages are.  Called by `vault.daemon.loops` on the leader.
"""

from vault.network.allocation.allocator import Allocator
from vault.orchestrator.enforcer import enforce
from vault.orchestrator.orphans import Orphans
from vault.orchestrator.reaper import Reaper
from vault.orchestrator.rounds import Rounds
from vault.orchestrator.services import Services
from vault.scheduler.schedule import Scheduler


def new_control() -> Rounds:
    """Return the decider of a leader; make a new one when leadership is won."""
    return Rounds((Services(), Reaper(), Allocator(), Scheduler()), ending=(enforce, Orphans()))
