"""Rules for a service's spec by itself: no snapshot, no other object.  Pure.

Called by `vault.store.rules_service`.  Texts are SwarmKit's where it has one.
"""

from vault.model.container import ContainerSpec
from vault.model.depends import DEPENDS_LABEL, dependencies_of
from vault.model.endpoint_options import endpoint_options
from vault.model.errors import BadRequest, InvalidArgument
from vault.model.generic import GenericResource
from vault.model.image_name import match_image
from vault.model.log_options import UnknownDriver, log_settings
from vault.model.names import check_service_name
from vault.model.secret import Driver
from vault.model.service import (
    EndpointSpec,
    Limit,
    NetworkAttachmentConfig,
    Placement,
    ReplicatedJob,
    Reservation,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    UpdateConfig,
)
from vault.model.task import Task
from vault.store.expand import SAMPLE_NODE, expanded
from vault.store.rules_constraints import check_constraints
from vault.store.rules_container import check_container
from vault.store.rules_health import check_healthcheck
from vault.store.rules_mounts import check_mounts
from vault.store.rules_offered import check_offered
from vault.store.rules_privileges import check_privileges
from vault.store.template import TemplateFailed

MIN_NANO_CPUS = 1_000_000
MIN_MEMORY_BYTES = 4 * 1024 * 1024
MAX_REPLICAS = 1_000_000
MAX_PORT = 65_535
CONDITIONS = ("", "none", "on-failure", "any")
ACTIONS = ("", "pause", "continue", "rollback")
ORDERS = ("", "stop-first", "start-first")
PROTOCOLS = ("tcp", "udp", "sctp")
SPREAD_OVER = ("node.labels.", "engine.labels.")  # SwarmKit ignores a preference for anything else; we say so.


def check_spec(spec: ServiceSpec) -> None:
    """Raise `InvalidArgument` or `Unimplemented` unless a service may be made of `spec`."""
    check_service_name(spec.name)
    _check_depends(spec)
    _check_mode(spec.mode)
    check_offered(spec)
    task = spec.task_template
    if task.resources is not None:
        _check_resources(task.resources.limits)
        _check_resources(task.resources.reservations)
        _check_amounts(task.resources)
    _check_restart(task.restart_policy)
    _check_placement(task.placement)
    _check_container(_as_run(spec))
    _check_logging(task.log_driver)
    _check_attachments(task.networks)
    _check_not_updated(spec)
    _check_update("update", spec.update_config)
    _check_update("rollback", spec.rollback_config)
    _check_endpoint(spec.endpoint_spec)


def _check_depends(spec: ServiceSpec) -> None:
    if any(one.service == spec.name for one in dependencies_of(spec.labels)):
        raise InvalidArgument(f"service {spec.name} waits for itself: change its label {DEPENDS_LABEL}")


def _check_mode(mode: ServiceMode) -> None:
    given = [one for one in (mode.replicated, mode.global_, mode.replicated_job, mode.global_job) if one is not None]
    if len(given) > 1:
        raise BadRequest("must specify only one service mode")
    if mode.replicated is not None:
        replicas = mode.replicated.replicas
        if replicas is not None and not 0 <= replicas <= MAX_REPLICAS:
            raise InvalidArgument(f"Replicas must be between 0 and {MAX_REPLICAS}")
    if mode.replicated_job is not None:
        _check_job(mode.replicated_job)


def _check_job(job: ReplicatedJob) -> None:
    at_a_time = 1 if job.max_concurrent is None else job.max_concurrent
    total = at_a_time if job.total_completions is None else job.total_completions
    if at_a_time < 0:
        raise InvalidArgument("Maximum concurrent jobs must not be negative")
    if total < 0:
        raise InvalidArgument("Total completed jobs must not be negative")
    if max(at_a_time, total) > MAX_REPLICAS:
        raise InvalidArgument(f"MaxConcurrent and TotalCompletions must be at most {MAX_REPLICAS}")
    if total and not at_a_time:
        raise InvalidArgument("MaxConcurrent must be at least 1, or the job's tasks never run")


