"""Rules for services: creating, updating, rolling back and removing them.  Pure.

Called by `vault.api` inside `Store.submit`, against the proposed snapshot.
"""

from collections.abc import Sequence
from itertools import islice

import msgspec

from vault.model.base import Version, from_s
from vault.model.depends import DEPENDS_LABEL
from vault.model.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from vault.model.ids import Kind
from vault.model.network import Network
from vault.model.service import (
    EndpointSpec,
    JobStatus,
    NetworkAttachmentConfig,
    PortConfig,
    Replicated,
    ReplicatedJob,
    Service,
    ServiceMode,
    ServiceSpec,
    UpdateState,
    UpdateStatus,
)
from vault.model.task import State, Task
from vault.store.changes import Change, Delete, Put
from vault.store.rules import check_name_free, with_spec_of
from vault.store.rules_network_config import NotForServices
from vault.store.rules_references import check_references
from vault.store.rules_registry_auth import removed_with
from vault.store.rules_spec import check_spec
from vault.store.rules_update import check_updates, stored_config, with_deadlines
from vault.store.snapshot import NO_IDS, Snapshot, members

STOPPED_WITH_IT = 500  # Tasks: about 10 ms.


def new_service(snapshot: Snapshot, service_id: str, posted: ServiceSpec, *, now_s: float) -> Put:
    """Return the change that creates a service of a spec as posted; raise what is wrong with it.

    now_s: seconds since 1970; a job's first run begins then.
    """
    spec = prepared(snapshot, posted)
    check_name_free(snapshot, Kind.SERVICE, spec.name, prefix="name conflicts with an existing object: ")
    _check_ports(snapshot, spec, service_id)
    check_references(snapshot, spec.task_template.container_spec)
    return Put(Service(id=service_id, spec=spec, job_status=next_run(snapshot, spec, None, now_s)))


def updated_service(snapshot: Snapshot, service_id: str, posted: ServiceSpec, *, version: int, now_s: float) -> Put:
    """Return the change that gives a service another spec.

    version: the index the caller read.  It fits while the *spec* has not changed since, so that the cluster's own
    writes (progress, addresses) refuse nobody.  now_s: seconds since 1970; a job runs again from then.
    """
    old = with_spec_of(snapshot.services.get(service_id), Kind.SERVICE, service_id, version)
    spec = prepared(snapshot, with_deadlines(posted, old.spec))
    if spec.name != old.spec.name:
        raise Unimplemented("renaming services is not supported")
    if spec.mode.name != old.spec.mode.name:
        raise Unimplemented("service mode change is not allowed")
    if _published(spec.endpoint_spec) != _published(old.spec.endpoint_spec):
        _check_ports(snapshot, spec, service_id)
    check_references(snapshot, spec.task_template.container_spec)
    new = msgspec.structs.replace(
        old,
        spec=spec,
        previous_spec=old.spec,
        update_status=None,
        job_status=next_run(snapshot, spec, old.job_status, now_s),
        dependencies_met=_still_met(old, spec),
        previous_registry_auth=old.registry_auth,
    )
    return Put(new)


def _still_met(old: Service, spec: ServiceSpec) -> bool:
    """Whether a service that waited for others need not do so again: its tasks stay, and it is no run of a job."""
    same_tasks = spec.task_template == old.spec.task_template and not old.is_job
    return old.dependencies_met and same_tasks and spec.labels.get(DEPENDS_LABEL) == old.spec.labels.get(DEPENDS_LABEL)


def rolled_back(snapshot: Snapshot, service_id: str, *, version: int, now_s: float) -> Put:
    """Return the change that swaps a service's spec and its previous one; a job runs again, as it did before."""
    old = with_spec_of(snapshot.services.get(service_id), Kind.SERVICE, service_id, version)
    check_rollback(snapshot, old)
    status = UpdateStatus(
        state=UpdateState.ROLLBACK_STARTED, started_at=from_s(now_s), message="manually requested rollback"
    )
    assert old.previous_spec is not None
    new = msgspec.structs.replace(
        old,
        spec=old.previous_spec,
        previous_spec=old.spec,
        update_status=None if old.is_job else status,  # A job's tasks are not exchanged: nobody would end its update.
        job_status=next_run(snapshot, old.previous_spec, old.job_status, now_s),
        dependencies_met=not old.is_job,  # The way back is never barred.
        registry_auth=old.previous_registry_auth,
        previous_registry_auth=old.registry_auth,
    )
    return Put(new)


