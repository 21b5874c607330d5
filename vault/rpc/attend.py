"""Running a handler for one call, and telling the other end how it ended.

`except Exception` stands here because a call ends here.  Called by the server and by `pipe.local_call`.
"""

import asyncio
import logging
from typing import Final

from vault.model.errors import VaultError
from vault.rpc.call import Handler
from vault.rpc.errors import CallBroken, HandlerFailed
from vault.rpc.exchange import Exchange

logger = logging.getLogger(__name__)

GRACE_S: Final = 1.0  # How long a handler may go on after the other end has ended the call.


async def attend(handler: Handler, exchange: Exchange, method: str) -> None:
    """Run the handler to its end, in the caller's task; raises only when that task is cancelled."""
    job, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert job is not None
    limit: asyncio.TimerHandle | None = None
    overdue = False

    def cancel() -> None:
        nonlocal overdue
        overdue = True
        job.cancel()

    def ended() -> None:
        nonlocal limit
        limit = loop.call_later(GRACE_S, cancel)

    exchange.when_ended(ended)
    try:
        await handler(exchange)
    except asyncio.CancelledError:
        exchange.finish(CallBroken("this manager", "it is stopping"))  # Nobody knows how far it came.
        if not overdue or job.uncancel() > 0:
            raise
    except Exception as error:
        exchange.finish(_told(error, method, quiet=exchange.ended))
    else:
        exchange.finish(None)
    finally:
        if limit is not None:
            limit.cancel()


def _told(error: Exception, method: str, *, quiet: bool) -> VaultError:
    """Return what the other end is told; a bug is logged by type and place, for its text may hold what was sent."""
    leaves = _leaves(error)
    for leaf in leaves:
        if not isinstance(leaf, VaultError):
            logger.error("rpc_fault", extra={"method": method, "error": type(leaf).__name__, "where": _place(leaf)})
            return HandlerFailed()
    told = leaves[0]
    assert isinstance(told, VaultError)
    if not quiet:
        logger.debug("rpc_refused", extra={"method": method, "error": type(told).__name__})
    return told


def _leaves(error: Exception) -> list[Exception]:
    """Return the errors themselves, out of the groups that task groups make of them."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part)]


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown"
