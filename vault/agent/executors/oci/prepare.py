"""Preparing a task: all that its container needs, made on this machine before a process of it runs.

Blocking; from threads only.  Makes the step PREPARING -> READY possible; called by `executor`, which removes what is
left when something here fails.
"""

import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from vault.agent.executors.oci import rootfs
from vault.agent.executors.oci.bundle import (
    Facts,
    hostname_of,
    init_mount,
    labels_of,
    runtime_config,
    working_dir_of,
)
from vault.agent.executors.oci.etc import write_etc
from vault.agent.executors.oci.guards import Guarded, find_guards, guarded
from vault.agent.executors.oci.limits import HostLimits
from vault.agent.executors.oci.logging_plan import plan_logging
from vault.agent.executors.oci.memory import plan_memory
from vault.agent.executors.oci.mounts import (
    BindMount,
    ImageMount,
    Planned,
    TmpfsMount,
    VolumeMount,
    bind_entry,
    plan_mounts,
    tmpfs_entry,
)
from vault.agent.executors.oci.namespace import Hierarchy
from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.executors.oci.process import (
    capabilities_of,
    command_of,
    environment_of,
    identity_of,
)
from vault.agent.executors.oci.record import Record, boot_id, write_record, write_task
from vault.agent.executors.oci.seccomp import Profile
from vault.agent.executors.port import Image, NetworkView, TaskRejected
from vault.agent.logdrivers.attributes import Logged
from vault.agent.volumes import VolumeStore
from vault.crypto.plaintext import Plaintext
from vault.model.base import SECOND_NS
from vault.model.ids import ConfigID, SecretID
from vault.model.kernel_words import ALL_CAPABILITIES, signal_number
from vault.model.service import DEFAULT_STOP_GRACE_NS
from vault.model.task import Task
from vault.tmpfs.port import MemoryFiles

_TINI: Final = ("tini-static", "tini")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One task, with all that was fetched for it."""

    task: Task
    image: Image
    secrets: Mapping[SecretID, Plaintext]
    configs: Mapping[ConfigID, Plaintext]
    network: NetworkView
    mounted: Mapping[str, Image]  # Images that the task mounts, by what its spec calls them.


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What preparing uses of this node."""

    volumes: VolumeStore
    memory_files: MemoryFiles
    profile: Profile
    hierarchy: Hierarchy
    limits: HostLimits
    capabilities: tuple[str, ...]  # That vaultd may hand on.
    read_only_throughout: bool  # The kernel can make read-only what is mounted below a bind mount (Linux 5.12).


def host_limits() -> HostLimits:
    """Read vaultd's own limits."""
    names = {name.removeprefix("RLIMIT_").lower(): name for name in dir(resource) if name.startswith("RLIMIT_")}
    hard = {short: resource.getrlimit(getattr(resource, name))[1] for short, name in names.items()}
    return HostLimits(hard=hard, may_raise="CAP_SYS_RESOURCE" in own_capabilities())


def own_capabilities() -> tuple[str, ...]:
    """Return the capabilities vaultd may hand on."""
    status = Path("/proc/self/status").read_text()
    bits = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    return tuple(name for number, name in enumerate(ALL_CAPABILITIES) if bits >> number & 1)


