"""The OCI runtime configuration of a task.

Pure: everything looked up before comes in as `Facts`; the result is what `config.json` says.  Called by `prepare`.
Source of the defaults: moby, daemon/pkg/oci/defaults.go, and the OCI runtime specification 1.0.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from vault.agent.executors.oci.guards import Guarded
from vault.agent.executors.oci.limits import HostLimits, resources_of, rlimits_of
from vault.agent.executors.oci.process import INIT_PATH, Identity, command_of, environment_of
from vault.agent.executors.oci.seccomp import Confinement
from vault.agent.executors.port import ImageConfig, NetworkView, TaskRejected
from vault.model.container import ContainerSpec
from vault.model.task import Task

MASKED_PATHS: Final = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_SHM_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was looked up for a task before its configuration is written."""

    rootfs: Path
    cgroup: str
    identity: Identity
    capabilities: tuple[str, ...]
    confinement: Confinement
    guarded: Guarded
    network: NetworkView
    mounts: Sequence[dict[str, Any]]  # After the standard ones, parents first.
    hostname: str
    host_limits: HostLimits
    cgroup_v2: bool
    node_id: str


def hostname_of(spec: ContainerSpec, container_id: str) -> str:
    """Return the host name of a container: what was asked for, or its short id."""
    return spec.hostname or container_id[:12]


def working_dir_of(spec: ContainerSpec, image: ImageConfig) -> PurePosixPath:
    """Return the absolute working directory.  Raises `TaskRejected` with Docker's text."""
    directory = spec.dir or image.working_dir or "/"
    if not directory.startswith("/") or "\0" in directory:
        raise TaskRejected(f"the working directory '{directory}' is invalid, it needs to be an absolute path")
    return PurePosixPath(directory)


def labels_of(task: Task, image: ImageConfig, node_id: str) -> dict[str, str]:
    """Return the container's labels; those of the swarm win over the service's, and those over the image's."""
    return {
        **image.labels,
        **task.spec.container_spec.labels,
        "com.docker.swarm.node.id": node_id,
        "com.docker.swarm.service.id": task.service_id,
        "com.docker.swarm.service.name": task.service_name,
        "com.docker.swarm.task": "",
        "com.docker.swarm.task.id": task.id,
        "com.docker.swarm.task.name": task.name,
    }


def runtime_config(task: Task, image: ImageConfig, facts: Facts) -> dict[str, Any]:
    """Return the configuration.  Raises `TaskRejected` for what cannot be."""
    spec = task.spec.container_spec
    return {
        "ociVersion": "1.0.2",
        "process": _process(spec, image, facts),
        "root": {"path": str(facts.rootfs), "readonly": spec.read_only},
        "hostname": facts.hostname,
        "mounts": [*standard_mounts(cgroup_v2=facts.cgroup_v2), *facts.mounts],
        "annotations": {**labels_of(task, image, facts.node_id), **facts.confinement.annotations},
        "linux": _linux(task, facts),
    }


def _process(spec: ContainerSpec, image: ImageConfig, facts: Facts) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": facts.identity.uid, "gid": facts.identity.gid}
    if facts.identity.groups:
        user["additionalGids"] = list(facts.identity.groups)
    # A user without root's rights gets them in the bounding set only, as in Docker.
    held = facts.capabilities if facts.identity.uid == 0 else ()
    return {
        "terminal": spec.tty,
        "user": user,
        "args": list(command_of(spec, image)),
        "env": list(environment_of(spec, image, hostname=facts.hostname)),
        "cwd": str(working_dir_of(spec, image)),
        "capabilities": {"bounding": list(facts.capabilities), "effective": list(held), "permitted": list(held)},
        "noNewPrivileges": spec.privileges is not None and spec.privileges.no_new_privileges,
        "rlimits": rlimits_of(spec.ulimits, facts.host_limits),
        "oomScoreAdj": spec.oom_score_adj,
        **_named(apparmorProfile=facts.guarded.apparmor_profile, selinuxLabel=facts.guarded.process_label),
    }


def _named(**values: str) -> dict[str, str]:
    """Return what is not empty."""
    return {name: value for name, value in values.items() if value}


def _linux(task: Task, facts: Facts) -> dict[str, Any]:
    spec = task.spec.container_spec
    linux: dict[str, Any] = {
        "cgroupsPath": facts.cgroup,
        "namespaces": _namespaces(facts),
        "resources": resources_of(task.spec.resources, cgroup_v2=facts.cgroup_v2),
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": READ_ONLY_PATHS,
        "sysctl": _sysctls(spec, facts.network),
        **_named(mountLabel=facts.guarded.mount_label),
    }
    if facts.confinement.seccomp is not None:
        linux["seccomp"] = facts.confinement.seccomp
    return linux


def _namespaces(facts: Facts) -> list[dict[str, str]]:
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    if facts.cgroup_v2:
        namespaces.append({"type": "cgroup"})
    if not facts.network.host:
        joined = {} if facts.network.namespace is None else {"path": str(facts.network.namespace)}
        namespaces.append({"type": "network", **joined})
    return namespaces


def _sysctls(spec: ContainerSpec, network: NetworkView) -> dict[str, str]:
    if network.host:
        for name in spec.sysctls:
            if name.startswith("net."):
                raise TaskRejected(f"sysctl {name} is not allowed on the host's network: leave it out")
        return dict(spec.sysctls)
    # In a namespace of its own a container may use low ports and ping, as in Docker.
    own = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    return {**own, **spec.sysctls}


def standard_mounts(*, cgroup_v2: bool) -> list[dict[str, Any]]:
    """Return the mounts every container has."""
    safe = ["nosuid", "noexec", "nodev"]
    return [
        _entry("/proc", "proc", safe),
        _entry("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _entry("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _entry("/dev/shm", "tmpfs", [*safe, "mode=1777", f"size={_SHM_BYTES}"]),  # noqa: S108  # A mount point in the container.
        _entry("/dev/mqueue", "mqueue", safe),
        _entry("/sys", "sysfs", [*safe, "ro"]),
        _entry("/sys/fs/cgroup", "cgroup2" if cgroup_v2 else "cgroup", [*safe, "relatime", "ro"]),
    ]


def _entry(destination: str, fstype: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": fstype, "source": fstype, "options": options}


def init_mount(tini: Path) -> dict[str, Any]:
    """Return the mount that shows tini to a container with `init`."""
    return {"destination": INIT_PATH, "type": "bind", "source": str(tini), "options": ["bind", "ro"]}
