"""What happens to this node's containers, told as it happens to whoever listens.

Pure but for its listeners.  Told by `vault.agent.runner`; listened to by the daemon, for `/events`.  A listener that is
slow misses the oldest, and never holds anybody up.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

MISSED_AFTER: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened to one container."""

    action: str  # In Docker's words: start | die | health_status: healthy
    at: datetime
    task_id: str
    container_id: str
    details: Mapping[str, str] = field(default_factory=dict)


class Happenings:
    """From those who tell to those who listen."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Happening]] = set()

    def tell(self, happening: Happening) -> None:
        """Tell everybody who listens now."""
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(happening)

    async def listen(self) -> AsyncGenerator[Happening, None]:
        """Yield what happens from now on, until cancelled."""
        queue: asyncio.Queue[Happening] = asyncio.Queue(MISSED_AFTER)
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)
