"""The loop that keeps records under a young data key, a piece at a time.  Not pure.

Called by `vault.daemon.duties` while this node leads.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from vault.model.errors import DiskFull
from vault.raftstore.proposals import Busy
from vault.raftstore.store import Store

logger = logging.getLogger(__name__)
PAUSE_S: Final = 0.2  # Between pieces, so that callers come first.
RETRY_S: Final = 30.0  # When the disk is full, or behind.
REST_S: Final = 3600.0  # When nothing is left to do.


async def keep_young(
    store: Store, *, pause_s: float = PAUSE_S, retry_s: float = RETRY_S, rest_s: float = REST_S
) -> None:
    """Call `Store.upkeep` until cancelled, at once after a rotation; a full or slow disk puts it off."""
    while True:
        try:
            left = await store.upkeep()
        except (DiskFull, Busy) as error:
            logger.warning("sealing_anew_put_off", extra={"reason": error.message})
            await asyncio.sleep(retry_s)
            continue
        if left:
            logger.info("sealing_anew", extra={"left": left})
            await asyncio.sleep(pause_s)
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await store.rotated()
