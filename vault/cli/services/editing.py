"""Changing a service that others may change at the same time: read, change, post; and all of it again if overtaken.

The daemon refuses a change that was made of a spec that is no longer in force.  What options ask for is as good for the
newer spec, so it is read and changed again; going back to the former spec is not, since that is another one by then.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from vault.cli.client import Client
from vault.cli.errors import ApiError

TRIES = 8
PAUSE_S = 0.02  # Before the second try; longer before each further one.
OUT_OF_SEQUENCE = "update out of sequence"

Service = dict[str, Any]


class Edited(NamedTuple):
    """What became of a change."""

    before: dict[str, Any]  # The spec that it replaced.
    answer: dict[str, Any] | None


def edit(client: Client, reference: str, post: Callable[[Service], Any]) -> Edited:
    """Read a service and let `post` post its change, again when somebody else's came between; return what it replaced.

    post: posts what it makes of the service.  It must leave the service's spec as it is.
    """
    for attempt in range(1, TRIES + 1):
        found = client.get(f"/services/{reference}")
        try:
            return Edited(found["Spec"], post(found))
        except ApiError as error:
            if not is_overtaken(error) or attempt == TRIES:
                raise
        time.sleep(PAUSE_S * attempt)
    raise AssertionError("unreachable: the last try returns or raises")


def is_overtaken(error: ApiError) -> bool:
    """Whether a change was refused because somebody else changed the service meanwhile."""
    return OUT_OF_SEQUENCE in error.message
