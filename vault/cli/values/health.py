"""The health check of a service, from the --health options.  Pure."""

from collections.abc import Mapping
from typing import Any

from vault.cli.errors import CommandError

Spec = dict[str, Any]
Given = Mapping[str, Any]
_FIELDS = {
    "health_interval": "Interval",
    "health_timeout": "Timeout",
    "health_retries": "Retries",
    "health_start_period": "StartPeriod",
    "health_start_interval": "StartInterval",
}


def new_healthcheck(given: Given) -> Spec | None:
    """Return the check of a new service; None when its image decides."""
    return changed_healthcheck(None, given)


def changed_healthcheck(before: Mapping[str, Any] | None, given: Given) -> Spec | None:
    """Return a service's check with what was given changed.  An empty command leaves it to the image again."""
    changes = {field: given[name] for name, field in _FIELDS.items() if given[name] is not None}
    line = given["health_cmd"]
    if given["no_healthcheck"]:
        if changes or line is not None:
            raise CommandError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not changes and line is None:
        return None if before is None else dict(before)
    check = {**(before or {}), **changes}
    test = list(check.pop("Test", None) or ())
    if line is not None or test[:1] == ["NONE"]:
        test = ["CMD-SHELL", line] if line else []
    return {**({"Test": test} if test else {}), **{field: value for field, value in check.items() if value}}
