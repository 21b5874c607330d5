"""Options of a task's place on a network: what its link is called, and settings of the kernel for it.

Pure.  Called by `vault.store.rules_spec` (refuse early) and by `vault.network.node` (do it).  Names and texts are those
of Docker's network library.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

IFNAME: Final = "com.docker.network.endpoint.ifname"
SYSCTLS: Final = "com.docker.network.endpoint.sysctls"
LINK: Final = "IFNAME"  # Stands for the link's name in a setting.
_DEVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # The kernel takes 15 bytes.
_RESERVED: Final = ("lo", "all", "default")  # The kernel's own, as links and as settings of all links.
_SETTING: Final = re.compile(
    rf"net\.(ipv4|ipv6|mpls)\.([a-z0-9_]+)\.(?:{LINK}|{LINK.lower()})\.([a-z0-9_]+)=([A-Za-z0-9_ :./-]{{0,128}})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """What was said of a task's place on a network."""

    device: str = ""  # "" = eth and a number.
    settings: tuple[tuple[str, str], ...] = ()  # Below /proc/sys/net, with LINK for the link's name; and the value.


def endpoint_options(options: Mapping[str, str]) -> EndpointOptions:
    """Return what options mean.  Raises `ValueError`, whose text says what is wrong with which."""
    for unknown in sorted(options.keys() - {IFNAME, SYSCTLS}):
        raise ValueError(f"option {unknown} means nothing to a task's place on a network: use {IFNAME} or {SYSCTLS}")
    device = options.get(IFNAME, "")
    if device and (_DEVICE.fullmatch(device) is None or device in _RESERVED):
        raise ValueError(f"invalid interface name '{device}': use up to 15 letters, digits, '_', '.' and '-'")
    written = options.get(SYSCTLS, "")
    return EndpointOptions(device=device, settings=tuple(map(_setting, written.split(","))) if written else ())


def device_names(asked: Iterable[str], count: int) -> list[str]:
    """Return `count` names: those asked for, in order; where none is ("" or no more), the lowest free eth number."""
    wanted = [*asked][:count]
    wanted += [""] * (count - len(wanted))
    free = (name for number in range(2 * count) if (name := f"eth{number}") not in wanted)
    return [name or next(free) for name in wanted]


def _setting(text: str) -> tuple[str, str]:
    found = _SETTING.fullmatch(text)
    if found is None:
        raise ValueError(
            f"unrecognised network interface sysctl '{text[:128]}'; represent 'net.X.Y.ethN.Z=V' as "
            "'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
        )
    family, group, name, value = found.groups()
    return f"{family}/{group}/{LINK}/{name}", value
