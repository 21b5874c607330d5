"""Changes of what others may change at the same time: read, change, post; and all of it again if overtaken.

The daemon refuses a change that was made of a spec that is no longer in force.  What options ask for is as good for the
newer spec, so it is read and changed again; going back to the former spec is not, since that is another one by then.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from vault.cli.errors import ApiError

TRIES = 8
PAUSE_S = 0.02  # Before the second try; longer before each further one.
OUT_OF_SEQUENCE = "update out of sequence"

T = TypeVar("T")


def until_not_overtaken(change: Callable[[], T]) -> T:
    """Return what `change` returns, which reads something and posts its change; it is called again when overtaken."""
    for attempt in range(1, TRIES + 1):
        try:
            return change()
        except ApiError as error:
            if OUT_OF_SEQUENCE not in error.message or attempt == TRIES:
                raise
        time.sleep(PAUSE_S * attempt)
    raise AssertionError("unreachable: the last try returns or raises")
