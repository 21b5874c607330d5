"""Cluster objects as clients see them: without what is ours, and without what their API version did not have.  Pure.

Called by the handlers of nodes, services, tasks and the swarm.
"""

from typing import Any

import msgspec

from vault.api.version import ApiVersion
from vault.model.cluster import Cluster, JoinTokens
from vault.model.container import ContainerSpec, Mount, Privileges
from vault.model.node import Node
from vault.model.service import Service, ServiceMode, ServiceSpec, ServiceStatus, TaskSpec, UpdateStatus
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

DEFAULT_POOL = ("10.0.0.0/8",)
JOBS_SINCE: ApiVersion = (1, 41)
OBJECT_FIELDS = ("id", "version", "created_at", "updated_at")
TASK_FIELDS = (
    *OBJECT_FIELDS,
    "labels",
    "spec",
    "service_id",
    "slot",
    "node_id",
    "status",
    "desired_state",
    "networks_attachments",
    "generic_resources",
    "job_iteration",
)
CLUSTER_FIELDS = (
    *OBJECT_FIELDS,
    "spec",
    "tls_info",
    "root_rotation_in_progress",
    "default_addr_pool",
    "subnet_size",
    "data_path_port",
    "join_tokens",
)
NODE_FIELDS = (*OBJECT_FIELDS, "spec", "description", "status", "manager_status")
SERVICE_FIELDS = (*OBJECT_FIELDS, "spec", "previous_spec", "endpoint", "update_status", "service_status", "job_status")
STATUS_FIELDS = ("state", "started_at", "completed_at", "message", "reason")


def _hidden(type_: type[msgspec.Struct], shown: tuple[str, ...]) -> dict[str, Any]:
    """Return the defaults of the fields that no answer shows; a default is not encoded."""
    fields = (field for field in msgspec.structs.fields(type_) if field.name not in shown)
    return {
        field.name: field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        for field in fields
    }


_HIDDEN_OF_CLUSTER = _hidden(Cluster, CLUSTER_FIELDS)
_HIDDEN_OF_NODE = _hidden(Node, NODE_FIELDS)
_HIDDEN_OF_TASK = _hidden(Task, TASK_FIELDS)
_HIDDEN_OF_SERVICE = _hidden(Service, SERVICE_FIELDS)
_HIDDEN_OF_STATUS = _hidden(UpdateStatus, STATUS_FIELDS)


def shown_node(node: Node) -> Node:
    """Return a node without what is recorded of its keys and certificate."""
    return msgspec.structs.replace(node, **_HIDDEN_OF_NODE)


def shown_cluster(cluster: Cluster, *, tokens: bool) -> Cluster:
    """Return the swarm without its keys, and without join tokens unless asked for."""
    return msgspec.structs.replace(
        cluster,
        **_HIDDEN_OF_CLUSTER
        | {
            "join_tokens": cluster.join_tokens if tokens else JoinTokens(),
            "default_addr_pool": cluster.default_addr_pool or DEFAULT_POOL,
        },
    )


def shown_service(service: Service, version: ApiVersion, status: ServiceStatus | None = None) -> Service:
    """Return a service as a client of `version` sees it."""
    previous = service.previous_spec
    if previous is not None:
        previous = spec_of_version(previous, version)
    update = service.update_status
    return msgspec.structs.replace(
        service,
        **_HIDDEN_OF_SERVICE
        | {
            "spec": spec_of_version(service.spec, version),
            "previous_spec": previous,
            "update_status": None if update is None else msgspec.structs.replace(update, **_HIDDEN_OF_STATUS),
            "service_status": status,
            "job_status": None if version < JOBS_SINCE else service.job_status,
        },
    )


def shown_task(task: Task, version: ApiVersion) -> Task:
    """Return a task as a client of `version` sees it."""
    seen: dict[str, Any] = {
        "spec": _task_of_version(task.spec, version),
        "job_iteration": None if version < JOBS_SINCE else task.job_iteration,
    }
    if task.status.unhealthy:
        seen["status"] = msgspec.structs.replace(task.status, unhealthy=False)
    return msgspec.structs.replace(task, **_HIDDEN_OF_TASK | seen)


def status_of(snapshot: Snapshot, service: Service) -> ServiceStatus:
    """Return the counts that `?status=true` asks for; of a job's tasks, those of its present run.

    A task on a node that is down was last seen running, but nobody knows whether it does: it does not count, or a
    service would show more tasks than it wants until the node is back.
    """
    running = desired = 0
    completed: set[int | str] = set()
    for task in snapshot.tasks_of(service.id):
        if task.job_iteration != service.job_iteration:
            continue
        running += task.state is State.RUNNING and not _on_lost_node(snapshot, task)
        desired += task.released and not task.done
        if service.is_job and task.state is State.COMPLETE:
            completed.add(task.slot_key)  # A node that was given up may say later that it had completed, too.
    job = service.spec.mode.replicated_job
    fixed = service.replicas if job is None else job.max_concurrent or 0
    return ServiceStatus(
        running_tasks=running,
        desired_tasks=desired if service.is_global else fixed,
        completed_tasks=len(completed),
    )


def _on_lost_node(snapshot: Snapshot, task: Task) -> bool:
    node = snapshot.nodes.get(task.node_id)
    return node is None or node.status.state == "down"


def spec_of_version(spec: ServiceSpec, version: ApiVersion) -> ServiceSpec:
    """Return a spec without the fields that `version` does not have; posted and shown specs alike."""
    if spec.mode.is_job and version < JOBS_SINCE:
        spec = msgspec.structs.replace(spec, mode=ServiceMode())
    task = _task_of_version(spec.task_template, version)
    if task is spec.task_template:
        return spec
    return msgspec.structs.replace(spec, task_template=task)


def _task_of_version(task: TaskSpec, version: ApiVersion) -> TaskSpec:
    container = _container_of_version(task.container_spec, version)
    limits = task.resources.limits if task.resources else None
    if version < (1, 41) and task.resources and limits and limits.pids:
        limits = msgspec.structs.replace(limits, pids=0)
        task = msgspec.structs.replace(task, resources=msgspec.structs.replace(task.resources, limits=limits))
    if container is task.container_spec:
        return task
    return msgspec.structs.replace(task, container_spec=container)


def _container_of_version(container: ContainerSpec, version: ApiVersion) -> ContainerSpec:
    """Drop what came with 1.41, 1.44 and 1.46."""
    if version < (1, 46) and container.oom_score_adj:
        container = msgspec.structs.replace(container, oom_score_adj=0)
    if version < (1, 46) and any(mount.tmpfs_options and mount.tmpfs_options.options for mount in container.mounts):
        container = msgspec.structs.replace(container, mounts=tuple(map(_without_tmpfs_options, container.mounts)))
    if version < (1, 44) and container.privileges is not None:
        older = Privileges(
            credential_spec=container.privileges.credential_spec,
            selinux_context=container.privileges.selinux_context,
        )
        container = msgspec.structs.replace(container, privileges=older)
    check = container.healthcheck
    if version < (1, 44) and check is not None and check.start_interval:
        container = msgspec.structs.replace(container, healthcheck=msgspec.structs.replace(check, start_interval=0))
    if version < (1, 41) and (container.capability_add or container.capability_drop or container.ulimits):
        container = msgspec.structs.replace(container, capability_add=(), capability_drop=(), ulimits=())
    return container


def _without_tmpfs_options(mount: Mount) -> Mount:
    if mount.tmpfs_options is None:
        return mount
    return msgspec.structs.replace(mount, tmpfs_options=msgspec.structs.replace(mount.tmpfs_options, options=()))
