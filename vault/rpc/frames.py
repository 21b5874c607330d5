"""What is on the wire: paths and headers of the hello, batches of asks and answers, credit of streams.

Pure.  A connection is a WebSocket.  `/calls/METHOD` carries one call: a binary frame is one message, a text frame a
`Control`.  `/asks` carries any number of questions, each with one answer: a binary frame is a batch of them.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Protocol, TypeVar

import msgspec

from vault.rpc.coding import Refusal
from vault.rpc.exchange import Data

VERSIONS: Final = (1,)  # Of this protocol, that this release speaks.
VERSIONS_HEADER: Final = "Vault-Control-Versions"
VERSION_HEADER: Final = "Vault-Control-Version"
ASKS_PATH: Final = "/asks"
CALLS_PATH: Final = "/calls/"
METHOD: Final = re.compile(r"[a-z]{1,32}(\.[a-z]{1,32}){0,3}")

MAX_BATCH: Final = 1024  # Items in one batch.
BATCH_BYTES: Final = 256 * 1024  # A batch is closed when it is longer than this.

F = TypeVar("F", bound=msgspec.Struct)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_ID = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Question(msgspec.Struct, frozen=True, array_like=True):
    """One ask; without a method it says that nobody waits for that answer any more."""

    id: _ID
    method: Annotated[str, msgspec.Meta(max_length=140)] = ""
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Question({self.id}, {self.method}, {len(self.body)} bytes)"


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The answer to one ask; neither body nor refusal says that the handler ended without one."""

    id: _ID
    body: bytes | None = None
    refusal: Refusal | None = None

    def __repr__(self) -> str:
        return f"Answer({self.id}, {len(self.body or b'')} bytes)"


class Credit(msgspec.Struct, frozen=True, array_like=True, tag="+"):
    """Messages of that weight were read: as much more may be sent."""

    weight: Annotated[int, msgspec.Meta(ge=0, le=2**62)]


Control = Credit | Refusal

encode_item = msgspec.msgpack.Encoder().encode
encode_control = msgspec.json.Encoder().encode
_control: "_Decoder[Control]" = msgspec.json.Decoder(Control)
_Batch = Annotated[list[F], msgspec.Meta(max_length=MAX_BATCH)]
_questions: "_Decoder[list[Question]]" = msgspec.msgpack.Decoder(_Batch[Question])
_answers: "_Decoder[list[Answer]]" = msgspec.msgpack.Decoder(_Batch[Answer])


class _Decoder(Protocol[T_co]):
    def decode(self, data: Data, /) -> T_co: ...


class Malformed(Exception):
    """Bytes that no end of this version sends; the connection is given up."""


def questions(data: Data) -> list[Question]:
    """Return a batch of questions.  Raises `Malformed`."""
    return _decoded(_questions, data)


def answers(data: Data) -> list[Answer]:
    """Return a batch of answers.  Raises `Malformed`."""
    return _decoded(_answers, data)


def control(text: Data) -> Control:
    """Return what a text frame says.  Raises `Malformed`."""
    return _decoded(_control, text)


def batch(items: Sequence[bytes]) -> bytes:
    """Return encoded items, at most `MAX_BATCH`, as one MessagePack array."""
    count = len(items)
    assert count <= MAX_BATCH
    head = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return b"".join((head, *items))


def spoken(header: str) -> frozenset[int]:
    """Return the versions that a header names; those that are no number are left out."""
    return frozenset(int(part) for part in header[:100].split(",") if re.fullmatch(r" ?[0-9]{1,9}", part))


def _decoded(decoder: "_Decoder[T]", data: Data) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise Malformed from None
