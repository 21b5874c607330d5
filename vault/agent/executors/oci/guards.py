"""Mandatory access control of a container: its AppArmor profile and its SELinux label.

`guarded` is pure; `find_guards` reads what this kernel enforces.  Called by `prepare`.  As with Docker, what a kernel
does not have is not asked of it: a service that names an SELinux context runs without one where there is no SELinux.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.agent.executors.port import TaskRejected
from vault.model.container import AppArmorOpts, Privileges, SELinuxContext

# Profiles for containers that programs load, in the order in which they are preferred: an operator's own, Docker's.
PROFILES: Final = ("vault-default", "docker-default")
UNCONFINED: Final = "unconfined"
_APPARMOR_ON: Final = Path("/sys/module/apparmor/parameters/enabled")
_APPARMOR_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")
_SELINUX: Final = Path("/sys/fs/selinux/enforce")
_LABEL_PART: Final = re.compile(r"[A-Za-z0-9_.,:-]+")
_MAX_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What this kernel enforces."""

    apparmor: bool = False
    profiles: frozenset[str] = frozenset()  # Of AppArmor, by name.
    selinux: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What a container's configuration says of it; "" = nothing."""

    apparmor_profile: str = ""
    process_label: str = ""
    mount_label: str = ""


def find_guards() -> Guards:
    """Look at the kernel."""
    enabled = _text(_APPARMOR_ON).strip() == "Y"
    loaded = frozenset(line.rpartition(" (")[0] for line in _text(_APPARMOR_PROFILES).splitlines()) if enabled else ()
    return Guards(apparmor=enabled, profiles=frozenset(loaded), selinux=_SELINUX.exists())


def guarded(privileges: Privileges | None, guards: Guards) -> Guarded:
    """Return how a container is to be confined here.  Raises `TaskRejected` for what was asked for and cannot be."""
    asked = privileges or Privileges()
    process, mounts = _labels(asked.selinux_context) if guards.selinux else ("", "")
    return Guarded(
        apparmor_profile=_profile(asked.apparmor, guards) if guards.apparmor else "",
        process_label=process,
        mount_label=mounts,
    )


def _profile(asked: AppArmorOpts | None, guards: Guards) -> str:
    mode = asked.mode if asked else ""
    if mode == "disabled":
        return UNCONFINED
    found = next((name for name in PROFILES if name in guards.profiles), "")
    if mode == "default" and not found:
        raise TaskRejected(
            f"AppArmor is on, and none of the profiles {' and '.join(PROFILES)} is loaded on this node: "
            "load one with apparmor_parser, or leave AppArmor out of the service"
        )
    return found


def _labels(context: SELinuxContext | None) -> tuple[str, str]:
    """Return the labels of the processes and of the files; those of the policy's container type by default."""
    if context is None or context.disable or context == SELinuxContext():
        return "", ""
    parts = (context.user or "system_u", context.role or "system_r", context.type or "container_t")
    level = context.level or "s0"
    for part in (*parts, level):
        if _LABEL_PART.fullmatch(part) is None:
            raise TaskRejected(f"{part!r} is no part of an SELinux label: use letters, digits and _ . , : -")
    return ":".join((*parts, level)), f"{parts[0]}:object_r:container_file_t:{level}"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""
