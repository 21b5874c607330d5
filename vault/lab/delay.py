"""A line that holds what enters it for a fixed time.  Pure; `vault.lab.relay` has one for each direction."""

from collections import deque
from typing import Final

LINE_BYTES: Final = 16 << 20  # What a full line holds; more is lost, as on a real one.


class DelayLine:
    """Frames on their way.  They leave in the order they came, none before its time."""

    def __init__(self, delay_s: float, *, limit_bytes: int = LINE_BYTES) -> None:
        self._delay_s = delay_s
        self._limit_bytes = limit_bytes
        self._held: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    def enter(self, frame: bytes, now_s: float) -> bool:
        """Take a frame; False when the line is full and the frame is lost."""
        if self._bytes + len(frame) > self._limit_bytes:
            return False
        self._held.append((now_s + self._delay_s, frame))
        self._bytes += len(frame)
        return True

    def leave(self, now_s: float) -> list[bytes]:
        """Return the frames whose time has come, oldest first."""
        left = []
        while self._held and self._held[0][0] <= now_s:
            _, frame = self._held.popleft()
            self._bytes -= len(frame)
            left.append(frame)
        return left

    def next_s(self) -> float | None:
        """Return when the next frame leaves; None when the line is empty."""
        return self._held[0][0] if self._held else None
