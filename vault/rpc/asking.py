"""Asking for certificates: whichever manager is asked, the one that leads answers.

Not pure.  A request may be sent again whenever its answer was lost: the same keys are the same node, so nothing is done
twice.  Used by `joining` and by the daemon for renewals.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, Protocol, TypeVar

import msgspec

from vault.model.errors import Unavailable, VaultError
from vault.rpc.errors import NotLeader, RemoteRefusal, VersionMismatch
from vault.rpc.messages_ca import ISSUE, Issued, IssueRequest

ANSWER_S: Final = 5.0  # For one manager's answer.
PAUSE_S: Final = 0.5  # When no manager leads, or none is to be reached.
T = TypeVar("T")


class Asker(Protocol):
    """What is needed of `vault.rpc.client.Client`."""

    async def ask(
        self, address: str, method: str, message: msgspec.Struct, reply_type: type[T], timeout_s: float, /
    ) -> T:
        """Send one message; return the one that answers it."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


async def ask_for_certificate(
    asker: Asker, addresses: Sequence[str], wanted: IssueRequest, *, timeout_s: float, pause_s: float = PAUSE_S
) -> Issued:
    """Return what the leader answers; ask on, from manager to manager, while nobody does.

    Raises the refusal of the manager that leads, `VersionMismatch`, or after timeout_s what went wrong last.
    """
    last: VaultError = Unavailable("no manager answered in time: check that one is running and can be reached")
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                turn, asked = deque(addresses), set[str]()
                while turn:
                    address = turn.popleft()
                    if address in asked:
                        continue
                    asked.add(address)
                    try:
                        return await asker.ask(address, ISSUE, wanted, Issued, ANSWER_S)
                    except NotLeader as error:
                        last = error
                        if error.address:
                            turn.appendleft(error.address)
                    except (Unavailable, RemoteRefusal) as error:
                        if _is_final(error):
                            raise
                        last = error
                await asyncio.sleep(pause_s)
    except TimeoutError:
        raise last from None


def _is_final(error: VaultError) -> bool:
    """Whether asking another manager, or again, would not help."""
    return isinstance(error, VersionMismatch) or error.status is not HTTPStatus.SERVICE_UNAVAILABLE