def next_run(snapshot: Snapshot, spec: ServiceSpec, last: JobStatus | None, now_s: float) -> JobStatus | None:
    """Return which run of a job is the next, and when it begins; None for other services.

    The nodes there are now all count as there before it, whatever the clocks say: a global job runs on those.
    """
    if not spec.mode.is_job:
        return None
    begins = max([from_s(now_s), *(node.created_at for node in snapshot.nodes.values())])
    iteration = Version() if last is None else Version(index=last.job_iteration.index + 1)
    return JobStatus(job_iteration=iteration, last_execution=begins)


def check_rollback(snapshot: Snapshot, service: Service) -> None:
    """Raise what keeps a service from going back to its previous spec; used by the cluster's own rollbacks, too.

    What that spec refers to cannot have been removed meanwhile, but another service may have taken its ports.
    """
    previous = service.previous_spec
    if previous is None:
        raise FailedPrecondition(f"service {service.spec.name} does not have a previous spec")
    _check_ports(snapshot, previous, service.id)
    check_references(snapshot, previous.task_template.container_spec)


def removed_service(snapshot: Snapshot, service_id: str, *, now_s: float) -> tuple[Change, ...]:
    """Return the changes that remove a service and ask its tasks to go, up to `STOPPED_WITH_IT` of them.

    In one commit, so that those who look next see tasks that end.  The orchestrator asks the others, as it does any
    task whose service is no more: a commit has room for so many, and the event loop waits for this.
    """
    service = snapshot.services.get(service_id)
    if service is None:
        raise NotFound(Kind.SERVICE, service_id)
    tasks = map(snapshot.tasks.__getitem__, sorted(members(snapshot.by_service.get(service_id, NO_IDS))))
    left = (task for task in tasks if task.desired_state < State.REMOVE)
    stopped = [Put(stopping(task, State.REMOVE, now_s)) for task in islice(left, STOPPED_WITH_IT)]
    return (Delete(Kind.SERVICE, service_id, service.version.index), *removed_with(snapshot, service), *stopped)


def stopping(task: Task, desired: State, now_s: float) -> Task:
    """Return `task` with a desired state beyond RUNNING; the first time it was asked to stop is kept."""
    return msgspec.structs.replace(task, desired_state=desired, stop_asked_at=task.stop_asked_at or from_s(now_s))


def prepared(snapshot: Snapshot, posted: ServiceSpec) -> ServiceSpec:
    """Return a spec as it is stored: checked, networks by id, and Docker's documented defaults filled in."""
    check_spec(posted)
    check_updates(posted)
    task = posted.task_template
    container = msgspec.structs.replace(task.container_spec, isolation="default")
    targets = tuple(_with_id(snapshot, attachment) for attachment in task.networks)
    if len({target.target for target in targets}) < len(targets):
        raise InvalidArgument("a network is given twice: name each network once")
    _check_own_network(posted, [snapshot.networks[target.target] for target in targets])
    return msgspec.structs.replace(
        posted,
        task_template=msgspec.structs.replace(task, container_spec=container, networks=targets, runtime="container"),
        mode=_with_numbers(posted.mode),
        update_config=stored_config(posted.update_config),
        rollback_config=stored_config(posted.rollback_config),
        endpoint_spec=_with_mode(posted.endpoint_spec),
    )


