"""The options of a local volume: what may be asked for, and the mount that it comes to.

Pure.  Called by `vault.agent.volumes`.  They are those of Docker's `local` driver: `type`, `device` and `o`, as
`mount -t TYPE -o O DEVICE` takes them.  Texts are Docker's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Final
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from vault.model.errors import BadRequest
from vault.tmpfs.mount import MountFlag

NO_FLAGS: Final = MountFlag(0)
OPTIONS: Final = ("type", "o", "device", "size")
NEEDS: Final = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_REMOTE: Final = ("nfs", "nfs4", "cifs")  # Their server may be a name, which the kernel does not look up.
_ADDR: Final = re.compile(r"(?:^|,)addr=([^,]*)")
_SECRET: Final = re.compile(r"(^|,)(password|pass)=[^,]*")
# What stands for a flag of mount(2): (set it?, flag).  Everything else goes to the file system as it is.
_FLAGS: Final[Mapping[str, tuple[bool, MountFlag]]] = {
    "defaults": (True, NO_FLAGS),
    "ro": (True, MountFlag.READ_ONLY),
    "rw": (False, MountFlag.READ_ONLY),
    "nosuid": (True, MountFlag.NOSUID),
    "suid": (False, MountFlag.NOSUID),
    "nodev": (True, MountFlag.NODEV),
    "dev": (False, MountFlag.NODEV),
    "noexec": (True, MountFlag.NOEXEC),
    "exec": (False, MountFlag.NOEXEC),
    "sync": (True, MountFlag.SYNC),
    "async": (False, MountFlag.SYNC),
    "dirsync": (True, MountFlag.DIRSYNC),
    "noatime": (True, MountFlag.NOATIME),
    "atime": (False, MountFlag.NOATIME),
    "nodiratime": (True, MountFlag.NODIRATIME),
    "diratime": (False, MountFlag.NODIRATIME),
    "relatime": (True, MountFlag.RELATIME),
    "norelatime": (False, MountFlag.RELATIME),
    "strictatime": (True, MountFlag.STRICTATIME),
    "nostrictatime": (False, MountFlag.STRICTATIME),
    "bind": (True, MountFlag.BIND),
    "rbind": (True, MountFlag.BIND | MountFlag.RECURSIVE),
}
_PROPAGATIONS: Final[Mapping[str, MountFlag]] = {
    "private": MountFlag.PRIVATE,
    "rprivate": MountFlag.PRIVATE | MountFlag.RECURSIVE,
    "shared": MountFlag.SHARED,
    "rshared": MountFlag.SHARED | MountFlag.RECURSIVE,
    "slave": MountFlag.SLAVE,
    "rslave": MountFlag.SLAVE | MountFlag.RECURSIVE,
    "unbindable": MountFlag.UNBINDABLE,
    "runbindable": MountFlag.UNBINDABLE | MountFlag.RECURSIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMount:
    """What a volume with options is mounted from, and how."""

    device: str
    fstype: str
    flags: MountFlag = NO_FLAGS
    data: str = ""
    propagation: MountFlag = NO_FLAGS  # Set in a call of its own, after the mount.

    @property
    def again(self) -> MountFlag:
        """The flags of the remount that a bind mount needs before its other flags count; 0 = none is needed."""
        own = self.flags & ~(MountFlag.BIND | MountFlag.RECURSIVE)
        return self.flags | MountFlag.REMOUNT if MountFlag.BIND in self.flags and own else NO_FLAGS


def check_options(name: str, options: Mapping[str, str]) -> None:
    """Raise `BadRequest` unless a local volume may have the options."""
    for option in options:
        if option not in OPTIONS:
            raise BadRequest(f'create {name}: invalid option: "{option}"')
    if options.get("type") == "cifs" and _has_port(options.get("device", "")):
        raise BadRequest(f"create {name}: port not allowed in CIFS device URL, include 'port' in 'o='")
    if "size" in options:
        raise BadRequest(f"create {name}: quota size requested but no quota support")
    for option, needed in NEEDS.items():
        for other in needed if option in options else ():
            if not options.get(other):
                raise BadRequest(f'create {name}: missing required option: "{other}"')


def device_mount(options: Mapping[str, str], resolve: Callable[[str], str]) -> DeviceMount:
    """Return the mount that options come to.

    resolve: the address of a host name; called for the server of a network file system.  Raises what that raises.
    """
    device, fstype, wanted = options["device"], options.get("type", ""), options.get("o", "")
    if fstype in _REMOTE:
        device, wanted = _with_address(device, fstype, wanted, resolve)
    flags, propagation, data = NO_FLAGS, NO_FLAGS, []
    for word in filter(None, wanted.split(",")):
        if word in _FLAGS:
            on, flag = _FLAGS[word]
            flags = flags | flag if on else flags & ~flag
        elif word in _PROPAGATIONS:
            propagation |= _PROPAGATIONS[word]
        else:
            data.append(word)
    return DeviceMount(
        device=device,
        fstype="" if fstype == "none" else fstype,
        flags=flags,
        data=",".join(data),
        propagation=propagation,
    )


def without_passwords(options: str) -> str:
    """Return the text of `o` as it may be shown in an error."""
    return _SECRET.sub(r"\1\2=********", options)


def _with_address(device: str, fstype: str, wanted: str, resolve: Callable[[str], str]) -> tuple[str, str]:
    """Return device and options with the server's address in place of its name."""
    found = _ADDR.search(wanted)
    if found is not None and found[1]:
        if not _is_ipv4(found[1]):
            wanted = f"{wanted[: found.start(1)]}{resolve(found[1])}{wanted[found.end(1) :]}"
        return device, wanted
    if fstype != "cifs":
        return device, wanted
    url = urlsplit(device)
    if url.hostname and not _is_address(url.hostname):
        device = unquote_plus(urlunsplit(url._replace(netloc=resolve(url.hostname))))
    return device, wanted


def _has_port(device: str) -> bool:
    try:
        return urlsplit(device).port is not None
    except ValueError:
        return True


def _is_ipv4(text: str) -> bool:
    return _is_address(text) and isinstance(ip_address(text), IPv4Address)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
