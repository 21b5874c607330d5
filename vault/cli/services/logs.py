"""Logs as they come over HTTP: frames, and lines with the task they are of.  Pure.

A frame: stream (1 standard output, 2 standard error, 3 an error of the daemon), three zeros, length (4 bytes,
big-endian), payload.  With details a line begins with `key=value,…` and a blank, after the time if there is one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote_plus

from vault.cli.errors import CommandError
from vault.cli.values.scalars import duration

HEAD_BYTES = 8
MAX_FRAME_BYTES = 1 << 24
_NODE, _SERVICE, _TASK = (f"com.docker.swarm.{kind}.id" for kind in ("node", "service", "task"))
_UNIX = re.compile(r"\d+(\.\d{1,9})?")
_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d")


class LogLine(NamedTuple):
    """One line of a service's logs."""

    time: bytes  # With one blank after it; empty without --timestamps.
    node: str
    service: str
    task: str
    details: dict[str, str]  # What is left of the details.
    text: bytes


def frames(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (stream, payload) of a multiplexed stream that comes in any pieces."""
    data = b""
    for piece in pieces:
        data += piece
        while len(data) >= HEAD_BYTES:
            size = int.from_bytes(data[4:HEAD_BYTES], "big")
            if data[0] > 3 or data[1:4] != b"\0\0\0" or size > MAX_FRAME_BYTES:
                raise CommandError(f"the daemon sent something else than logs: unrecognized stream {data[0]}")
            if len(data) < HEAD_BYTES + size:
                break
            yield data[0], data[HEAD_BYTES : HEAD_BYTES + size]
            data = data[HEAD_BYTES + size :]


def parse_line(payload: bytes, *, timestamps: bool) -> LogLine:
    """Return the parts of a line that came with details."""
    time, rest = b"", payload
    if timestamps:
        time, blank, rest = payload.partition(b" ")
        time += blank
    found, blank, text = rest.partition(b" ")
    details = _details(found.decode(errors="replace"))
    missing = [key for key in (_NODE, _SERVICE, _TASK) if key not in details]
    if not blank or missing:
        raise CommandError("the daemon sent a line of logs without saying which task it is of")
    node, service, task = (details.pop(key) for key in (_NODE, _SERVICE, _TASK))
    return LogLine(time, node, service, task, details, text)


def _details(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {unquote_plus(key): unquote_plus(value) for key, _, value in pairs}


def details_text(details: Mapping[str, str]) -> bytes:
    """Return details as `--details` prints them before a line."""
    return (",".join(f"{key}={value}" for key, value in sorted(details.items())) + " ").encode()


def moment(text: str, now_s: float) -> str:
    """Return unix seconds of `--since` and `--until`: a time, a date, unix seconds, or how long ago (`42m`)."""
    if _UNIX.fullmatch(text):
        return text
    try:
        return f"{now_s - duration(text) / 1_000_000_000:.9f}"
    except ValueError:
        pass
    zoned = re.fullmatch(r"(.*T.*?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", text)
    whole, fraction, zone = zoned.groups() if zoned else (text, None, None)
    for form in _FORMS:
        try:
            read = datetime.strptime(whole, form)
        except ValueError:
            continue
        if zone:
            offset = datetime.fromisoformat(f"2000-01-01T00:00:00{'+00:00' if zone == 'Z' else zone}").tzinfo
            read = read.replace(tzinfo=offset or UTC)
        return f"{read.timestamp():.0f}.{(fraction or '0').ljust(9, '0')}"
    raise CommandError(
        f'invalid value for "since": failed to parse time "{text}": use 2013-01-02T13:23:37Z, unix seconds, or 42m'
    )
