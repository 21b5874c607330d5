"""/version and /info in the Engine's shape.

Called by `vault.api.system`.  What Docker shows of its own inside, and we do not have, is left out or constant.
"""

from datetime import datetime

import msgspec

from vault.model.base import Object, Shape, always
from vault.model.cluster import ClusterSpec
from vault.model.generic import GenericResource
from vault.model.node import TLSInfo


class Full(Shape, frozen=True, kw_only=True, omit_defaults=False):
    """A shape that leaves nothing out."""


class Component(Shape, frozen=True, kw_only=True):
    """One program and its version."""

    name: str
    version: str
    details: dict[str, str] = msgspec.field(default_factory=dict)


class Platform(Full, frozen=True, kw_only=True):
    """The product."""

    name: str = "Vault for Swarm"


class Versions(Full, frozen=True, kw_only=True):
    """The answer to `/version`."""

    platform: Platform = Platform()
    components: tuple[Component, ...]
    version: str
    api_version: str
    min_api_version: str = msgspec.field(name="MinAPIVersion")
    git_commit: str = ""
    go_version: str = ""
    os: str = "linux"
    arch: str
    kernel_version: str
    build_time: str = ""


class Plugins(Full, frozen=True, kw_only=True):
    """The drivers there are."""

    volume: tuple[str, ...] = ("local",)
    network: tuple[str, ...] = ("bridge", "host", "null", "overlay")
    authorization: tuple[str, ...] | None = None
    log: tuple[str, ...]


class Registry(Full, frozen=True, kw_only=True):
    """Settings of registries; none."""

    insecure_registry_cidrs: tuple[str, ...] = msgspec.field(name="InsecureRegistryCIDRs", default=("127.0.0.0/8",))
    index_configs: dict[str, str] = msgspec.field(default_factory=dict)
    mirrors: tuple[str, ...] = ()


class Runtime(Full, frozen=True, kw_only=True, rename="lower"):
    """A container runtime."""

    path: str


class RemoteManager(Full, frozen=True, kw_only=True):
    """A manager this node knows."""

    node_id: str = msgspec.field(name="NodeID")
    addr: str


class ClusterInfo(Object, frozen=True, kw_only=True):
    """The swarm, without its join tokens."""

    spec: ClusterSpec
    tls_info: TLSInfo = msgspec.field(name="TLSInfo")
    root_rotation_in_progress: bool = always(False)
    default_addr_pool: tuple[str, ...] = ()
    subnet_size: int = always(0)
    data_path_port: int = always(0)


class SwarmInfo(Shape, frozen=True, kw_only=True):
    """How this node stands to a swarm."""

    node_id: str = msgspec.field(name="NodeID", default_factory=lambda: "")
    node_addr: str = always("")
    local_node_state: str = always("inactive")
    control_available: bool = always(False)
    error: str = always("")
    remote_managers: tuple[RemoteManager, ...] | None = always(None)
    nodes: int = 0
    managers: int = 0
    cluster: ClusterInfo | None = None
    warnings: tuple[str, ...] = ()


class Info(Full, frozen=True, kw_only=True):
    """The answer to `/info`."""

    id: str = msgspec.field(name="ID")
    containers: int
    containers_running: int
    containers_paused: int = 0
    containers_stopped: int
    images: int
    driver: str
    driver_status: tuple[tuple[str, str], ...] = ()
    plugins: Plugins
    memory_limit: bool = True
    swap_limit: bool = True
    cpu_cfs_period: bool = True
    cpu_cfs_quota: bool = True
    pids_limit: bool = True
    ipv4_forwarding: bool = msgspec.field(name="IPv4Forwarding", default=True)
    debug: bool = False
    system_time: datetime
    logging_driver: str = "json-file"
    cgroup_driver: str
    cgroup_version: str
    n_events_listener: int = 0
    kernel_version: str
    operating_system: str
    os_version: str = msgspec.field(name="OSVersion")
    os_type: str = msgspec.field(name="OSType", default="linux")
    architecture: str
    index_server_address: str = ""
    registry_config: Registry
    cpus: int = msgspec.field(name="NCPU")
    mem_total: int
    generic_resources: tuple[GenericResource, ...] | None = None
    docker_root_dir: str
    name: str
    labels: tuple[str, ...]
    experimental_build: bool = False
    server_version: str
    runtimes: dict[str, Runtime]
    default_runtime: str
    swarm: SwarmInfo
    live_restore_enabled: bool = True
    isolation: str = ""
    init_binary: str = ""
    security_options: tuple[str, ...]
    warnings: tuple[str, ...] | None = None
