"""Names and numbers of signals.  Pure.  Called by `prepare`, `executor` and `execs`."""

import re
import signal
from typing import Final

from vault.model.errors import BadRequest

_REALTIME: Final = re.compile(r"RTM(?:IN(?:\+(\d{1,2}))?|AX(?:-(\d{1,2}))?)")


def signal_number(name: str) -> int:
    """Return the number of `SIGTERM`, `term`, `15` or `RTMIN+3`.  Raises `BadRequest` with Docker's text."""
    short = name.upper().removeprefix("SIG")
    if short.isascii() and short.isdigit() and 0 < int(short[:4]) <= signal.SIGRTMAX:
        return int(short)
    if match := _REALTIME.fullmatch(short):
        low, high = match.groups()
        number = signal.SIGRTMAX - int(high or 0) if "MAX" in short else signal.SIGRTMIN + int(low or 0)
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    found = signal.Signals.__members__.get("SIG" + short)
    if found is None:
        raise BadRequest(f"invalid signal: {name}")
    return int(found)
