"""What a node has to know of overlay networks: the networks, their endpoints, and the services that are reached there.

Pure shapes.  Made by `vault.dispatcher.overlays`, carried by `vault.rpc.messages`, kept on nodes by `vault.network` and
`vault.dns`.  Addresses are in text; an endpoint is one task on one network.
"""

import msgspec

from vault.model.network import IPAMConfig
from vault.model.service import PortConfig


class OverlayNetwork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network, as a node needs it that has a task on it (or, of the ingress network, any node)."""

    id: str
    name: str
    vxlan_id: int
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
    names: tuple[str, ...] = ()  # Its task's name and id, and its host name; its service's are the service's.
    serving: bool = False  # Observed running, and meant to: it is among `tasks.service` and behind the VIP.


class OverlayService(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service on a network; on the ingress network with the ports it publishes there."""

    network_id: str
    service_id: str
    name: str
    aliases: tuple[str, ...] = ()
    vips: tuple[str, ...] = ()  # Without prefix length; empty for `endpoint_mode: dnsrr`.
    ports: tuple[PortConfig, ...] = ()


class OverlayChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has changed for a node since it was last told; with `full`, everything there is."""

    full: bool = False
    put_networks: tuple[OverlayNetwork, ...] = ()
    remove_networks: tuple[str, ...] = ()  # Ids; their endpoints and services go with them.
    put_endpoints: tuple[OverlayEndpoint, ...] = ()
    remove_endpoints: tuple[tuple[str, str, str], ...] = ()  # Network, task and node id.
    put_services: tuple[OverlayService, ...] = ()
    remove_services: tuple[tuple[str, str], ...] = ()  # Network and service id.
