"""What a failure prints: who did what, when, as far as it concerns what was violated."""

from collections import deque
from collections.abc import Iterable

from tests.sim.clock import START_S, Clock
from vault.model.node import Node
from vault.model.service import Service
from vault.model.task import Task
from vault.store.changes import AnyObject

LINES = 25  # That a failure prints.
KEPT = 4_000
Change = tuple[AnyObject | None, AnyObject | None]


class Violation(AssertionError):
    """Something that must never be was seen."""

    def __init__(self, sentence: str, told: str) -> None:
        super().__init__(f"{sentence}\n{told}")
        self.sentence = sentence


class Story:
    """Everything that happened lately; lines are made only when somebody reads them."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self.seed = seed
        self._clock = clock
        self._lines: deque[tuple[float, str, str | Change, frozenset[str]]] = deque(maxlen=KEPT)

    def tell(self, who: str, what: str, *about: str) -> None:
        """Remember what somebody did.  about: ids it concerns; none = everybody."""
        self._lines.append((self._clock.now_s, who, what, frozenset(about)))

    def changed(self, who: str, old: AnyObject | None, new: AnyObject | None) -> None:
        """Remember what somebody wrote."""
        one = new if new is not None else old
        assert one is not None
        if isinstance(one, Task):
            about = frozenset((one.id, one.service_id, slot_of(one), one.node_id))
        else:
            about = frozenset((one.id,))
        self._lines.append((self._clock.now_s, who, (old, new), about))

    def fail(self, sentence: str, *about: str) -> Violation:
        """Return what is raised when `sentence` describes a violation that concerns the objects named."""
        return Violation(sentence, self.told(about))

    def told(self, about: Iterable[str] = (), lines: int = LINES) -> str:
        """Return the seed and the last lines that concern what is asked about, or everybody."""
        wanted = frozenset(about) - {""}
        chosen = [one for one in self._lines if not wanted or not one[3] or one[3] & wanted]
        shown = (line for line in map(shown_line, chosen) if line)
        return "\n".join([f"seed {self.seed}", *list(shown)[-lines:], f"{self._clock.now_s - START_S:9.3f}  now"])


def slot_of(task: Task) -> str:
    """Return the slot of a task in words: `service.3`, or `service.node`."""
    return f"{task.service_id}.{task.slot_key}"


def shown_line(entry: tuple[float, str, str | Change, frozenset[str]]) -> str:
    """Return an entry in one line; "" when it says nothing."""
    at_s, who, what, _ = entry
    text = what if isinstance(what, str) else shown_change(*what)
    return f"{at_s - START_S:9.3f}  {who:9} {text}" if text else ""


def shown_change(old: AnyObject | None, new: AnyObject | None) -> str:
    """Return in words what a write changed."""
    match old, new:
        case Task(), None:
            return f"{shown_task(old)} deleted"
        case None, Task():
            return f"{shown_task(new)} made, {new.state.value}, wanted {new.desired_state.value}"
        case Task(), Task():
            return f"{shown_task(new)} {shown_moves(old, new)}"
        case Service(), Service() if old.update_status != new.update_status:
            status = new.update_status
            return f"{new.id}: {status.state.value} ({status.message})" if status else f"{new.id}: no update"
        case Service(), Service() if old.endpoint != new.endpoint:
            return f"{new.id} has its addresses"
        case Node(), Node() if old.status != new.status:
            return f"{new.id} is {new.status.state}"
        case _:
            return ""  # Told by whoever did it.


def shown_task(task: Task) -> str:
    """Return which task it is."""
    version = task.spec_version.index if task.spec_version else 0
    return f"{slot_of(task)} {task.id.lstrip('t0') or '0'} v{version} on {task.node_id or '-'}"


def shown_moves(old: Task, new: Task) -> str:
    """Return what changed of a task."""
    moves = []
    if old.state is not new.state:
        moves.append(f"{old.state.value} -> {new.state.value}")
    if old.desired_state is not new.desired_state:
        moves.append(f"wanted {old.desired_state.value} -> {new.desired_state.value}")
    if new.status.err and old.status.err != new.status.err:
        moves.append(f"({new.status.err})")
    if new.stays_down and not old.stays_down:
        moves.append("for good")
    return ", ".join(moves) or "noted"
