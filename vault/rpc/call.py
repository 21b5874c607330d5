"""One exchange between two ends, as both see it, and what serves one.

The contract that `dispatcher`, `daemon` and their tests are written against.  A call is made of messages each way, in
order; either end closes it.  There is no half-closed call: an end that has said everything says so in a message.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from vault.crypto.certificates import Identity

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


class Call(Protocol):
    """One exchange; the same shape at both ends.  One task may send while another receives."""

    @property
    def peer(self) -> Identity | None:
        """Who the other end is, from its certificate; None when it presented none."""

    @property
    def address(self) -> str:
        """The host that the other end connects from, or that was connected to."""

    async def send(self, message: msgspec.Struct) -> None:
        """Send one message; waits while the other end has not read enough of what came before.

        Raises what ended the call, as `receive` does, and `MessageTooLarge`.
        """

    async def receive(self, type_: "TypeForm[T]") -> T:
        """Return the next message; type_ may be a union of tagged structs.

        Messages that arrived before the end are returned first.  Then raises `RemoteRefusal` or `NotLeader` when the
        other end's handler raised one, `CallEnded` when it closed the call, `CallBroken` (a `CallEnded`) when the
        connection was lost; `UnexpectedMessage` for bytes that are no such message.
        """

    async def close(self) -> None:
        """End the call, here and there; does nothing to one that has ended."""


Handler = Callable[[Call], Awaitable[None]]
"""Serves one call.  A `VaultError` that it raises reaches the other end; returning ends the call.

When the other end closes or breaks the call, `send` and `receive` raise at once; a handler that does not end by itself
within `attend.GRACE_S` is cancelled.
"""

Authorize = Callable[[str, Identity | None], None]
"""Raises a `VaultError` when an identity may not call a method; called before every call's handler."""
