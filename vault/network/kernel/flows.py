"""Connection tracking by netlink: finding and forgetting flows of one namespace.

Not pure.  Used by `overlay.device` and `mesh.kernel`.  What `conntrack --delete` does, without starting it for each
address.  Source: <linux/netfilter/nfnetlink_conntrack.h>.
"""

import errno
import socket
import struct
from collections.abc import Callable, Collection
from typing import Final, NamedTuple, Self

from vault.network.kernel.netlink import NetlinkSocket, Request, attribute, attributes

_NETFILTER: Final = 12
_GET, _DELETE, _COUNT = 1 << 8 | 1, 1 << 8 | 2, 1 << 8 | 5  # Subsystem conntrack.
_ENTRIES: Final = 1
_HEAD: Final = struct.Struct("=BBH")  # Family, version, resource.
_NESTED: Final = 0x8000
_ORIGINAL, _REPLY, _ID = 1, 2, 12
_IP, _PROTOCOL = 1, 2
_SOURCES: Final = (1, 3)  # IPv4, IPv6.
_DESTINATIONS: Final = (2, 4)
_NUMBER, _DESTINATION_PORT = 1, 3


class Flow(NamedTuple):
    """A flow: who began it, whom it was for, and who answers."""

    protocol: int
    source: bytes
    destination: bytes
    port: int  # For which it was, of the destination; 0 where there are no ports.
    answerer: bytes
    original: bytes  # As the kernel names it.
    id: bytes


class Flows:
    """The flows of the namespace in which this was opened; each method raises `OSError`."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(_NETFILTER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def all(self) -> list[Flow]:
        """Return every flow.  The kernel looks through the whole machine's table for them, 10 ms and more."""
        if self.count() == 0:
            return []
        return [_flow(body) for body in self._socket.dump(_GET, _HEAD.pack(socket.AF_UNSPEC, 0, 0))]

    def count(self) -> int:
        """Return how many flows there are."""
        answer = self._socket.ask(_COUNT, 0, _HEAD.pack(socket.AF_UNSPEC, 0, 0))
        return int.from_bytes(attributes(answer, _HEAD.size)[_ENTRIES])

    def forget(self, answerers: Collection[bytes]) -> None:
        """Forget the UDP flows that were led to these addresses, 4 or 16 bytes each, from others.

        Otherwise they would go on to where they went before; flows of TCP end by themselves.
        """
        self.forget_those(lambda flow: flow.answerer in answerers and flow.answerer != flow.destination)

    def forget_those(self, unwanted: Callable[[Flow], bool]) -> None:
        """Forget UDP flows."""
        requests = [
            Request(_DELETE, 0, _name(flow))
            for flow in self.all()
            if flow.protocol == socket.IPPROTO_UDP and unwanted(flow)
        ]
        for failure in self._socket.batch(requests):
            if failure.error.errno != errno.ENOENT:  # It ended by itself meanwhile.
                raise failure.error


def _name(flow: Flow) -> bytes:
    family = socket.AF_INET if len(flow.source) == 4 else socket.AF_INET6
    return _HEAD.pack(family, 0, 0) + attribute(_ORIGINAL | _NESTED, flow.original) + attribute(_ID, flow.id)


def _flow(body: bytes) -> Flow:
    said = attributes(body, _HEAD.size)
    original, reply = attributes(said[_ORIGINAL]), attributes(said[_REPLY])
    addresses, answering = attributes(original[_IP]), attributes(reply[_IP])
    protocol = attributes(original[_PROTOCOL])
    return Flow(
        protocol=protocol[_NUMBER][0],
        source=next(addresses[kind] for kind in _SOURCES if kind in addresses),
        destination=next(addresses[kind] for kind in _DESTINATIONS if kind in addresses),
        port=int.from_bytes(protocol.get(_DESTINATION_PORT, b"")),
        answerer=next(answering[kind] for kind in _SOURCES if kind in answering),
        original=said[_ORIGINAL],
        id=said.get(_ID, b""),
    )
