"""Names that the kernel has for what a container may be given: capabilities, limits, settings, signals.  Pure.

Called by `vault.store.rules_container` (refuse early) and by the node's executor (do it).
"""

import re
import signal
from typing import Final

from vault.model.errors import BadRequest

# In the order of their numbers.  Source: <linux/capability.h>.
ALL_CAPABILITIES: Final[tuple[str, ...]] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
RLIMITS: Final = frozenset(
    ("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
     "rttime", "sigpending", "stack")
)  # fmt: skip
# Settings of namespaces that a container has of its own.  Source: runc, libcontainer/configs/validate.
_SETTINGS: Final = frozenset(
    ("kernel.domainname", "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
     "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced")
)  # fmt: skip
_SETTING_GROUPS: Final = ("fs.mqueue.", "net.")
_REALTIME: Final = re.compile(r"RTM(?:IN(?:\+(\d{1,2}))?|AX(?:-(\d{1,2}))?)")


def capability(name: str) -> str | None:
    """Return a capability as the kernel spells it, "ALL" for all of them, or None where there is none of that name."""
    known = name.upper()
    if known == "ALL":
        return known
    known = known if known.startswith("CAP_") else "CAP_" + known
    return known if known in ALL_CAPABILITIES else None


def rlimit(name: str) -> str | None:
    """Return the short name of a limit, or None where there is none of that name."""
    short = name.lower().removeprefix("rlimit_")
    return short if short in RLIMITS else None


def is_own_setting(name: str) -> bool:
    """Whether a kernel setting (`net.ipv4.ip_forward`) can be a container's own."""
    dotted = name.replace("/", ".")
    return dotted in _SETTINGS or dotted.startswith(_SETTING_GROUPS)


def signal_number(name: str) -> int:
    """Return the number of `SIGTERM`, `term`, `15` or `RTMIN+3`.  Raises `BadRequest` with Docker's text."""
    short = name.upper().removeprefix("SIG")
    if short.isascii() and short.isdigit() and 0 < int(short[:4]) <= signal.SIGRTMAX:
        return int(short)
    if match := _REALTIME.fullmatch(short):
        low, high = match.groups()
        number = signal.SIGRTMAX - int(high or 0) if "MAX" in short else signal.SIGRTMIN + int(low or 0)
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    found = signal.Signals.__members__.get("SIG" + short)
    if found is None:
        raise BadRequest(f"invalid signal: {name}")
    return int(found)
