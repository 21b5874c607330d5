"""What a stack says, in one normal form: the short ways of writing things are gone, and nothing is looked up yet.

Made by `vault.stack.load`, merged by `merge`, printed by `render`, turned into objects of the cluster by `convert`.
Field names and their order are those of the compose file, so that printing is a walk over the fields.  None means "not
given" where zero or empty says something else.  Durations are nanoseconds, sizes bytes.

Structs and no dataclasses: to define so many of those takes 35 ms of each `vault stack deploy`, and these 1 ms.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

Strings = tuple[str, ...]
Pairs = Mapping[str, str]
Extensions = Mapping[str, Any]  # x- keys, kept for `stack config`.


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a document."""


class FileReference(Part, frozen=True, kw_only=True):
    """A service's use of a secret or config."""

    source: str = ""
    target: str = ""  # Empty = the source's name.
    uid: str = ""
    gid: str = ""
    mode: int | None = None


class Port(Part, frozen=True, kw_only=True):
    """A port of a service."""

    mode: str = ""
    target: int = 0
    published: int = 0
    protocol: str = ""


class BindOptions(Part, frozen=True, kw_only=True):
    """What is said of a bind mount."""

    propagation: str = ""


class VolumeOptions(Part, frozen=True, kw_only=True):
    """What is said of the mount of a volume."""

    nocopy: bool = False
    subpath: str = ""


class TmpfsOptions(Part, frozen=True, kw_only=True):
    """What is said of a tmpfs mount."""

    size: int = 0


class ServiceVolume(Part, frozen=True, kw_only=True):
    """A mount of a service."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind: BindOptions | None = None
    volume: VolumeOptions | None = None
    tmpfs: TmpfsOptions | None = None


class ServiceNetwork(Part, frozen=True, kw_only=True):
    """A service's place on a network."""

    aliases: Strings = ()
    driver_opts: Pairs = msgspec.field(default_factory=dict)
    ipv4_address: str = ""
    ipv6_address: str = ""


class Ulimit(Part, frozen=True, kw_only=True):
    """One resource limit; `single` sets both."""

    single: int | None = None
    soft: int = 0
    hard: int = 0


class Logging(Part, frozen=True, kw_only=True):
    """Where a task's output goes."""

    driver: str = ""
    options: Pairs = msgspec.field(default_factory=dict)


class Healthcheck(Part, frozen=True, kw_only=True):
    """How a task is asked whether it is well."""

    test: Strings = ()
    timeout: int | None = None
    interval: int | None = None
    retries: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    disable: bool = False


class ChangeConfig(Part, frozen=True, kw_only=True):
    """How tasks are exchanged in an update or a rollback."""

    parallelism: int | None = None
    delay: int = 0
    failure_action: str = ""
    monitor: int = 0
    max_failure_ratio: float = 0.0
    order: str = ""


class GenericResource(Part, frozen=True, kw_only=True):
    """A number of something a node has."""

    kind: str = ""
    value: int = 0


class Limits(Part, frozen=True, kw_only=True):
    """What a task may use at most."""

    cpus: str = ""
    memory: int = 0
    pids: int = 0


class Reservations(Part, frozen=True, kw_only=True):
    """What is kept free for a task."""

    cpus: str = ""
    memory: int = 0
    generic_resources: tuple[GenericResource, ...] = ()


class Resources(Part, frozen=True, kw_only=True):
    """Limits and reservations."""

    limits: Limits | None = None
    reservations: Reservations | None = None


class RestartPolicy(Part, frozen=True, kw_only=True):
    """When an ended task is replaced."""

    condition: str = ""
    delay: int | None = None
    max_attempts: int | None = None
    window: int | None = None


class Preference(Part, frozen=True, kw_only=True):
    """What tasks are spread over."""

    spread: str = ""


class Placement(Part, frozen=True, kw_only=True):
    """Where tasks may run."""

    constraints: Strings = ()
    preferences: tuple[Preference, ...] = ()
    max_replicas_per_node: int = 0


class Deploy(Part, frozen=True, kw_only=True):
    """How a service runs on a cluster."""

    mode: str = ""
    replicas: int | None = None
    labels: Pairs = msgspec.field(default_factory=dict)
    update_config: ChangeConfig | None = None
    rollback_config: ChangeConfig | None = None
    resources: Resources = Resources()
    restart_policy: RestartPolicy | None = None
    placement: Placement = Placement()
    endpoint_mode: str = ""