def _check_not_updated(spec: ServiceSpec) -> None:
    """Raise `InvalidArgument` for a job that says how its tasks are exchanged: it runs anew instead."""
    if spec.mode.is_job and spec.update_config is not None:
        raise InvalidArgument("Jobs may not have an update config")
    if spec.mode.is_job and spec.rollback_config is not None:
        raise InvalidArgument("Jobs may not have a rollback config")


def _check_resources(resources: Limit | Reservation | None) -> None:
    if resources is None:
        return
    if resources.nano_cpus and resources.nano_cpus < MIN_NANO_CPUS:
        raise InvalidArgument(f"invalid cpu value {resources.nano_cpus / 1e9:g}: Must be at least 0.001")
    if resources.memory_bytes and resources.memory_bytes < MIN_MEMORY_BYTES:
        raise InvalidArgument(f"invalid memory value {resources.memory_bytes}: Must be at least 4MiB")
    if isinstance(resources, Limit) and resources.pids < 0:
        raise InvalidArgument("invalid pids value: Must not be negative")
    if isinstance(resources, Reservation):
        _check_generic(resources.generic_resources)


def _check_generic(resources: tuple[GenericResource, ...]) -> None:
    """A task asks for a number of a kind; which ones it gets is the scheduler's choice."""
    kinds = set()
    for resource in resources:
        asked = resource.discrete_resource_spec
        if asked is None or resource.named_resource_spec is not None or not asked.kind:
            raise InvalidArgument(f"invalid argument for resource {resource.kind}: reserve a number of a kind")
        if asked.value < 0:
            raise InvalidArgument(f"invalid argument for resource {asked.kind}: its number must not be negative")
        if asked.kind in kinds:
            raise InvalidArgument(f"duplicate generic-resource `{asked.kind}` for service task")
        kinds.add(asked.kind)


def _check_amounts(resources: Resources) -> None:
    """Refuse what contradicts itself: swap without a limit, and more kept free for a task than it may use."""
    limits, reservations = resources.limits or Limit(), resources.reservations or Reservation()
    if resources.swap_bytes is not None and not limits.memory_bytes:
        raise BadRequest("memory swap provided, but no memory-limit was set")
    if resources.swap_bytes is not None and resources.swap_bytes < -1:
        raise InvalidArgument(f"invalid memory swap value {resources.swap_bytes}: Must be at least -1")
    if resources.memory_swappiness is not None and not -1 <= resources.memory_swappiness <= 100:
        raise InvalidArgument(f"invalid memory swappiness value {resources.memory_swappiness}: valid range is 0-100")
    if limits.memory_bytes and reservations.memory_bytes > limits.memory_bytes:
        raise InvalidArgument(
            f"a memory reservation of {reservations.memory_bytes} bytes is more than the limit of "
            f"{limits.memory_bytes}: lower the one or raise the other"
        )
    if limits.nano_cpus and reservations.nano_cpus > limits.nano_cpus:
        raise InvalidArgument(
            f"a reservation of {reservations.nano_cpus / 1e9:g} CPUs is more than the limit of "
            f"{limits.nano_cpus / 1e9:g}: lower the one or raise the other"
        )


def _check_restart(policy: RestartPolicy | None) -> None:
    if policy is None:
        return
    if policy.condition not in CONDITIONS:
        raise BadRequest(f'invalid RestartCondition: "{policy.condition}"')
    if (policy.delay or 0) < 0:
        raise InvalidArgument("TaskSpec: restart-delay cannot be negative")
    if (policy.window or 0) < 0:
        raise InvalidArgument("TaskSpec: restart-window cannot be negative")
    if (policy.max_attempts or 0) < 0:
        raise InvalidArgument("TaskSpec: restart-max-attempts cannot be negative")


def _check_placement(placement: Placement | None) -> None:
    if placement is None:
        return
    if placement.max_replicas < 0:
        raise InvalidArgument("Placement: max replicas per node cannot be negative")
    for preference in placement.preferences:
        label = preference.spread.spread_descriptor if preference.spread is not None else ""
        if not any(len(label) > len(prefix) and label.lower().startswith(prefix) for prefix in SPREAD_OVER):
            raise InvalidArgument(
                f"placement preference '{label}' is invalid: spread over node.labels.NAME or engine.labels.NAME"
            )
    check_constraints(placement.constraints)


