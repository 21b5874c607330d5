"""/_ping, /version and /info: what this is, and how it stands."""

from datetime import UTC, datetime
from http import HTTPStatus
from platform import machine

from starlette.requests import Request
from starlette.responses import Response

from vault import __version__
from vault.api import answers
from vault.api.context import Context, Endpoint, Reach
from vault.api.ports import Container, Membership, NodeInfo
from vault.api.shown import shown_cluster
from vault.api.system_shapes import (
    ClusterInfo,
    Component,
    Info,
    Plugins,
    Registry,
    RemoteManager,
    Runtime,
    SwarmInfo,
    Versions,
)
from vault.api.version import MAX_TEXT, MIN_TEXT
from vault.model.cluster import Cluster
from vault.model.errors import NotAManager, NotFound, VaultError
from vault.store.snapshot import Snapshot

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PING_HEADERS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store, must-revalidate"),
    (b"pragma", b"no-cache"),
)


class System:
    """Handlers of what belongs to no kind of object."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint("GET", "/_ping", self.ping, reach=Reach.NODE),
            Endpoint("HEAD", "/_ping", self.ping_head, reach=Reach.NODE),
            Endpoint("GET", "/version", self.version, replies=Versions, reach=Reach.NODE),
            Endpoint("GET", "/info", self.info, replies=Info, reach=Reach.NODE),
            Endpoint("GET", "/distribution/{name:path}/json", self.distribution, reach=Reach.NODE),
        ]

    async def ping(self, request: Request) -> Response:
        """Answer OK."""
        return self._ping(b"OK", b"2")

    async def ping_head(self, request: Request) -> Response:
        """Answer as GET does, without a body."""
        return self._ping(b"", b"0")

    def _ping(self, body: bytes, length: bytes) -> Response:
        membership = self.context.manager.membership()
        standing = membership.state
        if standing == "active":
            standing = "active/manager" if membership.manager else "active/worker"
        headers = [(b"swarm", standing.encode()), (b"content-length", length), *PING_HEADERS]
        return answers.Answer(body, HTTPStatus.OK, headers)

    async def version(self, request: Request) -> Response:
        """Show versions."""
        node = self.context.node.info()
        arch = ARCHITECTURES.get(node.architecture, node.architecture or machine())
        details = {"ApiVersion": MAX_TEXT, "MinAPIVersion": MIN_TEXT, "Os": "linux", "Arch": arch}
        details["Experimental"] = "false"
        components = [Component(name="Engine", version=__version__, details=details)]
        components.append(Component(name=node.runtime, version=node.runtime_version))
        if node.conmon_version:
            components.append(Component(name="conmon", version=node.conmon_version))
        return answers.json(
            Versions(
                components=tuple(components),
                version=__version__,
                api_version=MAX_TEXT,
                min_api_version=MIN_TEXT,
                arch=arch,
                kernel_version=node.kernel,
            )
        )

    async def info(self, request: Request) -> Response:
        """Show this node and its swarm."""
        node, membership = self.context.node.info(), self.context.manager.membership()
        containers = await self.context.node.containers()
        images = await self.context.node.images()
        now = datetime.fromtimestamp(self.context.now_s(), UTC)
        swarm = _swarm(membership, self._snapshot())
        return answers.json(_info(node, containers, len(images), now, swarm))

    async def distribution(self, request: Request) -> Response:
        """Say at once that no registry was asked: images are resolved where they run."""
        raise NotFound("manifest of", request.path_params["name"])

    def _snapshot(self) -> Snapshot | None:
        try:
            return self.context.manager.store().committed
        except (NotAManager, VaultError):
            return None


def _info(node: NodeInfo, containers: object, images: int, now: datetime, swarm: SwarmInfo) -> Info:
    assert isinstance(containers, list | tuple)
    states = [container.state for container in containers if isinstance(container, Container)]
    return Info(
        id=node.id,
        containers=len(states),
        containers_running=states.count("running"),
        containers_stopped=len(states) - states.count("running"),
        images=images,
        driver=node.storage_driver,
        plugins=Plugins(log=node.log_drivers),
        system_time=now,
        cgroup_driver=node.cgroup_driver,
        cgroup_version=node.cgroup_version,
        kernel_version=node.kernel,
        operating_system=node.operating_system,
        os_version=node.os_version,
        architecture=node.architecture,
        registry_config=Registry(),
        cpus=node.cpus,
        mem_total=node.memory_bytes,
        docker_root_dir=node.data_root,
        name=node.hostname,
        labels=tuple(f"{key}={value}" for key, value in node.labels.items()),
        generic_resources=node.generic_resources or None,
        server_version=__version__,
        runtimes={node.runtime: Runtime(path=node.runtime)},
        default_runtime=node.runtime,
        swarm=swarm,
        security_options=node.security_options,
        warnings=(*node.warnings, *swarm.warnings) or None,
    )


def _swarm(membership: Membership, snapshot: Snapshot | None) -> SwarmInfo:
    managers = tuple(RemoteManager(node_id=node_id, addr=addr) for node_id, addr in membership.managers)
    nodes = () if snapshot is None else tuple(snapshot.nodes.values())
    cluster = None if snapshot is None else snapshot.cluster
    count = sum(node.spec.role == "manager" for node in nodes)
    return SwarmInfo(
        node_id=membership.node_id,
        node_addr=membership.node_addr,
        local_node_state=membership.state,
        control_available=membership.manager and membership.state == "active",
        error=membership.error,
        remote_managers=managers or None,
        nodes=len(nodes),
        managers=count,
        cluster=None if cluster is None else _cluster(shown_cluster(cluster, tokens=False)),
        warnings=_warnings(count),
    )


def _warnings(managers: int) -> tuple[str, ...]:
    """Return what to say of that many managers; the first text is Docker's."""
    if managers == 2:
        return (
            "WARNING: Running Swarm in a two-manager configuration. This configuration provides "
            "no fault tolerance, and poses a high risk to lose control over the cluster. "
            "Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the Swarm for fault-tolerance.",
        )
    if managers and managers % 2 == 0:
        return (
            f"WARNING: Running Swarm with {managers} managers. An even number survives the loss of no more managers "
            f"than {managers - 1} do, and writes are slower. Add a manager, or demote one.",
        )
    return ()


def _cluster(cluster: Cluster) -> ClusterInfo:
    return ClusterInfo(
        id=cluster.id,
        version=cluster.version,
        created_at=cluster.created_at,
        updated_at=cluster.updated_at,
        spec=cluster.spec,
        tls_info=cluster.tls_info,
        root_rotation_in_progress=cluster.root_rotation_in_progress,
        default_addr_pool=cluster.default_addr_pool,
        subnet_size=cluster.subnet_size,
        data_path_port=cluster.data_path_port,
    )
