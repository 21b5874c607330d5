"""What a node has to know of overlay networks: the networks, their endpoints, and the services that are reached there.

Pure shapes.  Made by `vault.dispatcher.overlays`, carried by `vault.rpc.messages`, kept on nodes by `vault.network` and
`vault.dns`.  Addresses are in text; an endpoint is one task on one network.
"""

import msgspec

from vault.model.network import IPAMConfig
from vault.model.node import EncryptionKey, NodeEncryption
from vault.model.service import PortConfig


class OverlayNetwork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network, as a node needs it that has a task on it (or, of the ingress network, any node)."""

    id: str
    name: str
    vxlan_id: int  # 0 = of this node alone: nothing of it goes to others.
    configs: tuple[IPAMConfig, ...] = ()  # Subnet and gateway, IPv4 or IPv6.
    mtu: int = 0  # Of its tasks' links; 0 = what the node's own link leaves.
    internal: bool = False  # No way out of it.
    ingress: bool = False
    encrypted: bool = False
    node_address: str = ""  # This node's own, with prefix length; on the ingress network only.


class OverlayEndpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task on a network, or (`task_id` empty) a node's own place on the ingress network."""

    network_id: str
    task_id: str = ""
    service_id: str = ""
    node_id: str
    node_addr: str = ""  # Where that node's overlay traffic goes: its advertised IP address.
    addresses: tuple[str, ...] = ()  # Without prefix length.
    names: tuple[str, ...] = ()  # Its task's, and its host name where it is known; its service's are the service's.
    serving: bool = False  # Observed running, and meant to: it is among `tasks.service` and behind the VIP.


class OverlayService(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service on a network; on the ingress network with the ports it publishes there."""

    network_id: str
    service_id: str
    name: str
    aliases: tuple[str, ...] = ()
    vips: tuple[str, ...] = ()  # Without prefix length; empty for `endpoint_mode: dnsrr`.
    ports: tuple[PortConfig, ...] = ()


class EncryptionPeer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Another node in the underlay of encrypted networks: nothing of it is secret."""

    node_id: str
    node_addr: str  # Where it is to be reached: its advertised IP address.
    address: str  # Inside.
    keys: tuple[EncryptionKey, ...]  # Without what is sealed.


class OverlayEncryption(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has changed in the underlay of encrypted networks since the node was last told; with `full`, all of it."""

    full: bool = False
    own: NodeEncryption | None = None  # None: this node is on no encrypted network.
    put_peers: tuple[EncryptionPeer, ...] = ()
    remove_peers: tuple[str, ...] = ()  # Node ids.


class OverlayChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has changed for a node since it was last told; with `full`, everything there is."""

    full: bool = False
    put_networks: tuple[OverlayNetwork, ...] = ()
    remove_networks: tuple[str, ...] = ()  # Ids; their endpoints and services go with them.
    put_endpoints: tuple[OverlayEndpoint, ...] = ()
    remove_endpoints: tuple[tuple[str, str, str], ...] = ()  # Network, task and node id.
    put_services: tuple[OverlayService, ...] = ()
    remove_services: tuple[tuple[str, str], ...] = ()  # Network and service id.
    encryption: OverlayEncryption | None = None  # None: nothing has changed in it.
