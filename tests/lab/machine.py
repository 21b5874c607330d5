"""What a lab could leave on this machine, listed so that before and after can be compared."""

import json
import os
import subprocess
from pathlib import Path

from vault.agent.executors.oci.namespace import CGROUP_ROOT
from vault.lab.lab import Lab
from vault.tmpfs.mount import mounts_under


def traces(lab: Lab) -> dict[str, list[str]]:
    """Return everything that bears the mark of a lab, by kind; links, whoever they are of."""
    base, tag = lab.site.directory.parent, lab.site.tag
    inside = str(base)
    return {
        "files": sorted(str(path.relative_to(base)) for path in base.rglob("*")),
        "mounts": [str(each.point) for each in mounts_under(base)],
        "loop devices": [name for name, backing in loop_devices() if backing.startswith(inside)],
        "processes": sorted(command for command in commands() if inside in command),
        "cgroups": sorted(str(path) for path in CGROUP_ROOT.glob(f"*/vault-lab/{tag}/*")),
        "shared memory": sorted(name for name in os.listdir("/dev/shm") if tag in name),
        "links": sorted(os.listdir("/sys/class/net")),
    }


def loop_devices() -> list[tuple[str, str]]:
    """Return each loop device in use, and the file behind it."""
    found = subprocess.run(["losetup", "--json", "--list"], check=True, capture_output=True, text=True).stdout
    return [(each["name"], each["back-file"]) for each in (json.loads(found)["loopdevices"] if found.strip() else [])]


def commands() -> list[str]:
    """Return the command line of every process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:  # It has ended.
                continue
    return found
