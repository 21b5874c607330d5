"""The loop that keeps records under a young data key, a piece at a time.  Not pure.

Called by `vault.daemon.membership` while this node leads.
"""

import asyncio
import logging
from typing import Final

from vault.model.errors import DiskFull
from vault.raftstore.store import Store

logger = logging.getLogger(__name__)
PAUSE_S: Final = 0.2  # Between pieces, so that callers come first.
REST_S: Final = 3600.0  # When nothing is left to do.


async def keep_young(store: Store, *, pause_s: float = PAUSE_S, rest_s: float = REST_S) -> None:
    """Call `Store.upkeep` until cancelled; a full disk puts it off."""
    while True:
        try:
            left = await store.upkeep()
        except DiskFull:
            left = 0
        if left:
            logger.info("sealing_anew", extra={"left": left})
        await asyncio.sleep(pause_s if left else rest_s)