def _as_run(spec: ServiceSpec) -> ContainerSpec:
    """Return the container as a task might have it, templates filled in; raise `InvalidArgument` if they cannot be."""
    sample = Task(
        id="taskid",
        spec=spec.task_template,
        service_id="serviceid",
        service_name=spec.name,
        service_labels=spec.labels,
        slot=1,
        node_id=SAMPLE_NODE["id"],
    )
    try:
        return expanded(sample, SAMPLE_NODE).spec.container_spec
    except TemplateFailed as error:
        raise InvalidArgument(error.message) from None


def _check_container(container: ContainerSpec) -> None:
    if not container.image:
        raise InvalidArgument("ContainerSpec: image reference must be provided")
    if match_image(container.image) is None:
        raise InvalidArgument(f'ContainerSpec: "{container.image}" is not a valid repository/tag')
    check_container(container)
    check_mounts(container.mounts)
    check_privileges(container.privileges)
    check_healthcheck(container.healthcheck)


def _check_attachments(attachments: tuple[NetworkAttachmentConfig, ...]) -> None:
    """Refuse options of a task's place on a network that no node knows, and two links of one name."""
    devices = set()
    for attachment in attachments:
        try:
            device = endpoint_options(attachment.driver_opts).device
        except ValueError as error:
            raise InvalidArgument(f"invalid endpoint settings:\n{error}") from None
        if device and device in devices:
            raise InvalidArgument(f"invalid endpoint settings:\ninterface name '{device}' is given twice")
        devices.add(device)


def _check_logging(driver: Driver | None) -> None:
    """Refuse what no built-in driver takes; whether a node has another one is seen where the task is placed."""
    if driver is None:
        return
    try:
        log_settings(driver.name, driver.options)
    except UnknownDriver:
        return
    except ValueError as error:
        raise InvalidArgument(str(error)) from None


def _check_update(what: str, config: UpdateConfig | None) -> None:
    """what: update or rollback."""
    if config is None:
        return
    if config.parallelism < 0:
        raise InvalidArgument(f"TaskSpec: {what}-parallelism cannot be negative")
    if config.delay < 0:
        raise InvalidArgument(f"TaskSpec: {what}-delay cannot be negative")
    if config.monitor < 0:
        raise InvalidArgument(f"TaskSpec: {what}-monitor cannot be negative")
    if not 0 <= config.max_failure_ratio <= 1:
        raise InvalidArgument(f"TaskSpec: {what}-maxfailureratio cannot be less than 0 or bigger than 1")
    if config.failure_action not in ACTIONS:
        raise BadRequest(f"unrecognized update failure action {config.failure_action}")
    if config.order not in ORDERS:
        raise BadRequest(f"unrecognized update order {config.order}")


def _check_endpoint(endpoint: EndpointSpec | None) -> None:
    if endpoint is None:
        return
    if endpoint.mode not in ("", "vip", "dnsrr"):
        raise BadRequest(f'invalid resolution mode: "{endpoint.mode}"')
    published = set()
    for port in endpoint.ports:
        if port.protocol not in PROTOCOLS or port.publish_mode not in ("ingress", "host"):
            raise InvalidArgument("EndpointSpec: a port's protocol is tcp, udp or sctp, its mode ingress or host")
        if not 0 < port.target_port <= MAX_PORT or not 0 <= port.published_port <= MAX_PORT:
            raise InvalidArgument(f"EndpointSpec: a port must be between 1 and {MAX_PORT}")
        if port.publish_mode == "ingress" and endpoint.mode == "dnsrr":
            raise InvalidArgument("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
        key = (port.published_port, port.protocol)  # Whatever its mode: both would be the same port of a node.
        if port.published_port and key in published:
            raise InvalidArgument("EndpointSpec: duplicate published ports provided")
        published.add(key)