class CredentialSpec(Part, frozen=True, kw_only=True):
    """Windows accounts; known so that it can be refused by name."""

    config: str = ""
    file: str = ""
    registry: str = ""


class Dependency(Part, frozen=True, kw_only=True):
    """Another service that one waits for."""

    service: str
    condition: str = "service_started"
    required: bool = True  # Else it may be missing.


class Service(Part, frozen=True, kw_only=True):
    """A service of a stack."""

    name: str
    build: Extensions = msgspec.field(default_factory=dict)
    cap_add: Strings = ()
    cap_drop: Strings = ()
    cgroupns_mode: str = ""
    cgroup_parent: str = ""
    command: Strings = ()
    configs: tuple[FileReference, ...] = ()
    container_name: str = ""
    credential_spec: CredentialSpec = CredentialSpec()
    depends_on: tuple[Dependency, ...] = ()
    deploy: Deploy = Deploy()
    devices: Strings = ()
    dns: Strings = ()
    dns_search: Strings = ()
    domainname: str = ""
    entrypoint: Strings = ()
    environment: Mapping[str, str | None] = msgspec.field(default_factory=dict)  # None = passed on without a value.
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
    labels: Pairs = msgspec.field(default_factory=dict)
    links: Strings = ()
    logging: Logging | None = None
    mac_address: str = ""
    network_mode: str = ""
    networks: Mapping[str, ServiceNetwork | None] = msgspec.field(default_factory=dict)
    pid: str = ""
    ports: tuple[Port, ...] = ()
    privileged: bool = False
    read_only: bool = False
    restart: str = ""
    secrets: tuple[FileReference, ...] = ()
    security_opt: Strings = ()
    shm_size: str = ""
    stdin_open: bool = False
    stop_grace_period: int | None = None
    stop_signal: str = ""
    sysctls: Pairs = msgspec.field(default_factory=dict)
    tmpfs: Strings = ()
    tty: bool = False
    ulimits: Mapping[str, Ulimit] = msgspec.field(default_factory=dict)
    user: str = ""
    oom_score_adj: int = 0
    userns_mode: str = ""
    volumes: tuple[ServiceVolume, ...] = ()
    working_dir: str = ""
    extensions: Extensions = msgspec.field(default_factory=dict)


class IPAMPool(Part, frozen=True, kw_only=True):
    """An address range."""

    subnet: str = ""


class IPAM(Part, frozen=True, kw_only=True):
    """The address ranges of a network."""

    driver: str = ""
    config: tuple[IPAMPool, ...] = ()


class Network(Part, frozen=True, kw_only=True):
    """A network of a stack; an external one is named and must exist."""

    name: str = ""
    driver: str = ""
    driver_opts: Pairs = msgspec.field(default_factory=dict)
    ipam: IPAM = IPAM()
    external: bool = False
    internal: bool = False
    attachable: bool = False
    labels: Pairs = msgspec.field(default_factory=dict)
    extensions: Extensions = msgspec.field(default_factory=dict)


class Volume(Part, frozen=True, kw_only=True):
    """A named volume of a stack."""

    name: str = ""
    driver: str = ""
    driver_opts: Pairs = msgspec.field(default_factory=dict)
    external: bool = False
    labels: Pairs = msgspec.field(default_factory=dict)
    extensions: Extensions = msgspec.field(default_factory=dict)


class FileObject(Part, frozen=True, kw_only=True):
    """A secret or a config of a stack: from a file, from a driver, or external."""

    name: str = ""
    file: str = ""  # Absolute.
    external: bool = False
    labels: Pairs = msgspec.field(default_factory=dict)
    extensions: Extensions = msgspec.field(default_factory=dict)
    driver: str = ""
    driver_opts: Pairs = msgspec.field(default_factory=dict)
    template_driver: str = ""


class Document(Part, frozen=True, kw_only=True):
    """One stack file, or several merged."""

    version: str
    services: Mapping[str, Service] = msgspec.field(default_factory=dict)
    networks: Mapping[str, Network] = msgspec.field(default_factory=dict)
    volumes: Mapping[str, Volume] = msgspec.field(default_factory=dict)
    secrets: Mapping[str, FileObject] = msgspec.field(default_factory=dict)
    configs: Mapping[str, FileObject] = msgspec.field(default_factory=dict)
    extensions: Extensions = msgspec.field(default_factory=dict)
