"""What managers and nodes say to each other: on a node's session, and when it sends the log of a task.

Frozen, tagged structs, sent as MessagePack; `FromNode` and `FromManager` are what either end may receive, bounded
where the other end decides how much there is.  Hello and Welcome open a session.  Then assignments go one way: the
full set, then differences, each naming the one it builds on, so that a gap is noticed; reports go the other way, and
are kept until acknowledged.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final, TypeVar

import msgspec

from vault.model.base import EPOCH
from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.model.node import NodeDescription
from vault.model.overlay import OverlayChange
from vault.model.task import Task, TaskStatus

SESSION: Final = "node.session"
LOGS: Final = "node.logs"
PROTOCOL: Final = 1
STATUSES_MAX: Final = 1000  # In one report.
LINES_MAX: Final = 1000  # In one message of a log.
MANAGERS_MAX: Final = 256

T = TypeVar("T", bound=msgspec.Struct)
Word = Annotated[str, msgspec.Meta(max_length=64)]  # Ids and names of messages.
Address = Annotated[str, msgspec.Meta(max_length=300)]  # host, or host:port.
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Details = Annotated[dict[str, str], msgspec.Meta(max_length=512)]  # Names and values, bounded by the message alone.
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message between a node and a manager."""


class ManagerAddress(Message, frozen=True, kw_only=True):
    """Where a manager answers."""

    node_id: Word
    addr: Address  # host:port of its control plane.


Managers = Annotated[tuple[ManagerAddress, ...], msgspec.Meta(max_length=MANAGERS_MAX)]


# From the node.


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """The first message of a session.  Who the node is, its certificate says."""

    protocol: Count = 0
    description: NodeDescription
    addr: Address = ""  # IP address it advertises; "" = the one it connects from.
    generation: Count = 0  # The highest epoch it has seen.
    counter: Count = 0


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """The node is alive."""

    period_s: Seconds  # How often it says so, as last told.
    manager_ok: bool | None = None  # Whether the manager on this node works; None when there is none.


class Report(Message, frozen=True, kw_only=True, tag="report"):
    """What a node observed of its tasks; the newest status of each."""

    number: Count = 0  # To be acknowledged.
    sent_at: Annotated[datetime, msgspec.Meta(tz=True)] = EPOCH  # By the node's clock; EPOCH = not told.
    statuses: Annotated[tuple[tuple[Word, TaskStatus], ...], msgspec.Meta(max_length=STATUSES_MAX)]


class Described(Message, frozen=True, kw_only=True, tag="described"):
    """The node's description has changed, its certificate's issuer for example."""

    description: NodeDescription


FromNode = Hello | Heartbeat | Report | Described


# From the manager.


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """The session is open; assignments follow."""

    generation: Count  # Epoch of the leadership.
    counter: Count
    heartbeat_s: Seconds
    managers: Managers = ()


class Beat(Message, frozen=True, kw_only=True, tag="beat"):
    """A heartbeat was heard."""


class Pace(Message, frozen=True, kw_only=True, tag="pace"):
    """The period of heartbeats from now on."""

    heartbeat_s: Seconds


class Acknowledged(Message, frozen=True, kw_only=True, tag="acknowledged"):
    """A report is in the store, and can be forgotten."""

    number: Count


class ManagersAre(Message, frozen=True, kw_only=True, tag="managers"):
    """The managers have changed."""

    managers: Managers


class Announcement(Message, frozen=True, kw_only=True, tag="announcement"):
    """A message of another part of the system, passed through: trust, renewal."""

    name: Word  # Its type.
    body: bytes

    @classmethod
    def of(cls, message: msgspec.Struct) -> "Announcement":
        """Wrap any struct."""
        return cls(name=type(message).__name__, body=msgspec.msgpack.encode(message))

    def read(self, type_: type[T]) -> T | None:
        """Return the message if it is of that type; raises `msgspec.DecodeError` for bytes that are none."""
        return msgspec.msgpack.decode(self.body, type=type_) if self.name == type_.__name__ else None


def own_value(object_id: str, task_id: str) -> str:
    """Return what the value of an object is known by that was made for one task."""
    return f"{object_id}.{task_id}"


