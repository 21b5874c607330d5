"""What all handlers share: the ports, the clock and the ids; and what an endpoint is.

Called by `vault.api.app`, which makes one `Context`, and by each module of handlers.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from vault.api.bodies import MAX_BODY_BYTES
from vault.api.ports import LocalNode, Manager
from vault.api.streams import Streamed
from vault.api.version import MAX_VERSION, ApiVersion
from vault.model.errors import BadRequest
from vault.model.ids import NewID

Handler = Callable[[Request], Awaitable[Response]]
TRUE = ("1", "true", "True")
MAX_INDEX = 2**63 - 1


class Reach(Enum):
    """Which node's business an endpoint is."""

    CLUSTER = "cluster"  # The leader's: it answers from the store, and other managers forward.
    NODE = "node"  # This node's: its containers, images, volumes, and its own part in a swarm.
    BOTH = "both"  # The leader's, but what this node has of its own where it is no manager.


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What handlers act on."""

    manager: Manager
    node: LocalNode
    check_driver: Callable[[str], Awaitable[None]]  # Raises a `VaultError` unless there is such a driver of secrets.
    new_id: NewID
    now_s: Callable[[], float]  # Seconds since 1970.


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path, with what the OpenAPI document says of it."""

    method: str
    path: str
    handler: Handler  # Takes the request only; its docstring is the summary.
    status: int = 200
    posts: Any = None  # Type of the body.
    replies: Any = None  # Type of the answer.
    query: Sequence[str] = ()
    reach: Reach = Reach.CLUSTER
    creates: bool = False  # Makes an object of the id that `id_for` gives: done twice, it is done once.
    streams: bool = False  # A read whose answer comes in parts.
    beside: "Callable[[Request, Streamed], Streamed] | None" = None  # Puts what this node says to the leader's stream.
    limit_bytes: int = MAX_BODY_BYTES  # Of the body, where another manager passes it on.

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.method in ("GET", "HEAD") or self.streams

    @property
    def repeatable(self) -> bool:
        """Whether it may be done again when it is not known whether it was done."""
        return self.reads or self.creates


def id_for(request: Request, new_id: NewID) -> str:
    """Return the id of the object this request makes: always the same, however often it is sent to a leader."""
    drawn: str = request.scope.get("new_id") or new_id()
    request.scope["new_id"] = drawn
    return drawn


def self_of(request: Request, manager: Manager) -> str:
    """Return the id of the node that the client asked, which "self" means."""
    asked: str = request.scope.get("node_id") or manager.membership().node_id
    return asked


def speaks(request: Request) -> ApiVersion:
    """Return the API version the client speaks; the newest when it names none."""
    version: ApiVersion = request.scope.get("api_version", MAX_VERSION)
    return version


def flag(request: Request, name: str) -> bool:
    """Return a switch of the query, as Docker reads one: present, and none of 0, false, no."""
    value = request.query_params.get(name, "").strip().lower()
    return value not in ("", "0", "no", "false", "none")


def switched(request: Request, name: str) -> bool:
    """Return a switch of the query whose value must be one of Go's booleans; raise `BadRequest` for any other."""
    value = request.query_params.get(name, "")
    if value in ("", "0", "f", "F", "false", "False", "FALSE"):
        return False
    if value in ("1", "t", "T", "true", "True", "TRUE"):
        return True
    raise BadRequest(f"invalid value for {name}: {printable(value)}: use true or false")


def posted_version(request: Request, kind: str) -> int:
    """Return the index that `?version=` names; raise `BadRequest` with Docker's text when it names none."""
    text = request.query_params.get("version", "")
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_INDEX:
        return int(text)
    quoted = printable(text)
    reason = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
    raise BadRequest(f"invalid {kind} version '{quoted}': strconv.ParseUint: parsing \"{quoted}\": {reason}")


def printable(text: str) -> str:
    """Return what an error may quote of a client's text."""
    return "".join(character if character.isprintable() else "?" for character in text[:64])
