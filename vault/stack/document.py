"""What a stack says, in one normal form: the short ways of writing things are gone, and nothing is looked up yet.

Made by `vault.stack.load`, merged by `merge`, printed by `render`, turned into objects of the cluster by `convert`.
Field names and their order are those of the compose file, so that printing is a walk over the fields.  None means "not
given" where zero or empty says something else.  Durations are nanoseconds, sizes bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Strings = tuple[str, ...]
Pairs = Mapping[str, str]
Extensions = Mapping[str, Any]  # x- keys, kept for `stack config`.


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReference:
    """A service's use of a secret or config."""

    source: str = ""
    target: str = ""  # Empty = the source's name.
    uid: str = ""
    gid: str = ""
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a service."""

    mode: str = ""
    target: int = 0
    published: int = 0
    protocol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BindOptions:
    """What is said of a bind mount."""

    propagation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeOptions:
    """What is said of the mount of a volume."""

    nocopy: bool = False
    subpath: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsOptions:
    """What is said of a tmpfs mount."""

    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceVolume:
    """A mount of a service."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind: BindOptions | None = None
    volume: VolumeOptions | None = None
    tmpfs: TmpfsOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceNetwork:
    """A service's place on a network."""

    aliases: Strings = ()
    driver_opts: Pairs = field(default_factory=dict)
    ipv4_address: str = ""
    ipv6_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """One resource limit; `single` sets both."""

    single: int | None = None
    soft: int = 0
    hard: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """Where a task's output goes."""

    driver: str = ""
    options: Pairs = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How a task is asked whether it is well."""

    test: Strings = ()
    timeout: int | None = field(default=None, metadata={"duration": True})
    interval: int | None = field(default=None, metadata={"duration": True})
    retries: int | None = None
    start_period: int | None = field(default=None, metadata={"duration": True})
    start_interval: int | None = field(default=None, metadata={"duration": True})
    disable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeConfig:
    """How tasks are exchanged in an update or a rollback."""

    parallelism: int | None = None
    delay: int = field(default=0, metadata={"duration": True})
    failure_action: str = ""
    monitor: int = field(default=0, metadata={"duration": True})
    max_failure_ratio: float = 0.0
    order: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericResource:
    """A number of something a node has."""

    kind: str = ""
    value: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a task may use at most."""

    cpus: str = ""
    memory: int = field(default=0, metadata={"text": True})
    pids: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservations:
    """What is kept free for a task."""

    cpus: str = ""
    memory: int = field(default=0, metadata={"text": True})
    generic_resources: tuple[GenericResource, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Limits and reservations."""

    limits: Limits | None = None
    reservations: Reservations | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When an ended task is replaced."""

    condition: str = ""
    delay: int | None = field(default=None, metadata={"duration": True})
    max_attempts: int | None = None
    window: int | None = field(default=None, metadata={"duration": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What tasks are spread over."""

    spread: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where tasks may run."""

    constraints: Strings = ()
    preferences: tuple[Preference, ...] = ()
    max_replicas_per_node: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """How a service runs on a cluster."""

    mode: str = ""
    replicas: int | None = None
    labels: Pairs = field(default_factory=dict)
    update_config: ChangeConfig | None = None
    rollback_config: ChangeConfig | None = None
    resources: Resources = field(default_factory=Resources)
    restart_policy: RestartPolicy | None = None
    placement: Placement = field(default_factory=Placement)
    endpoint_mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSpec:
    """Windows accounts; known so that it can be refused by name."""

    config: str = ""
    file: str = ""
    registry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service of a stack."""

    name: str = field(metadata={"hidden": True})
    build: Extensions = field(default_factory=dict)
    cap_add: Strings = ()
    cap_drop: Strings = ()
    cgroupns_mode: str = ""
    cgroup_parent: str = ""
    command: Strings = ()
    configs: tuple[FileReference, ...] = ()
    container_name: str = ""
    credential_spec: CredentialSpec = field(default_factory=CredentialSpec)
    depends_on: Strings = ()
    deploy: Deploy = field(default_factory=Deploy)
    devices: Strings = ()
    dns: Strings = ()
    dns_search: Strings = ()
    domainname: str = ""
    entrypoint: Strings = ()
    environment: Mapping[str, str | None] = field(
        default_factory=dict
    )  # None = not set here, and by the caller neither.
    env_file: Strings = ()
    expose: Strings = ()
    external_links: Strings = ()
    extra_hosts: Strings = ()  # host:address
    hostname: str = ""
    healthcheck: Healthcheck | None = None
    image: str = ""
    init: bool | None = None
    ipc: str = ""
    isolation: str = ""
    labels: Pairs = field(default_factory=dict)
    links: Strings = ()
    logging: Logging | None = None
    mac_address: str = ""
    network_mode: str = ""
    networks: Mapping[str, ServiceNetwork | None] = field(default_factory=dict)
    pid: str = ""
    ports: tuple[Port, ...] = ()
    privileged: bool = False
    read_only: bool = False
    restart: str = ""
    secrets: tuple[FileReference, ...] = ()
    security_opt: Strings = ()
    shm_size: str = ""
    stdin_open: bool = False
    stop_grace_period: int | None = field(default=None, metadata={"duration": True})
    stop_signal: str = ""
    sysctls: Pairs = field(default_factory=dict)
    tmpfs: Strings = ()
    tty: bool = False
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    user: str = ""
    oom_score_adj: int = 0
    userns_mode: str = ""
    volumes: tuple[ServiceVolume, ...] = ()
    working_dir: str = ""
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IPAMPool:
    """An address range."""

    subnet: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IPAM:
    """The address ranges of a network."""

    driver: str = ""
    config: tuple[IPAMPool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of a stack; an external one is named and must exist."""

    name: str = ""
    driver: str = ""
    driver_opts: Pairs = field(default_factory=dict)
    ipam: IPAM = field(default_factory=IPAM)
    external: bool = False
    internal: bool = False
    attachable: bool = False
    labels: Pairs = field(default_factory=dict)
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume of a stack."""

    name: str = ""
    driver: str = ""
    driver_opts: Pairs = field(default_factory=dict)
    external: bool = False
    labels: Pairs = field(default_factory=dict)
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileObject:
    """A secret or a config of a stack: from a file, from a driver, or external."""

    name: str = ""
    file: str = ""  # Absolute.
    external: bool = False
    labels: Pairs = field(default_factory=dict)
    extensions: Extensions = field(default_factory=dict)
    driver: str = ""
    driver_opts: Pairs = field(default_factory=dict)
    template_driver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One stack file, or several merged."""

    version: str
    services: Mapping[str, Service] = field(default_factory=dict, metadata={"always": True})
    networks: Mapping[str, Network] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    secrets: Mapping[str, FileObject] = field(default_factory=dict)
    configs: Mapping[str, FileObject] = field(default_factory=dict)
    extensions: Extensions = field(default_factory=dict)
