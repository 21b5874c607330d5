"""A client's request on its way from the manager that got it to the one that leads, and the answer on its way back.

Compact (arrays, no field names), since a follower sends one for each request it gets; bodies are passed on as they
came.  A small answer is one message; a long or endless one is a head and parts.
"""

from enum import IntEnum

import msgspec

MAX_BODY_BYTES = 8 * 1024 * 1024  # Of one message; a channel takes 16 MiB.


class Outcome(IntEnum):
    """What a forwarded request came to."""

    ANSWERED = 0
    NOTHING_DONE = 1  # The manager that was asked does not lead; another may be asked the same.
    UNKNOWN = 2  # A write was sent to the store, and whether it was committed is not known.
    TOO_LONG = 3  # The answer to a read does not fit one message: ask for a stream.


class ForwardedRequest(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="request"):
    """What a client asked of the manager it knows."""

    method: str
    path: str  # Decoded, without the API's version.
    query: bytes = b""  # As it came.
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    api_version: tuple[int, int]
    caller: str = ""  # Who asked, as the first manager knows it: "socket", or the name in a client's certificate.
    node_id: str = ""  # Of the first manager: what "self" means.
    new_id: str = ""  # For the object to be made; the same when the request is sent again.
    sent_since: int | None = None  # Sent before, its answer lost: a commit index from before it was first sent.

    def __repr__(self) -> str:
        return f"ForwardedRequest({self.method} {self.path}, {len(self.body)} bytes)"


class ForwardedAnswer(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="answer"):
    """An answer, or the next part of one: then `status` and `headers` are empty."""

    status: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    more: bool = False  # Whether parts follow.
    outcome: Outcome = Outcome.ANSWERED

    def __repr__(self) -> str:
        return f"ForwardedAnswer({self.status}, {len(self.body)} bytes, {self.outcome.name})"
