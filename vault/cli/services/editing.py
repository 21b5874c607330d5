"""Changing a service that others may change at the same time."""

from collections.abc import Callable
from typing import Any, NamedTuple

from vault.cli.client import Client
from vault.cli.overtaken import until_not_overtaken

Service = dict[str, Any]


class Edited(NamedTuple):
    """What became of a change."""

    before: dict[str, Any]  # The spec that it replaced.
    answer: dict[str, Any] | None


def edit(client: Client, reference: str, post: Callable[[Service], Any]) -> Edited:
    """Read a service and let `post` post its change, again when somebody else's came between; return what it replaced.

    post: posts what it makes of the service.  It must leave the service's spec as it is.
    """

    def change() -> Edited:
        found = client.get(f"/services/{reference}")
        return Edited(found["Spec"], post(found))

    return until_not_overtaken(change)
