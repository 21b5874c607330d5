"""Times and sizes as Docker prints them.  Pure."""

import re
from datetime import UTC, datetime

_RFC3339 = r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)"
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def seconds_since(moment: str, now_s: float) -> float:
    """Return how many seconds ago an RFC 3339 time was; 0 if it cannot be read."""
    found = re.fullmatch(_RFC3339, moment)
    if not found:
        return 0.0
    day, clock, fraction, zone = found.groups()
    offset = "+00:00" if zone == "Z" else zone
    whole = datetime.fromisoformat(f"{day}T{clock}{offset}")
    if whole.year < 1970:
        return now_s
    return now_s - whole.timestamp() - (float(f"0.{fraction}") if fraction else 0.0)


def duration(seconds: float) -> str:
    """Return a rough duration: `Less than a second`, `5 minutes`, `About an hour`."""
    whole = int(seconds)
    minutes = int(seconds / 60)
    hours = int(seconds / 3600 + 0.5)
    for limit, text in (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    ):
        if limit:
            return text
    return f"{hours // 24 // 365} years"


def ago(moment: str, now_s: float) -> str:
    """Return `5 minutes ago`."""
    return duration(seconds_since(moment, now_s)) + " ago"


def timestamp(moment: str) -> str:
    """Return an RFC 3339 UTC time as Go prints times: `2026-11-22 20:18:24.121210638 +0000 utc`."""
    found = re.fullmatch(_RFC3339, moment)
    if not found:
        return moment
    fraction = (found[3] or "").rstrip("0")
    return f"{found[1]} {found[2]}{'.' + fraction if fraction else ''} +0000 utc"


def unix_time(seconds: int) -> str:
    """Return a unix time as Docker's `CREATED AT` columns show it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")


def size(count: float, digits: int = 4) -> str:
    """Return a number of bytes in powers of 1000: `1.98MB`."""
    return _scaled(count, 1000.0, _DECIMAL, digits)


def binary_size(count: float) -> str:
    """Return a number of bytes in powers of 1024: `23.54GiB`."""
    return _scaled(count, 1024.0, _BINARY, 4)


def short_id(identifier: str) -> str:
    """Return the first 12 characters of an id, without a digest's algorithm."""
    return identifier.partition(":")[2][:12] if ":" in identifier else identifier[:12]


def ellipsis(text: str, width: int) -> str:
    """Cut a text to `width` characters, the last one `…` if something is missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _scaled(count: float, base: float, units: tuple[str, ...], digits: int) -> str:
    step = 0
    while count >= base and step < len(units) - 1:
        count /= base
        step += 1
    return f"{count:.{digits}g}{units[step]}"
