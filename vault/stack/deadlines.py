"""`x-update-deadline` and `x-rollback-deadline` of a service: how long its updates and rollbacks may take in all.

Pure; called by `vault.stack.convert_service`.  They are extensions of the service and not keys of its `update_config`,
so that a file with them is one for Docker's client, too, which ignores them.
"""

from typing import Final

from msgspec.structs import replace

from vault.model.durations import parse_duration
from vault.model.service import ServiceSpec, UpdateConfig
from vault.stack import document as doc
from vault.stack.errors import StackError

UPDATE_DEADLINE: Final = "x-update-deadline"
ROLLBACK_DEADLINE: Final = "x-rollback-deadline"
DEADLINES: Final = frozenset((UPDATE_DEADLINE, ROLLBACK_DEADLINE))


def deadline_of(service: doc.Service, key: str) -> int | None:
    """Return how long a service's file says, in nanoseconds; None when it says nothing.  Raises `StackError`."""
    if key not in service.extensions:
        return None
    text = service.extensions[key]
    try:
        return parse_duration(text if isinstance(text, str) else "")
    except ValueError:
        raise StackError(f"{key} must be a duration such as 90s or 2m30s") from None


def cleared(spec: ServiceSpec, before: ServiceSpec) -> ServiceSpec:
    """Return a spec that says so where it takes a deadline away: left out, it would stay as it was."""
    return replace(
        spec,
        update_config=_cleared(spec.update_config, before.update_config),
        rollback_config=_cleared(spec.rollback_config, before.rollback_config),
    )


def _cleared(config: UpdateConfig | None, before: UpdateConfig | None) -> UpdateConfig | None:
    if config is None or before is None or config.deadline is not None or before.deadline is None:
        return config
    return replace(config, deadline=0)
