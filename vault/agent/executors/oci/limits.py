"""Limits of a container: cpu, memory, processes, rlimits and devices in the runtime's form.

Pure.  Called by `bundle`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vault.agent.executors.port import TaskRejected
from vault.model.container import Ulimit
from vault.model.kernel_words import rlimit
from vault.model.service import Resources

CPU_PERIOD_US: Final = 100_000
_CPU_QUOTA_LEAST_US: Final = 1_000  # The kernel takes no less.
_UNLIMITED: Final = (1 << 64) - 1
_SOFT_FILES: Final = 1024  # What systemd gives Docker's containers: programs that loop over all descriptors stay quick.
# null, zero, full, tty, random, urandom, console, ptmx.  Source: runc's allowed devices, which Docker uses.
_DEVICES: Final = ((1, 3), (1, 5), (1, 7), (5, 0), (1, 8), (1, 9), (5, 1), (5, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """What this vaultd may hand on."""

    hard: Mapping[str, int]  # By the name used in specs; -1 = unlimited.
    may_raise: bool  # CAP_SYS_RESOURCE.


def resources_of(resources: Resources | None, *, cgroup_v2: bool = False) -> dict[str, Any]:
    """Return `linux.resources`: deny all devices but the usual ones, and the limits asked for.

    Swappiness is left out for cgroup v2, which has none, as Docker leaves it out.
    """
    result: dict[str, Any] = {"devices": _devices()}
    limits, reservations = (resources.limits, resources.reservations) if resources else (None, None)
    memory: dict[str, int] = {}
    if limits and limits.memory_bytes > 0:
        swap_bytes = resources.swap_bytes if resources else None
        if swap_bytes is None:
            swap_bytes = limits.memory_bytes  # As much swap as memory, which is Docker's default.
        # What the runtime is told is memory and swap together.
        memory |= {"limit": limits.memory_bytes, "swap": -1 if swap_bytes < 0 else limits.memory_bytes + swap_bytes}
    if reservations and reservations.memory_bytes > 0:
        memory["reservation"] = reservations.memory_bytes
    swappiness = resources.memory_swappiness if resources else None
    if swappiness is not None and swappiness >= 0 and not cgroup_v2:
        memory["swappiness"] = swappiness
    if memory:
        result["memory"] = memory
    if limits and limits.nano_cpus > 0:
        quota_us = max(limits.nano_cpus * CPU_PERIOD_US // 1_000_000_000, _CPU_QUOTA_LEAST_US)
        result["cpu"] = {"quota": quota_us, "period": CPU_PERIOD_US}
    if limits and limits.pids > 0:
        result["pids"] = {"limit": limits.pids}
    return result


def rlimits_of(ulimits: Sequence[Ulimit], host: HostLimits) -> list[dict[str, Any]]:
    """Return the rlimits: those asked for, and core and nofile, which vaultd must not pass on as it has them itself.

    What is more than vaultd's own hard limit is lowered to it, unless vaultd may raise it.
    """
    core = -1 if host.may_raise else host.hard["core"]  # vaultd forbids itself core dumps; that is not for tasks.
    wanted = {
        "core": (core, core),
        "nofile": (_SOFT_FILES, host.hard["nofile"]),
    }
    for ulimit in ulimits:
        if (name := rlimit(ulimit.name)) is None:
            raise TaskRejected(f"invalid ulimit type: {ulimit.name}")
        if _amount(ulimit.soft) > _amount(ulimit.hard):
            raise TaskRejected(
                f"ulimit soft limit must be less than or equal to hard limit: {ulimit.soft} > {ulimit.hard}"
            )
        wanted[name] = (ulimit.soft, ulimit.hard)
    return [_rlimit(name, soft, hard, host) for name, (soft, hard) in wanted.items()]


def _rlimit(name: str, soft: int, hard: int, host: HostLimits) -> dict[str, Any]:
    most = _UNLIMITED if host.may_raise else _amount(host.hard.get(name, -1))
    hard_amount = min(_amount(hard), most)
    return {"type": f"RLIMIT_{name.upper()}", "soft": min(_amount(soft), hard_amount), "hard": hard_amount}


def _amount(limit: int) -> int:
    return _UNLIMITED if limit < 0 else limit


def _devices() -> list[dict[str, Any]]:
    allowed = [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in _DEVICES
    ]
    terminals = {"allow": True, "type": "c", "major": 136, "access": "rwm"}
    # Making device files is allowed, as in Docker; opening them is not.
    make = [{"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")]
    return [{"allow": False, "access": "rwm"}, *make, *allowed, terminals]