def prepare(shop: Workshop, paths: TaskPaths, wanted: Wanted) -> None:
    """Make the bundle and its mounts.  Raises `TaskRejected`, or another `VaultError`, or `OSError`."""
    task, spec, image = wanted.task, wanted.task.spec.container_spec, wanted.image.config
    # The cheap refusals come first.
    planned = plan_mounts(spec.mounts, image.volumes)
    memory = plan_memory(spec, secrets=wanted.secrets, configs=wanted.configs, at=paths.secrets)
    guards = guarded(spec.privileges, find_guards())
    record = _record_of(paths, wanted, planned)

    paths.data.mkdir(mode=0o700, parents=True)
    paths.run.mkdir(mode=0o700, parents=True)
    paths.exits.mkdir()
    write_record(paths, record)  # Before the mounts: whoever finds them knows whose they are.
    write_task(paths, task)
    rootfs.mount_layers(wanted.image.layers, paths.rootfs, upper=paths.upper, work=paths.work, label=guards.mount_label)
    rootfs.make_directory(paths.rootfs, working_dir_of(spec, image))
    if memory.files:
        paths.secrets.mkdir()
        shop.memory_files.create(paths.secrets, memory.files, label=guards.mount_label)
    hostname = hostname_of(spec, paths.container_id)
    mounts = [
        *write_etc(paths, spec, wanted.network, hostname=hostname, taken={each.target for each in planned}),
        *(_host_side(shop, paths, each, wanted, label=guards.mount_label) for each in planned),
        *memory.mounts,
        *([init_mount(_find_tini())] if spec.init else []),
    ]
    facts = _facts_of(shop, paths, wanted, hostname=hostname, mounts=mounts, guards=guards)
    kept = facts.confinement
    write_record(paths, replace(record, seccomp_key=kept.key, seccomp_digest=kept.digest))
    paths.config.write_bytes(msgspec.json.encode(runtime_config(task, image, facts)))


def _record_of(paths: TaskPaths, wanted: Wanted, planned: Sequence[Planned]) -> Record:
    """Return what the next vaultd must know; refuses a bad command, stop signal or log driver."""
    task, spec, image = wanted.task, wanted.task.spec.container_spec, wanted.image.config
    command = command_of(spec, image)
    stop_signal = spec.stop_signal or image.stop_signal or "SIGTERM"
    signal_number(stop_signal)
    logging = plan_logging(task.spec.log_driver, _logged(paths, wanted, command))
    volumes = [each for each in planned if isinstance(each, VolumeMount)]
    grace_ns = DEFAULT_STOP_GRACE_NS if spec.stop_grace_period is None else spec.stop_grace_period
    return Record(
        boot_id=boot_id(),
        task_id=task.id,
        container_id=paths.container_id,
        name=task.name,
        program=command[2 if spec.init else 0],
        stop_signal=stop_signal,
        stop_grace_s=grace_ns / SECOND_NS,
        tty=spec.tty,
        open_stdin=spec.open_stdin,
        log_max_bytes=logging.settings.files.max_bytes,
        log_files=logging.settings.files.files,
        log_compress=logging.settings.files.compress,
        log_readable=logging.settings.readable,
        log_driver=logging.settings.driver,
        log_options=dict(logging.options),
        log_tag=logging.tag,
        log_details=dict(logging.details),
        log_fields=dict(logging.fields),
        volumes=tuple(_volume_name(each, task) for each in volumes),
        anonymous_volumes=tuple(_volume_name(each, task) for each in volumes if not each.name),
    )


def _facts_of(
    shop: Workshop,
    paths: TaskPaths,
    wanted: Wanted,
    *,
    hostname: str,
    mounts: Sequence[dict[str, Any]],
    guards: Guarded,
) -> Facts:
    """Look up, in the image and on this node, what the configuration needs."""
    spec, image = wanted.task.spec.container_spec, wanted.image.config
    capabilities = capabilities_of(spec.capability_add, spec.capability_drop, available=shop.capabilities)
    accounts = rootfs.read_accounts(paths.rootfs)
    return Facts(
        rootfs=paths.rootfs,
        cgroup=paths.cgroup,
        identity=identity_of(spec.user or image.user, accounts, extra_groups=spec.groups),
        capabilities=capabilities,
        confinement=shop.profile.wanted(spec.privileges.seccomp if spec.privileges else None, capabilities),
        guarded=guards,
        network=wanted.network,
        mounts=mounts,
        hostname=hostname,
        host_limits=shop.limits,
        cgroup_v2=shop.hierarchy is Hierarchy.V2,
        node_id=wanted.task.node_id,
    )


