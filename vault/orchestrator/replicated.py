"""Replicated services: which slots should be filled, and by which tasks.

Pure.  Makes one step of a task's life, (nothing) -> NEW.  Called by `services` for one service at a time.
"""

from itertools import count, islice

from vault.model.task import State
from vault.orchestrator.work import SlotKey, Work, asked_to_stop

MAX_NEW = 128  # Tasks made in one decision; the rest follow in the next.
MAX_SURPLUS = 512  # Slots given up in one, likewise.


def reconcile(work: Work) -> None:
    """Bring a service to its number of replicas; of many missing tasks, make some and note the slots of the rest.

    New tasks take the lowest free slots.  Surplus slots leave in SwarmKit's order: first those without a running task,
    then those on the nodes that have most of the service's tasks, then the highest.
    """
    filled = {key for key in work.slots if work.filled(key)}
    missing = work.service.replicas - len(filled)
    if missing > 0:
        free = islice((slot for slot in count(1) if slot not in filled), missing)
        for slot in islice(free, MAX_NEW):
            work.put(work.new_task(slot))
        work.empty = tuple(free)
    elif missing < 0:
        for key in _by_worth(work, filled)[missing:][-MAX_SURPLUS:]:
            remove_slot(work, key)


def fill(work: Work) -> None:
    """Make tasks for the slots that are looked at, which an earlier look found empty."""
    for slot in work.keys or ():
        if not work.filled(slot):
            work.put(work.new_task(slot))


def remove_slot(work: Work, key: SlotKey) -> None:
    """Ask every task of a slot to go, and its history with it."""
    for task in work.tasks(key):
        if task.desired_state < State.REMOVE:
            work.put(asked_to_stop(task, work.now, State.REMOVE))


def _by_worth(work: Work, filled: set[SlotKey]) -> list[SlotKey]:
    """Return the filled slots, those to keep first."""

    def running(key: SlotKey) -> bool:
        return any(task.state is State.RUNNING for task in work.wanted(key))

    ranked: list[tuple[bool, int, SlotKey]] = []
    seen_on: dict[str, int] = {}
    for key in sorted(filled, key=lambda key: (not running(key), key)):
        node_id = next((task.node_id for task in work.wanted(key)), "")
        nth = seen_on.get(node_id, 0)  # The nth task of this service on its node, the surest first.
        seen_on[node_id] = nth + 1
        ranked.append((not running(key), nth, key))
    return [key for _, _, key in sorted(ranked)]