def _with_numbers(mode: ServiceMode) -> ServiceMode:
    """Return a mode with Docker's defaults for the numbers that were left out."""
    match mode:
        case ServiceMode(replicated_job=ReplicatedJob(max_concurrent=at_a_time, total_completions=total)):
            at_a_time = 1 if at_a_time is None else at_a_time
            total = at_a_time if total is None else total
            return ServiceMode(replicated_job=ReplicatedJob(max_concurrent=at_a_time, total_completions=total))
        case ServiceMode(replicated=Replicated(replicas=int())):
            return mode
        case _ if mode.name == "replicated":
            return ServiceMode(replicated=Replicated(replicas=1))
        case _:
            return mode


def _with_mode(endpoint: EndpointSpec | None) -> EndpointSpec:
    endpoint = endpoint or EndpointSpec()
    return endpoint if endpoint.mode else msgspec.structs.replace(endpoint, mode="vip")


def _with_id(snapshot: Snapshot, attachment: NetworkAttachmentConfig) -> NetworkAttachmentConfig:
    """Return the attachment with its network's id for its name."""
    network = snapshot.networks.get(attachment.target) or snapshot.by_name(Kind.NETWORK, attachment.target)
    if not isinstance(network, Network):
        raise NotFound(Kind.NETWORK, attachment.target)
    if network.spec.ingress:
        raise InvalidArgument(f'Service cannot be explicitly attached to the ingress network "{network.spec.name}"')
    if network.spec.config_only:
        raise NotForServices(network.spec.name)
    if attachment.driver_opts and network.driver != "overlay":
        raise InvalidArgument(
            f"invalid endpoint settings:\nnetwork {network.spec.name} is the node's own: leave its driver options out"
        )
    return msgspec.structs.replace(attachment, target=network.id)


def _check_own_network(spec: ServiceSpec, networks: Sequence[Network]) -> None:
    """Refuse what contradicts a network of the node's own: a task is on `host` or `none` alone.

    On `host` its ports are the node's, so a published one can only say which; on `none` it has none.
    """
    own = next((network.spec.name for network in networks if network.driver in ("host", "null")), None)
    if own is None:
        return
    if len(networks) > 1:
        raise InvalidArgument(f"a task on network {own} can be on no other: leave one of them out")
    for port in _published(spec.endpoint_spec):
        named = port.publish_mode == "host" and port.published_port in (0, port.target_port)
        if own != "host" or not named:
            raise InvalidArgument(
                f"port {port.target_port} cannot be published for a task on network {own}: leave it out, "
                "or choose another network"
            )
    for name in spec.task_template.container_spec.sysctls:
        if own == "host" and name.startswith("net."):
            raise InvalidArgument(f"sysctl '{name}' is not allowed on network host: it is the node's")


def _check_ports(snapshot: Snapshot, spec: ServiceSpec, service_id: str) -> None:
    """Raise `InvalidArgument` when a published port belongs to another service.

    Two services may publish one port in host mode: the scheduler keeps them on different nodes.  Raises
    `FailedPrecondition` for a port of the mesh when there is none.
    """
    for port in _published(spec.endpoint_spec):
        for other in snapshot.services_publishing(port.published_port, port.protocol):
            if other.id == service_id:
                continue
            for theirs in (*_published(other.spec.endpoint_spec), *other.endpoint.ports):
                _check_port(port, theirs, other)
    meshed = any(port.publish_mode == "ingress" for port in _published(spec.endpoint_spec))
    if meshed and not any(network.spec.ingress for network in snapshot.networks.values()):
        raise FailedPrecondition("service needs ingress network, but no ingress network is present")


def _check_port(port: PortConfig, theirs: PortConfig, other: Service) -> None:
    same = (port.published_port, port.protocol) == (theirs.published_port, theirs.protocol)
    if not same or port.publish_mode == theirs.publish_mode == "host":
        return
    how = "an ingress port" if theirs.publish_mode == "ingress" else "a host-published port"
    raise InvalidArgument(
        f"port '{port.published_port}' is already in use by service '{other.spec.name}' ({other.id}) as {how}"
    )


def _published(endpoint: EndpointSpec | None) -> tuple[PortConfig, ...]:
    return endpoint.ports if endpoint else ()
