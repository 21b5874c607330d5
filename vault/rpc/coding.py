"""Messages as bytes: MessagePack of frozen structs, bounded; and refusals, which are errors on their way.

Pure.  Used by both ends of every call, also within one process, so that there is one path.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec

from vault.model.errors import VaultError
from vault.rpc.errors import CallBroken, MessageTooLarge, NotLeader, RemoteRefusal, UnexpectedMessage

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
MAX_TEXT: Final = 8 * 1024  # Characters of a refusal's sentence.

_encode = msgspec.msgpack.Encoder().encode
_decoders: dict[Any, "msgspec.msgpack.Decoder[Any]"] = {}  # By type; types are code, so there are few.


class Refusal(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="!"):
    """A `VaultError` on its way to the other end."""

    status: int
    kind: Annotated[str, msgspec.Meta(max_length=100)]  # The error's type, by name.
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
    leader: Annotated[str, msgspec.Meta(max_length=100)] = ""
    address: Annotated[str, msgspec.Meta(max_length=300)] = ""

    @classmethod
    def of(cls, error: VaultError) -> "Refusal":
        """Return what the other end is to be told of an error."""
        kind = error.kind if isinstance(error, RemoteRefusal) else type(error).__name__
        leader, address = (error.leader, error.address) if isinstance(error, NotLeader) else ("", "")
        text = error.message[:MAX_TEXT]
        return cls(status=error.status.value, kind=kind, text=text, leader=leader, address=address)

    def error(self) -> VaultError:
        """Return the error that the caller gets."""
        if self.kind == NotLeader.__name__:
            return NotLeader(self.leader, self.address)
        if self.kind == CallBroken.__name__:
            return CallBroken("the other end", "it is stopping, or lost whom it asked")
        try:
            status = HTTPStatus(self.status)
        except ValueError:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        return RemoteRefusal(status, self.text, self.kind)


def encode(message: msgspec.Struct) -> bytes:
    """Return a message's bytes.  Raises `MessageTooLarge`."""
    data = _encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(len(data), MAX_MESSAGE_BYTES)
    return data


def decode(data: bytes | bytearray | memoryview, type_: "TypeForm[T]") -> T:
    """Return the message in bytes from outside.  Raises `UnexpectedMessage`."""
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders.setdefault(type_, msgspec.msgpack.Decoder(type_))
    try:
        message: T = decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise UnexpectedMessage(getattr(type_, "__name__", str(type_))) from None
    return message
