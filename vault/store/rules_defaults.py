"""What an inspect with `insertDefaults=true` shows: Docker's defaults in place of what was left out.  Pure.

Called by `vault.api.services`.
"""

import msgspec

from vault.model.service import (
    DEFAULT_RESTART_DELAY_NS,
    DEFAULT_STOP_GRACE_NS,
    DEFAULT_UPDATE,
    RestartPolicy,
    Service,
    ServiceSpec,
    UpdateConfig,
)


def with_defaults(service: Service) -> Service:
    """Return the service with its spec's defaults filled in; never stored."""
    return msgspec.structs.replace(service, spec=_spec(service.spec))


def _spec(spec: ServiceSpec) -> ServiceSpec:
    task = spec.task_template
    container = task.container_spec
    if container.stop_grace_period is None:
        container = msgspec.structs.replace(container, stop_grace_period=DEFAULT_STOP_GRACE_NS)
    return msgspec.structs.replace(
        spec,
        task_template=msgspec.structs.replace(
            task, container_spec=container, restart_policy=_restart(task.restart_policy or RestartPolicy())
        ),
        # The tasks of a job are not exchanged.
        update_config=None if spec.mode.is_job else _update(spec.update_config),
        rollback_config=None if spec.mode.is_job else _update(spec.rollback_config),
    )


def _restart(policy: RestartPolicy) -> RestartPolicy:
    return RestartPolicy(
        condition=policy.condition or "any",
        delay=DEFAULT_RESTART_DELAY_NS if policy.delay is None else policy.delay,
        max_attempts=policy.max_attempts or 0,
        window=policy.window,
    )


def _update(config: UpdateConfig | None) -> UpdateConfig:
    if config is None:
        return DEFAULT_UPDATE
    return msgspec.structs.replace(
        config,
        failure_action=config.failure_action or DEFAULT_UPDATE.failure_action,
        monitor=config.monitor or DEFAULT_UPDATE.monitor,
        order=config.order or DEFAULT_UPDATE.order,
    )
