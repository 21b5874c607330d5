"""Times as queries give them, and durations as Docker prints them.  Pure."""

from datetime import datetime, timedelta

from vault.model.base import EPOCH, SECOND_NS
from vault.model.errors import BadRequest

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
MAX_S = 2**40


def seconds(text: str) -> float | None:
    """Return a time of a query in seconds since 1970; None when not given, and for 0, as with logs of Docker."""
    found = nanoseconds(text)
    return found / SECOND_NS if found is not None and text != "0" else None


def nanoseconds(text: str) -> int | None:
    """Return a time of a query, `seconds[.fraction]` or RFC 3339, in nanoseconds since 1970; None when not given."""
    if not text:
        return None
    whole, _, fraction = text.partition(".")
    try:
        if f"{whole}{fraction}".isdecimal():
            found = int(whole[:20] or "0") * SECOND_NS + int(fraction[:9].ljust(9, "0"))
        else:
            found = ns_of(datetime.fromisoformat(text).astimezone())
    except (ValueError, OverflowError):
        found = -1
    if not 0 <= found < MAX_S * SECOND_NS:
        raise BadRequest("invalid time: use seconds since 1970, or 2006-01-02T15:04:05Z")
    return found


def ns_of(at: datetime) -> int:
    """Return a time in nanoseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1) * 1000


def human(duration_s: float) -> str:
    """Return a duration in words, as Docker does.  Source: docker/go-units, HumanDuration."""
    whole = max(0, int(duration_s))
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < MINUTE_S:
        return f"{whole} seconds"
    if whole < 2 * MINUTE_S:
        return "About a minute"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} minutes"
    hours = int(duration_s / HOUR_S + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(duration_s / HOUR_S) // 24 // 365} years"
