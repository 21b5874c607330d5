"""What the kernel's WireGuard is asked and answers, in bytes: commands of generic netlink.

Pure.  Used by `vault.network.wireguard.kernel`.  Source: <linux/genetlink.h>, <linux/wireguard.h>; requests are
compared with those of Debian's `wg` in `tests/network/test_wireguard_messages.py`.
"""

import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from vault.crypto.wireguard_seal import WireGuardKey
from vault.network.kernel.netlink import attribute, attributes
from vault.network.wireguard.plan import KEEPALIVE_S, Peer

FAMILY: Final = "wireguard"
CONTROL: Final = 16  # The message type of generic netlink's own family.
PEERS_AT_ONCE: Final = 100  # In one message; the kernel takes 64 KiB, of which one needs 140 bytes.

_GET_FAMILY, _GET_DEVICE, _SET_DEVICE = 3, 0, 1
_FAMILY_ID, _FAMILY_NAME = 1, 2
_IFNAME, _PRIVATE_KEY, _DEVICE_FLAGS, _LISTEN_PORT, _FWMARK, _PEERS = 2, 3, 5, 6, 7, 8
_REPLACE_PEERS: Final = 1
_PUBLIC_KEY, _PEER_FLAGS, _ENDPOINT, _KEEPALIVE, _LAST_HANDSHAKE, _ALLOWED = 1, 3, 4, 5, 6, 9
_REMOVE, _REPLACE_ALLOWED = 1, 2
_ALLOWED_FAMILY, _ALLOWED_ADDRESS, _ALLOWED_MASK = 1, 2, 3
_NESTED: Final = 0x8000
_HEADER: Final = struct.Struct("=BBH")  # Command, version, reserved.
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
_TIME: Final = struct.Struct("=qq")  # Seconds and nanoseconds.
_ADDRESS4: Final = struct.Struct("!H4s8x")  # After the family: port, address; sockaddr_in.
_ADDRESS6: Final = struct.Struct("!HI16sI")  # Port, flow, address, scope; sockaddr_in6.


class Seen(NamedTuple):
    """What a device says of a peer."""

    public_key: bytes
    endpoint: str  # IP address; "" = not known.
    port: int
    addresses: tuple[str, ...]  # Inside, with prefix length.
    met: bool  # Whether keys were exchanged.


class State(NamedTuple):
    """What a device says of itself."""

    key: WireGuardKey | None
    port: int
    peers: tuple[Seen, ...]


def ask_family() -> bytes:
    """Return the request, to CONTROL, for the message type that WireGuard has in this kernel."""
    return _HEADER.pack(_GET_FAMILY, 1, 0) + attribute(_FAMILY_NAME, FAMILY.encode() + b"\0")


def family_in(answer: bytes) -> int:
    """Return the message type from the answer."""
    return int(_U16.unpack(attributes(answer, _HEADER.size)[_FAMILY_ID])[0])


def ask_state(device: str) -> bytes:
    """Return the request for what a device is; it is answered by several messages."""
    return _HEADER.pack(_GET_DEVICE, 1, 0) + _name(device)


def set_device(device: str, key: WireGuardKey, port: int) -> bytes:
    """Return the request that gives a device its key and port, and no peers."""
    body = _name(device) + attribute(_PRIVATE_KEY, key.reveal()) + attribute(_LISTEN_PORT, _U16.pack(port))
    body += attribute(_FWMARK, _U32.pack(0)) + attribute(_DEVICE_FLAGS, _U32.pack(_REPLACE_PEERS))
    return _HEADER.pack(_SET_DEVICE, 1, 0) + body


def change_peers(
    device: str, put: Sequence[Peer], remove: Sequence[bytes], speak: Collection[bytes]
) -> Iterator[bytes]:
    """Yield the requests that remove peers, by public key, then add others or change them.

    speak: public keys of those with which keys are to be exchanged at once; a peer that is removed first begins anew.
    """
    described = [_removed(public_key) for public_key in remove] + [
        _described(peer, peer.public_key in speak) for peer in put
    ]
    for first in range(0, len(described), PEERS_AT_ONCE):
        peers = b"".join(described[first : first + PEERS_AT_ONCE])
        yield _HEADER.pack(_SET_DEVICE, 1, 0) + _name(device) + attribute(_PEERS | _NESTED, peers)