class SealedValue(Message, frozen=True, kw_only=True):
    """The value of one secret or config, or credentials, sealed to one node (HPKE); prints no bytes of it."""

    kind: Kind  # SECRET, CONFIG or REGISTRY_AUTH
    id: str  # Of the object, or what `own_value` makes of that and the one task that may read it; of a service.
    name: str
    version: int
    templating: str = ""  # "golang": the value is a template.
    payload: bytes = b""
    error: str = ""  # Why there is none; then nothing is sealed.

    def __repr__(self) -> str:
        return f"SealedValue({self.kind} {self.id}, {len(self.payload)} bytes)"


class Assignments(Message, frozen=True, kw_only=True, tag="assignments"):
    """What a node has to do: everything (`full`), or what changed since message `applies_to`.

    A full set may come in parts: what it does not name is dropped only once its last part (`complete`) is there.  What
    is told of overlay networks may come in parts, too, of which the last alone comes with tasks and values: a task is
    told once its networks are known, and together with them where it is new there.
    """

    full: bool  # Start from nothing.
    complete: bool = True  # False: more parts of the full set follow.
    generation: int  # Epoch of the sender, first part.
    counter: int  # Epoch of the sender, second part.
    applies_to: int  # Sequence of the message before; 0 for a full set.
    sequence: int  # 1, 2, … within one session.
    put_tasks: tuple[Task, ...] = ()
    remove_tasks: tuple[str, ...] = ()
    put_values: tuple[SealedValue, ...] = ()
    remove_values: tuple[tuple[Kind, str], ...] = ()
    overlay: OverlayChange | None = None  # To be applied before the tasks of the message start; None = no change.
    overlay_complete: bool = True  # False: more parts of `overlay` follow, to be applied together.

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        tasks, values = self.put_tasks or self.remove_tasks, self.put_values or self.remove_values
        return not (self.full or tasks or values or self.overlay is not None)


# Logs.


class LogQuery(Message, frozen=True, kw_only=True):
    """Which lines of a task's log are wanted; times are nanoseconds since 1970, both included."""

    stdout: bool = True
    stderr: bool = True
    tail: int | None = None  # The last so many; None = all.
    since_ns: int | None = None
    until_ns: int | None = None
    follow: bool = False  # Go on until the container has ended.


class LogLine(Message, frozen=True, kw_only=True, array_like=True):
    """One line; `data` ends with a newline where the container wrote one."""

    at_ns: Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]  # Nanoseconds since 1970.
    stderr: bool  # Else stdout.
    data: bytes


class LogsWanted(Message, frozen=True, kw_only=True, tag="logs_wanted"):
    """Open a call for the log of a task and send it there."""

    id: Word  # Of this wish; nobody can guess it.
    task_id: Word
    query: LogQuery


class LogsUnwanted(Message, frozen=True, kw_only=True, tag="logs_unwanted"):
    """Nobody reads that log any more."""

    id: Word


class LogsHere(Message, frozen=True, kw_only=True, tag="logs_here"):
    """The first message of a log: which wish it answers, and what goes with each line."""

    id: Word
    details: Details = msgspec.field(default_factory=dict)


class LogLines(Message, frozen=True, kw_only=True, tag="log_lines"):
    """Some lines of a log, in order; the call ends after the last."""

    lines: Annotated[tuple[LogLine, ...], msgspec.Meta(max_length=LINES_MAX)]


FromManager = (
    Welcome | Beat | Pace | Acknowledged | ManagersAre | Announcement | Assignments | LogsWanted | LogsUnwanted
)


# How a manager refuses a session; a node knows them by the name of their type.


class NodeRemoved(VaultError):
    """The node is no longer a member: it ends its tasks and forgets what it was given."""

    status = HTTPStatus.GONE

    def __init__(self) -> None:
        super().__init__("this node was removed from the swarm: leave it, and join again to come back")


class SessionReplaced(VaultError):
    """The same node has begun another session."""

    status = HTTPStatus.CONFLICT

    def __init__(self) -> None:
        super().__init__("another session of this node has begun: is its identity used on two machines?")


class SessionSilent(VaultError):
    """No heartbeat came in time, and the node counts as down until it begins again."""

    status = HTTPStatus.REQUEST_TIMEOUT

    def __init__(self) -> None:
        super().__init__("no heartbeat of this node came in time: it has to begin a new session")


class NotUnderstood(VaultError):
    """What a node says breaks a rule of the session."""

    status = HTTPStatus.BAD_REQUEST
