"""Durations in words: nanoseconds as Go, and so Docker, prints them.  Pure."""


def go_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: `5s`, `1m0s`, `500ms`, `2160h0m0s`."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 1_000_000_000:
        for unit, factor in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
            if rest < factor * 1000:
                return f"{sign}{_trimmed(rest, factor)}{unit}"
    hours, rest = divmod(rest, 3600 * 1_000_000_000)
    minutes, rest = divmod(rest, 60 * 1_000_000_000)
    text = f"{_trimmed(rest, 1_000_000_000)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _trimmed(count: int, factor: int) -> str:
    whole, rest = divmod(count, factor)
    fraction = str(rest).rjust(len(str(factor)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
