"""What a node's WireGuard devices should be, and which of them leads to which peer.

Pure.  Used by `vault.network.wireguard.underlay`.  There is one device for each epoch of keys: one, and two while
keys are rotated.  Both take in packets all the while; a peer is sent to by the newest device that has exchanged keys
with it, so that no packet waits for, or is lost to, a rotation, however far the other node is (docs/decisions/0010).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from vault.model.node import EncryptionKey
from vault.model.overlay import EncryptionPeer, OverlayEncryption

PORTS: Final = (7946, 7947)  # UDP, of odd and even epochs: Swarm's port for gossip, which firewalls know, and another.
OVERHEAD_BYTES: Final = 80  # Of WireGuard over IPv6; 60 over IPv4.
KEEPALIVE_S: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another node, as a device knows it."""

    public_key: bytes
    endpoint: str  # IP address.
    port: int
    address: IPv4Address  # Inside.
    first: bool  # Whether this node is the one of the two that speaks first.


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of one epoch."""

    epoch: int
    name: str
    port: int
    key: EncryptionKey  # Its private half is sealed still.
    peers: Mapping[bytes, Peer]  # By public key.


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it."""

    address: IPv4Address  # This node's own, inside.
    devices: tuple[Device, ...]  # The newest epoch last.


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Which device leads to a peer."""

    address: IPv4Address
    device: str
    epoch: int


def applied(held: OverlayEncryption, change: OverlayEncryption) -> OverlayEncryption:
    """Return all that a node was told, as one full message, after another message."""
    peers = {} if change.full else {peer.node_id: peer for peer in held.put_peers}
    for node_id in change.remove_peers:
        peers.pop(node_id, None)
    peers |= {peer.node_id: peer for peer in change.put_peers}
    return OverlayEncryption(full=True, own=change.own, put_peers=tuple(peers[node_id] for node_id in sorted(peers)))


def planned(told: OverlayEncryption, needed: Collection[str], prefix: str) -> Plan | None:
    """Return the devices of a node that was told so much; None when it is on no encrypted network.

    needed: ids of the nodes with which it shares one; no other may send to it.  prefix: of the devices' names.
    """
    if told.own is None or not told.own.keys:
        return None
    own = IPv4Address(told.own.address)
    peers = [peer for peer in told.put_peers if peer.node_id in needed and peer.node_addr]
    keys = sorted(told.own.keys, key=lambda key: key.epoch)[-len(PORTS) :]
    devices = (
        Device(
            epoch=key.epoch,
            name=f"{prefix}{_slot(key.epoch)}",
            port=port_of(key.epoch),
            key=key,
            peers={peer.public_key: peer for peer in _peers(peers, key.epoch, own)},
        )
        for key in keys
    )
    return Plan(address=own, devices=tuple(devices))


def ways(plan: Plan, met: Mapping[str, Collection[bytes]], held: Mapping[IPv4Address, str]) -> tuple[Way, ...]:
    """Return the way to each peer that there is one to.

    met: public keys, by device, with which it has exchanged keys.  held: the devices that lead to peers now.
    A peer is led to by the newest device that has met it, else it keeps its way.  There is none to one that nobody has
    met: a packet to it would make this node speak first, too, and of two that speak at once neither may be heard.
    """
    found: dict[IPv4Address, Way] = {}
    for device in plan.devices:
        for peer in device.peers.values():
            if peer.public_key in met.get(device.name, ()) or held.get(peer.address) == device.name:
                found[peer.address] = Way(address=peer.address, device=device.name, epoch=device.epoch)
    return tuple(way for _, way in sorted(found.items()))


def epoch_in_use(plan: Plan, found: Collection[Way], met: Mapping[str, Collection[bytes]]) -> int:
    """Return the newest epoch by which this node sends to every peer, and has met it."""
    newest = plan.devices[-1]
    everybody = {peer.address for device in plan.devices for peer in device.peers.values()}
    led = {way.address for way in found if way.epoch == newest.epoch}
    unmet = newest.peers.keys() - set(met.get(newest.name, ()))
    return newest.epoch - 1 if everybody - led or unmet else newest.epoch


def port_of(epoch: int) -> int:
    """Return the UDP port that devices of an epoch listen on."""
    return PORTS[_slot(epoch)]


def _slot(epoch: int) -> int:
    """Return which of two places an epoch has; the first one has the first."""
    return (epoch - 1) % len(PORTS)


def _peers(peers: Collection[EncryptionPeer], epoch: int, own: IPv4Address) -> list[Peer]:
    return [
        Peer(
            public_key=key.public,
            endpoint=peer.node_addr,
            port=port_of(epoch),
            address=IPv4Address(peer.address),
            first=own < IPv4Address(peer.address),
        )
        for peer in peers
        for key in peer.keys
        if key.epoch == epoch
    ]
