"""A service of a stack as a `ServiceSpec`, field for field as Docker's client posts it.

Pure; called by `vault.stack.convert`.  Lists whose order says nothing are sorted, so that the same file gives the same
spec and a second deploy changes nothing.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from vault.model.container import ContainerSpec, DNSConfig, HealthConfig, Ulimit
from vault.model.generic import discrete
from vault.model.secret import ConfigReference, Driver, FileTarget, SecretReference
from vault.model.service import (
    EndpointSpec,
    Global,
    GlobalJob,
    Limit,
    NetworkAttachmentConfig,
    Placement,
    PlacementPreference,
    PortConfig,
    Replicated,
    ReplicatedJob,
    Reservation,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    SpreadOver,
    TaskSpec,
    UpdateConfig,
)
from vault.stack import document as doc
from vault.stack.beyond import memory_mounts, privileges
from vault.stack.convert_mounts import mounts
from vault.stack.deadlines import ROLLBACK_DEADLINE, UPDATE_DEADLINE, deadline_of
from vault.stack.dependencies import waiting_label
from vault.stack.errors import StackError
from vault.stack.forms import parse_cpus
from vault.stack.image_name import tagged
from vault.stack.load import ReadValue
from vault.stack.namespace import IMAGE_LABEL, Namespace

_NOT_USER_DEFINED = frozenset(("host", "none", "bridge", "default", ""))
_RESTART_CONDITIONS = {"always": "any", "unless-stopped": "any", "on-failure": "on-failure"}


def service_spec(
    namespace: Namespace, service: doc.Service, document: doc.Document, read_value: ReadValue
) -> ServiceSpec:
    """Return the spec of a service.

    Raises `StackError`, which names the service, for what cannot be, and what `read_value` raises for a profile.
    """
    try:
        return _spec(namespace, service, document, read_value)
    except (StackError, ValueError) as error:
        raise StackError(f"service {service.name}: {error}") from None


def _spec(namespace: Namespace, service: doc.Service, document: doc.Document, read_value: ReadValue) -> ServiceSpec:
    deploy = service.deploy
    labels = {
        **namespace.label(deploy.labels),
        IMAGE_LABEL: service.image,
        **waiting_label(namespace, service, document),
    }
    logging = service.logging
    return ServiceSpec(
        name=namespace.scope(service.name),
        labels=dict(sorted(labels.items())),
        task_template=TaskSpec(
            container_spec=_container(namespace, service, document, read_value),
            resources=_resources(deploy.resources),
            restart_policy=_restart_policy(service.restart, deploy.restart_policy),
            placement=_placement(deploy.placement),
            networks=_networks(namespace, service, document.networks),
            log_driver=None if logging is None else Driver(name=logging.driver, options=dict(logging.options)),
        ),
        mode=_mode(deploy.mode, deploy.replicas),
        update_config=_changes(deploy.update_config, deadline_of(service, UPDATE_DEADLINE)),
        rollback_config=_changes(deploy.rollback_config, deadline_of(service, ROLLBACK_DEADLINE)),
        endpoint_spec=_endpoint(deploy.endpoint_mode, service.ports),
    )


def _container(
    namespace: Namespace, service: doc.Service, document: doc.Document, read_value: ReadValue
) -> ContainerSpec:
    add, drop = _capabilities(service.cap_add, service.cap_drop)
    return ContainerSpec(
        image=tagged(service.image),
        labels=namespace.label(service.labels),
        command=service.entrypoint,
        args=service.command,
        hostname=service.hostname,
        env=tuple(sorted(key if value is None else f"{key}={value}" for key, value in service.environment.items())),
        dir=service.working_dir,
        user=service.user,
        privileges=privileges(service.security_opt, read_value),
        init=service.init,
        stop_signal=service.stop_signal,
        tty=service.tty,
        open_stdin=service.stdin_open,
        read_only=service.read_only,
        mounts=(*mounts(namespace, service.volumes, document.volumes), *memory_mounts(service)),
        stop_grace_period=service.stop_grace_period,
        healthcheck=_healthcheck(service.healthcheck),
        hosts=tuple(f"{address} {host}" for host, _, address in (line.partition(":") for line in service.extra_hosts)),
        dns_config=DNSConfig(nameservers=service.dns, search=service.dns_search)
        if service.dns or service.dns_search
        else None,
        secrets=_secrets(namespace, service.secrets, document.secrets),
        configs=_configs(namespace, service.configs, document.configs),
        isolation=service.isolation,
        sysctls=dict(service.sysctls),
        capability_add=add,
        capability_drop=drop,
        ulimits=_ulimits(service.ulimits),
        oom_score_adj=service.oom_score_adj,
    )


def _secrets(
    namespace: Namespace, references: tuple[doc.FileReference, ...], known: Mapping[str, doc.FileObject]
) -> tuple[SecretReference, ...]:
    named = _files(namespace, "secret", references, known)
    return tuple(SecretReference(file=target, secret_name=name) for name, target in named)


def _configs(
    namespace: Namespace, references: tuple[doc.FileReference, ...], known: Mapping[str, doc.FileObject]
) -> tuple[ConfigReference, ...]:
    named = _files(namespace, "config", references, known)
    return tuple(ConfigReference(file=target, config_name=name) for name, target in named)


def _files(
    namespace: Namespace, kind: str, references: tuple[doc.FileReference, ...], known: Mapping[str, doc.FileObject]
) -> list[tuple[str, FileTarget]]:
    """Return names in the cluster and targets of secrets or configs, sorted by name.

    Raises `StackError` for one that the stack does not define, and for two with one target.
    """
    found: dict[str, tuple[str, FileTarget]] = {}
    for reference in references:
        if reference.source not in known:
            raise StackError(f'undefined {kind} "{reference.source}"')
        name = known[reference.source].name or namespace.scope(reference.source)
        target = FileTarget(
            name=reference.target or reference.source,
            uid=reference.uid or "0",
            gid=reference.gid or "0",
            mode=0o444 if reference.mode is None else reference.mode,
        )
        if target.name in found:
            raise StackError(f"duplicate {kind} target for {name} not allowed")
        found[target.name] = (name, target)
    return sorted(found.values(), key=lambda item: item[0])


def _networks(
    namespace: Namespace, service: doc.Service, known: Mapping[str, doc.Network]
) -> tuple[NetworkAttachmentConfig, ...]:
    """Return a service's networks, sorted; on each it answers to its short name.

    Raises `StackError` for one that the stack does not define.
    """
    attachments = []
    for name, given in (service.networks or {"default": None}).items():
        if name not in known and name != "default":
            raise StackError(f'undefined network "{name}"')
        attachment = given or doc.ServiceNetwork()
        target = (known[name].name if name in known else "") or namespace.scope(name)
        own = () if target in _NOT_USER_DEFINED else (service.name,)
        attachments.append(
            NetworkAttachmentConfig(
                target=target, aliases=(*attachment.aliases, *own), driver_opts=dict(attachment.driver_opts)
            )
        )
    return tuple(sorted(attachments, key=lambda attachment: attachment.target))


def _mode(mode: str, replicas: int | None) -> ServiceMode:
    match mode:
        case "" | "replicated":
            return ServiceMode(replicated=Replicated(replicas=replicas))
        case "replicated-job":
            return ServiceMode(replicated_job=ReplicatedJob(max_concurrent=replicas, total_completions=replicas))
        case "global" | "global-job" if replicas is not None:
            raise StackError("replicas can only be used with replicated or replicated-job mode")
        case "global":
            return ServiceMode(global_=Global())
        case "global-job":
            return ServiceMode(global_job=GlobalJob())
        case _:
            raise StackError(f"unknown mode: {mode}")


def _placement(placement: doc.Placement) -> Placement:
    return Placement(
        constraints=placement.constraints,
        preferences=tuple(
            PlacementPreference(spread=SpreadOver(spread_descriptor=one.spread)) for one in placement.preferences
        ),
        max_replicas=placement.max_replicas_per_node,
    )


def _resources(resources: doc.Resources) -> Resources:
    limits, reservations = resources.limits, resources.reservations
    return Resources(
        limits=None
        if limits is None
        else Limit(
            nano_cpus=parse_cpus(limits.cpus) if limits.cpus else 0, memory_bytes=limits.memory, pids=limits.pids
        ),
        reservations=None
        if reservations is None
        else Reservation(
            nano_cpus=parse_cpus(reservations.cpus) if reservations.cpus else 0,
            memory_bytes=reservations.memory,
            generic_resources=tuple(discrete(one.kind, one.value) for one in reservations.generic_resources),
        ),
    )


def _restart_policy(restart: str, policy: doc.RestartPolicy | None) -> RestartPolicy | None:
    """Return the deploy section's policy, else what `restart` says; None where nothing is said."""
    if policy is not None:
        return RestartPolicy(
            condition=policy.condition, delay=policy.delay, max_attempts=policy.max_attempts, window=policy.window
        )
    name, colon, count = restart.partition(":")
    if colon and not name:
        raise StackError("invalid restart policy format: no policy provided before colon")
    if count and not count.removeprefix("-").isdecimal():
        raise StackError("invalid restart policy format: maximum retry count must be an integer")
    if count.startswith("-"):
        raise StackError("invalid restart policy: maximum retry count cannot be negative")
    if name in ("", "no"):
        return None
    if name not in _RESTART_CONDITIONS:
        raise StackError(
            f"invalid restart policy: unknown policy '{name}' "
            "(must be one of 'no', 'always', 'on-failure', or 'unless-stopped')"
        )
    return RestartPolicy(condition=_RESTART_CONDITIONS[name], max_attempts=int(count or "0") or None)


