"""What happens to this node's containers, told as it happens to whoever listens; the last of it is remembered.

Pure but for its listeners.  Told by `vault.agent.runner`; listened to by the daemon, for `/events`.  A listener that is
slow misses the oldest, and never holds anybody up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from vault.agent.executors.port import Image
from vault.model.task import Task

MISSED_AFTER: Final = 1024
REMEMBERED: Final = 256  # As many as Docker's daemon.


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened to one container."""

    action: str  # In Docker's words: start | die | health_status: healthy
    at: datetime
    task: Task
    image: Image | None  # What it was prepared from; None when that is not known any more.
    container_id: str
    details: Mapping[str, str] = field(default_factory=dict)


class Happenings:
    """From those who tell to those who listen."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Happening]] = set()
        self._last: deque[Happening] = deque(maxlen=REMEMBERED)

    def tell(self, happening: Happening) -> None:
        """Tell everybody who listens now, and remember it for who asks later."""
        self._last.append(happening)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(happening)

    async def listen(self) -> AsyncGenerator[Sequence[Happening], None]:
        """Yield at once what happened last, the oldest first; then what happens from now on, until cancelled."""
        queue: asyncio.Queue[Happening] = asyncio.Queue(MISSED_AFTER)
        self._listeners.add(queue)
        try:
            yield tuple(self._last)
            while True:
                yield (await queue.get(),)
        finally:
            self._listeners.discard(queue)
