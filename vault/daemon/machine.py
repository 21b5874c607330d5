"""What this machine is: system, processors, memory, runtime.  Read once at start."""

import os
import platform
import shutil
import subprocess
import uuid
from pathlib import Path

from vault import __version__
from vault.agent.logdrivers import journald
from vault.api.ports import NodeInfo
from vault.daemon.settings import Settings
from vault.model.log_options import BUILT_IN
from vault.model.node import EncryptionMeans, Engine, NodeDescription, NodeResources, Platform, Plugin, TLSInfo

_PLUGINS = (
    Plugin(type="Network", name="bridge"),
    Plugin(type="Network", name="host"),
    Plugin(type="Network", name="null"),
    Plugin(type="Network", name="overlay"),
    Plugin(type="Volume", name="local"),
)


def node_info(settings: Settings) -> NodeInfo:
    """Return what `/info` and `/version` tell of this machine."""
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    runtime = "crun" if shutil.which("crun") else "runc"
    return NodeInfo(
        id=installation_id(settings.data_root),
        hostname=settings.hostname,
        operating_system=system.get("PRETTY_NAME", "Linux"),
        os_version=system.get("VERSION_ID", ""),
        kernel=os.uname().release,
        architecture=os.uname().machine,
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        data_root=str(settings.data_root),
        labels=dict(settings.labels),
        generic_resources=settings.generic_resources,
        runtime=runtime,
        runtime_version=_version_of(runtime),
        conmon_version=_version_of("conmon"),
        cgroup_version="2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "1",
        security_options=("name=seccomp,profile=builtin",),
        log_drivers=tuple(name for name in sorted(BUILT_IN) if name != "journald" or not journald.why_not()),
    )


def description(info: NodeInfo, tls_info: TLSInfo, encryption: EncryptionMeans | None = None) -> NodeDescription:
    """Return what this node says of itself to the managers."""
    return NodeDescription(
        hostname=info.hostname,
        platform=Platform(architecture=info.architecture, os="linux"),
        resources=NodeResources(
            nano_cpus=info.cpus * 1_000_000_000,
            memory_bytes=info.memory_bytes,
            generic_resources=info.generic_resources,
        ),
        engine=Engine(engine_version=__version__, labels=dict(info.labels), plugins=_plugins(info)),
        tls_info=tls_info,
        encryption=encryption,
    )


def _plugins(info: NodeInfo) -> tuple[Plugin, ...]:
    """Return the drivers this node has, which the scheduler looks at."""
    return (*(Plugin(type="Log", name=name) for name in info.log_drivers), *_PLUGINS)


def installation_id(data_root: Path) -> str:
    """Return the id of this installation, made at its first start."""
    path = data_root / "engine-id"
    if path.exists():
        return path.read_text().strip()
    made = str(uuid.uuid4())
    path.write_text(made + "\n")
    return made


def _version_of(program: str) -> str:
    try:
        out = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = out.splitlines()[:1]
    return first[0].split()[-1] if first and first[0].split() else ""