def _changes(changes: doc.ChangeConfig | None, deadline: int | None) -> UpdateConfig | None:
    if changes is None and deadline is None:
        return None
    changes = changes or doc.ChangeConfig()
    return UpdateConfig(
        parallelism=1 if changes.parallelism is None else changes.parallelism,
        delay=changes.delay,
        failure_action=changes.failure_action,
        monitor=changes.monitor,
        max_failure_ratio=changes.max_failure_ratio,
        order=changes.order,
        deadline=deadline,
    )


def _endpoint(mode: str, ports: tuple[doc.Port, ...]) -> EndpointSpec:
    ordered = sorted(ports, key=lambda port: (port.published, port.target, port.protocol, port.mode))
    return EndpointSpec(
        mode=mode.lower(),
        ports=tuple(
            PortConfig(
                protocol=port.protocol or "tcp",
                target_port=port.target,
                published_port=port.published,
                publish_mode=port.mode or "ingress",
            )
            for port in ordered
        ),
    )


def _healthcheck(healthcheck: doc.Healthcheck | None) -> HealthConfig | None:
    if healthcheck is None:
        return None
    if healthcheck.disable and healthcheck.test:
        raise StackError("test and disable can't be set at the same time")
    if healthcheck.disable:
        return HealthConfig(test=("NONE",))
    return HealthConfig(
        test=healthcheck.test,
        interval=healthcheck.interval or 0,
        timeout=healthcheck.timeout or 0,
        retries=healthcheck.retries or 0,
        start_period=healthcheck.start_period or 0,
        start_interval=healthcheck.start_interval or 0,
    )


def _capabilities(add: tuple[str, ...], drop: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return capabilities in their full names, sorted; ALL stands for all others, and adding wins over dropping."""
    added, dropped = ({_capability(name) for name in names} - {"RESET"} for names in (add, drop))
    added = {"ALL"} if "ALL" in added else added
    dropped = {"ALL"} if "ALL" in dropped else dropped
    return tuple(sorted(added)), tuple(sorted(dropped - added))


def _capability(name: str) -> str:
    upper = name.strip().upper()
    return upper if upper in ("ALL", "RESET") or upper.startswith("CAP_") else f"CAP_{upper}"


def _ulimits(ulimits: Mapping[str, doc.Ulimit]) -> tuple[Ulimit, ...]:
    both = {
        name: replace(limit, soft=limit.single, hard=limit.single) if limit.single is not None else limit
        for name, limit in sorted(ulimits.items())
    }
    return tuple(Ulimit(name=name, soft=limit.soft, hard=limit.hard) for name, limit in both.items())
