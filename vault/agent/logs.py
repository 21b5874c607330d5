"""Logs of a container: what a caller may ask for, and the k8s-file format that conmon writes.

Pure.  `vault.agent.executors.oci.logtail` reads the files; `vault.api` asks.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

LINE_MAX_BYTES: Final = 1 << 20  # Longer lines are handed out in pieces.
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of one stream; `data` ends with a newline unless the container did not write one."""

    at_ns: int  # Nanoseconds since 1970.
    stream: str  # stdout | stderr
    data: bytes

    @property
    def timestamp(self) -> str:
        """RFC 3339 with nine digits, as Docker prints it."""
        whole = datetime.fromtimestamp(self.at_ns // _SECOND_NS, UTC)
        return f"{whole:%Y-%m-%dT%H:%M:%S}.{self.at_ns % _SECOND_NS:09d}Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which lines are wanted."""

    stdout: bool = True
    stderr: bool = True
    tail: int | None = None  # The last so many; None = all.
    since_ns: int | None = None  # Nanoseconds since 1970, both included.
    until_ns: int | None = None
    follow: bool = False  # Go on until the container has ended.

    def wants(self, line: LogLine) -> bool:
        """Return whether a line is of a wanted stream and time; `tail` is not looked at."""
        if not (self.stdout if line.stream == "stdout" else self.stderr):
            return False
        if self.since_ns is not None and line.at_ns < self.since_ns:
            return False
        return self.until_ns is None or line.at_ns <= self.until_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """One line of the file: a line of the container, or, when partial, a piece of one."""

    at_ns: int
    stream: str
    partial: bool
    data: bytes


def parse_line(line: bytes) -> Fragment | None:
    """Return what one line of the file, without its newline, says; None when it is damaged."""
    fields = line.split(b" ", 3)
    if len(fields) != 4 or fields[1] not in (b"stdout", b"stderr") or fields[2] not in (b"P", b"F"):
        return None
    at_ns = _nanoseconds(fields[0])
    if at_ns is None:
        return None
    return Fragment(at_ns=at_ns, stream=fields[1].decode(), partial=fields[2] == b"P", data=fields[3])


def _nanoseconds(stamp: bytes) -> int | None:
    """Return nanoseconds since 1970 of `2026-01-02T03:04:05.123456789+00:00`."""
    try:
        whole, _, rest = stamp.decode("ascii").partition(".")
        digits, zone = rest[:9], rest[9:]
        if len(digits) != 9 or not digits.isdecimal() or not zone:
            return None
        seconds = datetime.fromisoformat(whole + zone)
        return None if seconds.tzinfo is None else int(seconds.timestamp()) * _SECOND_NS + int(digits)
    except (ValueError, OverflowError):
        return None


class Assembler:
    """Joins the pieces of long lines, each stream by itself."""

    def __init__(self) -> None:
        self._held: dict[str, list[Fragment]] = {"stdout": [], "stderr": []}
        self._sizes = {"stdout": 0, "stderr": 0}

    def feed(self, fragment: Fragment) -> LogLine | None:
        """Take one fragment; return a line once it is whole, or too long to be held."""
        self._held[fragment.stream].append(fragment)
        self._sizes[fragment.stream] += len(fragment.data)
        if fragment.partial and self._sizes[fragment.stream] < LINE_MAX_BYTES:
            return None
        return self._release(fragment.stream, newline=not fragment.partial)

    def held(self) -> list[LogLine]:
        """Return the lines that are begun and not ended, as far as they are known."""
        return [self._join(stream, newline=False) for stream, held in self._held.items() if held]

    def flush(self) -> list[LogLine]:
        """Return them and forget them."""
        return [self._release(stream, newline=False) for stream, held in self._held.items() if held]

    def _release(self, stream: str, *, newline: bool) -> LogLine:
        line = self._join(stream, newline=newline)
        self._held[stream].clear()
        self._sizes[stream] = 0
        return line

    def _join(self, stream: str, *, newline: bool) -> LogLine:
        held = self._held[stream]
        data = b"".join(piece.data for piece in held) + (b"\n" if newline else b"")
        return LogLine(at_ns=held[0].at_ns, stream=stream, data=data)