def _host_side(shop: Workshop, paths: TaskPaths, planned: Planned, wanted: Wanted, *, label: str) -> dict[str, Any]:
    """Make sure that what is mounted exists on the host and in the container, and return its OCI mount."""
    if isinstance(planned, VolumeMount) or (isinstance(planned, BindMount) and os.path.isdir(planned.source)):
        # The runtime does this too, but not through a link in the image that leads nowhere.
        rootfs.make_directory(paths.rootfs, planned.target)
    match planned:
        case BindMount():
            return _bind(shop, planned)
        case VolumeMount():
            return _volume(shop, paths, planned, wanted.task)
        case TmpfsMount():
            return tmpfs_entry(planned)
        case ImageMount():
            return _image(paths, planned, wanted.mounted, label=label)


def _bind(shop: Workshop, planned: BindMount) -> dict[str, Any]:
    if not os.path.exists(planned.source):
        if not planned.create:
            raise TaskRejected(
                f'invalid mount config for type "bind": bind source path does not exist: {planned.source}'
            )
        os.makedirs(planned.source, mode=0o755)
    if planned.must_be_whole and not shop.read_only_throughout:
        raise TaskRejected(
            f"{planned.source} cannot be mounted read-only throughout: that needs Linux 5.12 or newer on this node"
        )
    return bind_entry(
        planned.source,
        planned.target,
        read_only=planned.read_only,
        propagation=planned.propagation,
        recursive=planned.recursive,
        whole=planned.whole and shop.read_only_throughout,
    )


def _image(paths: TaskPaths, planned: ImageMount, mounted: Mapping[str, Image], *, label: str) -> dict[str, Any]:
    number = len(paths.mounted_images())
    place = paths.mounted_image(number)
    upper, work = paths.image_upper(number), paths.image_work(number)
    rootfs.mount_layers(mounted[planned.source].layers, place, upper=upper, work=work, label=label)
    source = rootfs.resolve_in_root(place, PurePosixPath(planned.subpath)) if planned.subpath else place
    if not source.exists():
        raise TaskRejected(
            f'invalid mount config for type "image": subpath {planned.subpath!r} does not exist '
            f"in image {planned.source}"
        )
    if source.is_dir():
        rootfs.make_directory(paths.rootfs, planned.target)
    return bind_entry(str(source), planned.target, read_only=planned.read_only)


def _volume(shop: Workshop, paths: TaskPaths, planned: VolumeMount, task: Task) -> dict[str, Any]:
    name, options = _volume_name(planned, task), planned.options
    driver = options.driver_config
    labels = options.labels or ({} if planned.name else {"com.docker.volume.anonymous": ""})
    shop.volumes.create(
        name, driver=driver.name if driver else "", labels=labels, options=driver.options if driver else None
    )
    place = shop.volumes.use(name, task.id, paths.container_id)
    if not options.no_copy and not options.subpath:
        with shop.volumes.filling(name):
            rootfs.copy_up(paths.rootfs, planned.target, place)
    if options.subpath:
        place = rootfs.resolve_in_root(place, PurePosixPath(options.subpath))
        if not place.exists():
            raise TaskRejected(
                f'invalid mount config for type "volume": subpath {options.subpath!r} does not exist in volume {name}'
            )
    return bind_entry(str(place), planned.target, read_only=planned.read_only)


def _volume_name(planned: VolumeMount, task: Task) -> str:
    """Return the volume's name; one without a name of its own gets 64 digits made from task and target."""
    return planned.name or sha256(f"vault/volume/1\0{task.id}\0{planned.target}".encode()).hexdigest()


def _find_tini() -> Path:
    for name in _TINI:
        found = shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin")
        if found is not None:
            return Path(found)
    raise TaskRejected("an init process was asked for, but tini is not installed on this node: install tini")


def _logged(paths: TaskPaths, wanted: Wanted, command: Sequence[str]) -> Logged:
    """Return the container as its log driver sees it."""
    task, spec, image = wanted.task, wanted.task.spec.container_spec, wanted.image.config
    environment = environment_of(spec, image, hostname=hostname_of(spec, paths.container_id))
    return Logged(
        id=paths.container_id,
        name=task.name,
        image=spec.image,
        image_id=wanted.image.id,
        command=tuple(command),
        env={name: value for name, _, value in (entry.partition("=") for entry in environment)},
        labels=labels_of(task, image, task.node_id),
    )
