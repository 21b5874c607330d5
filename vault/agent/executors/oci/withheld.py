"""System calls that Debian's profile allows to every container and Docker's only to some, or to none.

Debian's file is made for containers in user namespaces of their own; ours are not in one, so what matters there (making
such namespaces, mounting, kernel keys, which are not per container) is withheld as Docker withholds it.
Pure.  Called by `seccomp`.  Source: moby, profiles/seccomp/default.json.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

_EPERM, _ENOSYS = 1, 38
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "CAP_SYS_ADMIN": (
        *("fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree"),
        *("setdomainname", "sethostname", "setns", "umount", "umount2", "unshare"),
    ),
    "CAP_SYS_BOOT": ("reboot",),
    "CAP_SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "CAP_SYS_PTRACE": ("pidfd_getfd",),
    "CAP_SYSLOG": ("syslog",),
}
_NEVER: Final = ("keyctl", "pivot_root")
# mount, cgroup, uts, ipc, user, pid and net.  Source: <linux/sched.h>.
_CLONE_NAMESPACES: Final = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000


def withhold(rules: list[dict[str, Any]], capabilities: Collection[str], *, machine: str) -> list[dict[str, Any]]:
    """Return the rules without what these capabilities do not call for."""
    denied = {name for need, names in _NEEDS.items() if need not in capabilities for name in names} | set(_NEVER)
    split = {"clone", "clone3"} if "CAP_SYS_ADMIN" not in capabilities else set()
    kept = [_without(rule, denied | split) for rule in rules]
    result = [rule for rule in kept if rule["names"]]
    result.append({"names": sorted(denied), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM})
    if split:
        # The flags of clone3 lie in memory, out of a filter's sight; C libraries fall back to clone.
        result.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
        flags = {"index": 1 if machine == "s390x" else 0, "value": _CLONE_NAMESPACES, "valueTwo": 0}
        result.append({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{**flags, "op": "SCMP_CMP_MASKED_EQ"}]})
    return result


def _without(rule: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {**rule, "names": [name for name in rule["names"] if name not in names]}
