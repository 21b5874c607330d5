"""Rules for a service's health check.  Pure; called by `vault.store.rules_spec`.

The texts about times and retries are SwarmKit's.  Docker takes any test, and never runs one that it does not know.
"""

from vault.model.base import SECOND_NS
from vault.model.container import HealthConfig
from vault.model.errors import InvalidArgument

LEAST_NS = SECOND_NS // 1000
KINDS = ("NONE", "CMD", "CMD-SHELL")


def check_healthcheck(check: HealthConfig | None) -> None:
    """Raise `InvalidArgument` unless a container can be checked so."""
    if check is None:
        return
    for name, duration in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if duration and duration < LEAST_NS:
            raise InvalidArgument(f"ContainerSpec: {name} in HealthConfig cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("ContainerSpec: Retries in HealthConfig cannot be negative")
    kind, *words = check.test or ("NONE",)
    if kind not in KINDS:
        raise InvalidArgument(f'ContainerSpec: Test in HealthConfig begins with NONE, CMD or CMD-SHELL, not "{kind}"')
    if kind != "NONE" and (not words or not words[0]):
        raise InvalidArgument(f"ContainerSpec: Test in HealthConfig has no command after {kind}")
