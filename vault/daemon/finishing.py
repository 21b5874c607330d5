"""Work that is brought to its end though whoever waits for it is cancelled.

A thread cannot be broken off: its files would be written while the next step removes them.  Nor may the end of a
manager be: its store would stay open, with nobody left who closes it.  Called by `vault.daemon.part` and `holding`.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

ValueT = TypeVar("ValueT")


async def finished(work: Awaitable[ValueT]) -> ValueT:
    """Return what `work` gives; one who is cancelled meanwhile is so only once it has ended."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