def state_in(answers: Iterable[bytes]) -> State:
    """Return what a device is from the answers to `ask_state`; a peer may go on in the next of them."""
    key: WireGuardKey | None = None
    port = 0
    peers: dict[bytes, Seen] = {}
    for answer in answers:
        found = attributes(answer, _HEADER.size)
        if _PRIVATE_KEY in found and any(found[_PRIVATE_KEY]):
            key = WireGuardKey(found[_PRIVATE_KEY])
        if _LISTEN_PORT in found:
            (port,) = _U16.unpack(found[_LISTEN_PORT])
        for one in _elements(found.get(_PEERS, b"")):
            seen = _seen(attributes(one))
            before = peers.get(seen.public_key)
            if before is not None:
                seen = before._replace(addresses=before.addresses + seen.addresses)
            peers[seen.public_key] = seen
    return State(key, port, tuple(peers.values()))


def _described(peer: Peer, speak: bool) -> bytes:
    allowed = attribute(_ALLOWED_FAMILY, _U16.pack(socket.AF_INET))
    allowed += attribute(_ALLOWED_ADDRESS, peer.address.packed) + attribute(_ALLOWED_MASK, bytes((32,)))
    body = attribute(_PUBLIC_KEY, peer.public_key)
    body += attribute(_ENDPOINT, _socket_address(peer.endpoint, peer.port))
    if speak:  # What is to be kept alive is begun at once.
        body += attribute(_KEEPALIVE, _U16.pack(KEEPALIVE_S))
    body += attribute(_PEER_FLAGS, _U32.pack(_REPLACE_ALLOWED))
    return attribute(_NESTED, body + attribute(_ALLOWED | _NESTED, attribute(_NESTED, allowed)))


def _removed(public_key: bytes) -> bytes:
    return attribute(_NESTED, attribute(_PUBLIC_KEY, public_key) + attribute(_PEER_FLAGS, _U32.pack(_REMOVE)))


def _seen(found: dict[int, bytes]) -> Seen:
    endpoint, port = _endpoint(found.get(_ENDPOINT, b""))
    handshake = found.get(_LAST_HANDSHAKE, b"")
    allowed = (attributes(one) for one in _elements(found.get(_ALLOWED, b"")))
    return Seen(
        public_key=found[_PUBLIC_KEY],
        endpoint=endpoint,
        port=port,
        addresses=tuple(f"{ip_address(one[_ALLOWED_ADDRESS])}/{one[_ALLOWED_MASK][0]}" for one in allowed),
        met=len(handshake) == _TIME.size and _TIME.unpack(handshake)[0] > 0,
    )


def _elements(data: bytes) -> Iterator[bytes]:
    """Yield the elements of an array: attributes that all may have the same kind."""
    while len(data) >= 4:
        length = _U16.unpack_from(data)[0]
        if length < 4:
            return
        yield data[4:length]
        data = data[(length + 3) & ~3 :]


def _socket_address(address: str, port: int) -> bytes:
    found = ip_address(address)
    family = _U16.pack(socket.AF_INET if found.version == 4 else socket.AF_INET6)
    if found.version == 4:
        return family + _ADDRESS4.pack(port, found.packed)
    return family + _ADDRESS6.pack(port, 0, found.packed, 0)


def _endpoint(data: bytes) -> tuple[str, int]:
    if len(data) < 16:
        return "", 0
    if _U16.unpack_from(data)[0] == socket.AF_INET:
        port, packed = _ADDRESS4.unpack_from(data, 2)
        return str(IPv4Address(packed)), port
    port, _, packed, _ = _ADDRESS6.unpack_from(data, 2)
    return str(IPv6Address(packed)), port


def _name(device: str) -> bytes:
    return attribute(_IFNAME, device.encode() + b"\0")
