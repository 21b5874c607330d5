"""Who is reached where on one overlay network: what the kernel has to be told, change by change.

Pure but for its memory of what was said before, which a fresh one and a look into the kernel can replace.  Used by
`overlay.overlays`.  Work follows what changed: only endpoints and services that are named are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vault.model.overlay import OverlayEndpoint, OverlayService
from vault.network.overlay.names import node_mac
from vault.network.overlay.state import EndpointKey, Overlay


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualService:
    """A service's virtual addresses, and the addresses that answer for them."""

    vips: tuple[str, ...]
    backends: tuple[str, ...]  # Of IPv4 and IPv6, in a steady order.


@dataclass(slots=True, kw_only=True)
class ReachChange:
    """What is new; each removal holds before the additions."""

    removed_neighbours: set[str] = field(default_factory=set)  # Addresses.
    neighbours: dict[str, bytes] = field(default_factory=dict)  # Address -> MAC of its node.
    removed_nodes: set[bytes] = field(default_factory=set)  # MACs.
    nodes: dict[bytes, str] = field(default_factory=dict)  # MAC -> address of its node outside.
    removed_own: set[str] = field(default_factory=set)  # Addresses of tasks here.
    own: set[str] = field(default_factory=set)
    services: dict[str, tuple[VirtualService | None, VirtualService | None]] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)  # Addresses that answer for a service no longer.


@dataclass(frozen=True, slots=True)
class _Placed:
    addresses: tuple[str, ...]
    node_addr: str  # Empty for an endpoint of this node.
    outside: str = ""


class Reach:
    """What was said of one network so far."""

    def __init__(self, node_id: str, outside: Callable[[OverlayEndpoint], str] = lambda one: one.node_addr) -> None:
        self._node_id = node_id
        self._outside = outside  # Where packets for an endpoint's node go, "" = nowhere yet; maybe inside a tunnel.
        self._placed: dict[EndpointKey, _Placed] = {}
        self._owner: dict[str, EndpointKey] = {}
        self._on_node: dict[str, int] = {}  # How many endpoints a node has.
        self._serving: dict[str, dict[EndpointKey, tuple[str, ...]]] = {}
        self._service_of: dict[EndpointKey, str] = {}
        self.services: dict[str, VirtualService] = {}  # As last said.

    def update(
        self, overlay: Overlay, endpoints: Iterable[EndpointKey] | None = None, services: Iterable[str] | None = None
    ) -> ReachChange:
        """Return what is new where these may have changed; None = look at everything."""
        change = ReachChange()
        keys = list(endpoints) if endpoints is not None else [*{*self._placed, *overlay.endpoints}]
        ids = {*services} if services is not None else {*self.services, *overlay.services}
        found = {key: overlay.endpoints.get(key) for key in keys}
        for key, endpoint in found.items():
            self._leave(key, endpoint, change)
            ids |= {service_id for service_id in (self._serve(key, endpoint),) if service_id}
        for key, endpoint in found.items():
            if endpoint is not None:
                self._place(key, endpoint, change)
        for service_id in ids:
            self._service(service_id, overlay.services.get(service_id), change)
        change.removed_neighbours -= change.neighbours.keys()
        change.removed_nodes -= change.nodes.keys()
        change.removed_own -= change.own
        return change

    def _placing(self, endpoint: OverlayEndpoint | None) -> _Placed | None:
        if endpoint is None or not endpoint.addresses:
            return None
        if endpoint.node_id == self._node_id:
            return _Placed(endpoint.addresses, "")
        if not endpoint.node_addr or not (outside := self._outside(endpoint)):
            return None
        return _Placed(endpoint.addresses, endpoint.node_addr, outside)

    def _leave(self, key: EndpointKey, endpoint: OverlayEndpoint | None, change: ReachChange) -> None:
        """Take an endpoint away from where it was, unless it stays there."""
        placed = self._placed.get(key)
        if placed is None or placed == self._placing(endpoint):
            return
        del self._placed[key]
        for address in placed.addresses:
            if self._owner.get(address) == key:  # Else another task has it by now.
                del self._owner[address]
                (change.removed_neighbours if placed.node_addr else change.removed_own).add(address)
        if placed.node_addr:
            self._on_node[placed.node_addr] -= 1
            if not self._on_node[placed.node_addr]:
                del self._on_node[placed.node_addr]
                change.removed_nodes.add(node_mac(placed.node_addr))

    def _place(self, key: EndpointKey, endpoint: OverlayEndpoint, change: ReachChange) -> None:
        placing = self._placing(endpoint)
        if placing is None or self._placed.get(key) == placing:
            return
        self._placed[key] = placing
        for address in placing.addresses:
            before = self._owner.get(address)
            self._owner[address] = key
            if before is not None and self._placed[before].node_addr and not placing.node_addr:
                change.removed_neighbours.add(address)
            if before is not None and not self._placed[before].node_addr and placing.node_addr:
                change.removed_own.add(address)
            if placing.node_addr:
                change.neighbours[address] = node_mac(placing.node_addr)
            else:
                change.own.add(address)
        if placing.node_addr:
            if not self._on_node.get(placing.node_addr):
                change.nodes[node_mac(placing.node_addr)] = placing.outside
            self._on_node[placing.node_addr] = self._on_node.get(placing.node_addr, 0) + 1

    def _serve(self, key: EndpointKey, endpoint: OverlayEndpoint | None) -> str:
        """Take note of whether an endpoint serves; return the service for which that is new, or nothing."""
        before = self._service_of.get(key, "")
        service_id = endpoint.service_id if endpoint is not None and endpoint.serving else ""
        if before and before != service_id:
            del self._service_of[key]
            del self._serving[before][key]
            if not self._serving[before]:
                del self._serving[before]
        if endpoint is not None and service_id:
            if self._serving.get(service_id, {}).get(key) == endpoint.addresses:
                return ""
            self._service_of[key] = service_id
            self._serving.setdefault(service_id, {})[key] = endpoint.addresses
        return service_id or before

    def _service(self, service_id: str, service: OverlayService | None, change: ReachChange) -> None:
        before = self.services.get(service_id)
        after = None
        if service is not None and service.vips:
            serving = self._serving.get(service_id, {})
            backends = tuple(address for key in sorted(serving) for address in serving[key])
            after = VirtualService(vips=service.vips, backends=backends)
        if before == after:
            return
        change.services[service_id] = (before, after)
        change.withdrawn |= {*(before.backends if before else ())} - {*(after.backends if after else ())}
        if after is None:
            del self.services[service_id]
        else:
            self.services[service_id] = after
