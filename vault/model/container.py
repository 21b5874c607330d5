"""What runs in a task: the container part of a task's spec, in Docker's shape."""

from typing import Final

import msgspec

from vault.model.base import Shape, always
from vault.model.secret import ConfigReference, Driver, SecretReference


class BindOptions(Shape, frozen=True, kw_only=True):
    """How a directory of the host is bound."""

    propagation: str = ""  # "" = rprivate
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False  # What is mounted below a read-only bind stays as it is.
    read_only_force_recursive: bool = False  # Refuse the task where that cannot be made read-only too.


class VolumeOptions(Shape, frozen=True, kw_only=True):
    """How a named volume is made and filled."""

    no_copy: bool = False
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    driver_config: Driver | None = None
    subpath: str = ""


HOST_GATEWAY: Final = "host-gateway"  # In a host entry, for the address of the node that the task runs on.


class TmpfsOptions(Shape, frozen=True, kw_only=True):
    """Size (bytes; 0 = half of memory) and mode of a tmpfs mount."""

    size_bytes: int = 0
    mode: int = 0
    options: tuple[tuple[str, ...], ...] = ()  # (name,) or (name, value): exec, noexec.


class ImageOptions(Shape, frozen=True, kw_only=True):
    """Which part of an image is mounted."""

    subpath: str = ""


class Mount(Shape, frozen=True, kw_only=True):
    """One mount of a container."""

    type: str = ""  # bind | volume | tmpfs | image; others are refused.
    source: str = ""  # Path (bind), name (volume; empty = anonymous) or image.
    target: str = ""  # Absolute path in the container.
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    image_options: ImageOptions | None = None


class CredentialSpec(Shape, frozen=True, kw_only=True):
    """A Windows account; known so that it can be refused by name."""

    config: str = ""
    file: str = ""
    registry: str = ""


class SELinuxContext(Shape, frozen=True, kw_only=True):
    """The SELinux label of a container, in parts; "" = the default's."""

    disable: bool = False
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class SeccompOpts(Shape, frozen=True, kw_only=True):
    """Which system calls a container may make."""

    mode: str = ""  # default | unconfined | custom; "" = default
    profile: str = ""  # For custom: base64 of the JSON that Docker's client reads from a file.


class AppArmorOpts(Shape, frozen=True, kw_only=True):
    """Whether AppArmor confines a container."""

    mode: str = ""  # default | disabled; "" = default


class Privileges(Shape, frozen=True, kw_only=True):
    """What confines a container beside its capabilities."""

    credential_spec: CredentialSpec | None = None
    selinux_context: SELinuxContext | None = msgspec.field(name="SELinuxContext", default=None)
    seccomp: SeccompOpts | None = None
    apparmor: AppArmorOpts | None = msgspec.field(name="AppArmor", default=None)
    no_new_privileges: bool = always(False)


class HealthConfig(Shape, frozen=True, kw_only=True):
    """A health check; durations in nanoseconds."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0
    start_interval: int = 0


class DNSConfig(Shape, frozen=True, kw_only=True):
    """resolv.conf of a container; empty means the host's."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Ulimit(Shape, frozen=True, kw_only=True):
    """One resource limit; -1 is unlimited."""

    name: str = always("")
    hard: int = always(0)
    soft: int = always(0)


class ContainerSpec(Shape, frozen=True, kw_only=True):
    """The container of a task.  `command` replaces the image's entrypoint, `args` its command."""

    image: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    hostname: str = ""
    env: tuple[str, ...] = ()
    dir: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    privileges: Privileges | None = None
    init: bool | None = None
    stop_signal: str = ""
    tty: bool = msgspec.field(name="TTY", default=False)
    open_stdin: bool = False
    read_only: bool = False
    mounts: tuple[Mount, ...] = ()
    stop_grace_period: int | None = None  # Nanoseconds; None = 10 s.
    healthcheck: HealthConfig | None = None
    hosts: tuple[str, ...] = ()  # "ip host" lines.
    dns_config: DNSConfig | None = msgspec.field(name="DNSConfig", default=None)
    secrets: tuple[SecretReference, ...] = ()
    configs: tuple[ConfigReference, ...] = ()
    isolation: str = ""
    sysctls: dict[str, str] = msgspec.field(default_factory=dict)
    capability_add: tuple[str, ...] = ()
    capability_drop: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0
