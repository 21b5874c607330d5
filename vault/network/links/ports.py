"""Ports of this host, held for a task by a socket.

Not pure: binds sockets.  Used by `vault.network.links.network` and `mesh`.  Packets for a published port never reach
these sockets, rules lead them to the task first; a socket makes the port show as taken, to us and to every other
program, as Docker's proxy does.  SCTP is led like the others, by the kernel's tracking of connections; but few
kernels have sockets for it, and one without them has no program that could have such a port.
"""

import contextlib
import errno
import socket
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from vault.model.errors import VaultError
from vault.model.service import PortConfig
from vault.network.links.names import Attachment, Binding

_SCTP: Final = 132  # IANA's number; Python names it only where the C library does.
_KINDS: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, _SCTP),
}
_TRACKING: Final = Path("/proc/sys/net/netfilter")  # There once something tracks connections.
NOT_TRACKED: Final = "this kernel does not track connections of SCTP (CONFIG_NF_CT_PROTO_SCTP)"


class PortNotPublished(VaultError):
    """A port of the host could not be had; the text is Docker's."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR  # Docker's.

    def __init__(self, task_id: str, why: str) -> None:
        super().__init__(f"driver failed programming external connectivity on endpoint {task_id}: {why}")
        self.task_id = task_id
        self.why = why


def allocated_twice(task_id: str, protocol: str, port: int) -> PortNotPublished:
    """Return the error for a port that another task, or another port of this one, has."""
    return PortNotPublished(task_id, f"Bind for 0.0.0.0:{port} failed: port is already allocated")


def hold(
    task_id: str, ports: Iterable[PortConfig], others: Iterable[Attachment]
) -> tuple[list[socket.socket], list[Binding]]:
    """Hold ports of the host for a task; a published port of 0 takes any free one.

    Raises `PortNotPublished` when another task or another program has one of them, and then holds none.
    """
    taken = {(binding.protocol, binding.published_port) for each in others for binding in each.bindings}
    bindings = []
    with contextlib.ExitStack() as undo:
        held = []
        for port in ports:
            if port.protocol not in _KINDS:
                raise PortNotPublished(task_id, f"protocol {port.protocol} is not supported: use tcp, udp or sctp")
            if port.published_port and (port.protocol, port.published_port) in taken:
                raise allocated_twice(task_id, port.protocol, port.published_port)
            one = undo.enter_context(_bound(task_id, port))
            number = one.getsockname()[1]
            taken.add((port.protocol, number))
            held.append(one)
            bindings.append(Binding(protocol=port.protocol, published_port=number, target_port=port.target_port))
        undo.pop_all()
    return held, bindings


def hold_again(attachment: Attachment) -> tuple[list[socket.socket], list[Binding]]:
    """Hold the ports of a task that an earlier vaultd published; return the sockets, and what somebody else took."""
    held, lost = [], []
    for binding in attachment.bindings:
        port = PortConfig(
            protocol=binding.protocol, target_port=binding.target_port, published_port=binding.published_port
        )
        try:
            held.append(_bound(attachment.task_id, port))
        except PortNotPublished:
            lost.append(binding)
    return held, lost


def bound(protocol: str, port: int) -> socket.socket:
    """Return a socket that holds a port of every IPv4 address of this host.  Raises `OSError`."""
    one = socket.socket(socket.AF_INET, *_KINDS[protocol])
    try:
        if protocol == "tcp":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Connections in TIME_WAIT are in nobody's way.
        one.bind(("0.0.0.0", port))  # noqa: S104  # The host's every address, as published.
        if protocol == "tcp":
            one.listen(1)  # With SO_REUSEADDR only a listening socket keeps others away.
    except OSError:
        one.close()
        raise
    return one


def is_led(protocol: str, tracking: Path = _TRACKING) -> bool:
    """Whether this kernel leads connections of a protocol to where rules say."""
    return protocol != "sctp" or not tracking.is_dir() or (tracking / "nf_conntrack_sctp_timeout_established").exists()


def held_if_possible(protocol: str, port: int) -> socket.socket | None:
    """Return a socket that holds a port; None where no program of this host could have it.  Raises `OSError`."""
    try:
        return bound(protocol, port)
    except OSError as error:
        if protocol == "sctp" and error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            return None
        raise


def _bound(task_id: str, port: PortConfig) -> socket.socket:
    try:
        return bound(port.protocol, port.published_port)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            reason += f": load the kernel module {port.protocol} on this node"
        why = f"failed to bind host port for 0.0.0.0:{port.published_port}/{port.protocol}: {reason}"
        raise PortNotPublished(task_id, why) from None
