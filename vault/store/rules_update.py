"""Rules for how a service says that its tasks are exchanged.  Pure; called by `vault.store.rules_service`.

What `rules_spec` checks of each field by itself is checked here of fields together.  The deadline is ours: Docker's
clients neither know nor send it back.
"""

import msgspec

from vault.model.base import SECOND_NS
from vault.model.durations import go_duration
from vault.model.errors import InvalidArgument
from vault.model.service import DEFAULT_MONITOR_NS, ServiceSpec, UpdateConfig

START_FIRST = "start-first"


def check_updates(spec: ServiceSpec) -> None:
    """Raise `InvalidArgument` for an update or rollback that could never be complete."""
    for what, config in (("update", spec.update_config), ("rollback", spec.rollback_config)):
        if config is not None:
            _check_deadline(what, config)
            _check_order(what, config, spec)


def _check_deadline(what: str, config: UpdateConfig) -> None:
    deadline = config.deadline or 0
    if deadline < 0:
        raise InvalidArgument(f"TaskSpec: {what}-deadline cannot be negative")
    if deadline and deadline <= (watched := watch_ns(config)):
        raise InvalidArgument(
            f"TaskSpec: {what}-deadline must be longer than the {go_duration(watched)} for which {what}-monitor and "
            f"{what}-delay have the last task watched"
        )


def watch_ns(config: UpdateConfig) -> int:
    """Return how long an update waits after its last task runs; as SwarmKit, a second more than a long delay."""
    monitor = config.monitor or DEFAULT_MONITOR_NS
    return monitor if config.delay < monitor else config.delay + SECOND_NS


def _check_order(what: str, config: UpdateConfig, spec: ServiceSpec) -> None:
    ports = spec.endpoint_spec.ports if spec.endpoint_spec else ()
    held = next((port for port in ports if port.publish_mode == "host" and port.published_port), None)
    if config.order == START_FIRST and spec.mode.global_ is not None and held is not None:
        raise InvalidArgument(
            f"EndpointSpec: the old task of each node holds host port {held.published_port}, so no new one could start "
            f"before it has stopped: use {what}-order stop-first, or publish the port in ingress mode"
        )


def stored_config(config: UpdateConfig | None) -> UpdateConfig | None:
    """Return update or rollback settings as they are stored: with an order, and without a deadline of 0."""
    if config is None:
        return None
    return msgspec.structs.replace(config, order=config.order or "stop-first", deadline=config.deadline or None)


def with_deadlines(posted: ServiceSpec, before: ServiceSpec) -> ServiceSpec:
    """Return a spec as posted by a client that may not know of deadlines: what it does not say stays as it was.

    So `docker service update` takes none away.  A deadline goes with a 0, or with all of the update's settings.
    """
    return msgspec.structs.replace(
        posted,
        update_config=_with_deadline(posted.update_config, before.update_config),
        rollback_config=_with_deadline(posted.rollback_config, before.rollback_config),
    )


def _with_deadline(config: UpdateConfig | None, before: UpdateConfig | None) -> UpdateConfig | None:
    if config is None or before is None or config.deadline is not None:
        return config
    return msgspec.structs.replace(config, deadline=before.deadline)
