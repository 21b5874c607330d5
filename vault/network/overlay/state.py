"""What this node was told of overlay networks: each network with its endpoints and services, and what has changed.

Pure.  Held by the node's networks, which apply each `OverlayChange` and tell those who listen: the data plane, names
and the routing mesh.  States share what did not change, so deriving one costs no more than the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from rpds import HashTrieMap

from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService

K = TypeVar("K", "EndpointKey", str)
V = TypeVar("V")


class EndpointKey(NamedTuple):
    """Which endpoint of a network; the task id of a node's own place is empty."""

    task_id: str
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """One network with its endpoints and services."""

    network: OverlayNetwork
    endpoints: HashTrieMap[EndpointKey, OverlayEndpoint] = field(default_factory=HashTrieMap)
    services: HashTrieMap[str, OverlayService] = field(default_factory=HashTrieMap)  # By service id.

    def serving(self) -> dict[str, list[OverlayEndpoint]]:
        """Return the endpoints that serve, by service id, in the order of their keys.  Looks at every endpoint."""
        found: dict[str, list[OverlayEndpoint]] = {}
        for key in sorted(self.endpoints):
            endpoint = self.endpoints[key]
            if endpoint.serving:
                found.setdefault(endpoint.service_id, []).append(endpoint)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayDifference:
    """What changed on one network between two states."""

    network_id: str
    before: Overlay | None  # None: it is new.
    after: Overlay | None  # None: it is gone.
    put_endpoints: tuple[OverlayEndpoint, ...] = ()  # New, or another than before.
    removed_endpoints: tuple[OverlayEndpoint, ...] = ()  # As they were.
    put_services: tuple[OverlayService, ...] = ()
    removed_services: tuple[OverlayService, ...] = ()

    @property
    def network_changed(self) -> bool:
        """Whether the network itself is new, gone or another than before."""
        if self.before is None or self.after is None:
            return True
        return self.before.network != self.after.network


@dataclass(frozen=True, slots=True)
class OverlayState:
    """All networks that this node was told of."""

    overlays: HashTrieMap[str, Overlay] = field(default_factory=HashTrieMap)  # By network id.

    def __iter__(self) -> Iterator[Overlay]:
        """Yield the networks in the order of their ids."""
        return iter([self.overlays[network_id] for network_id in sorted(self.overlays)])

    def get(self, network_id: str) -> Overlay | None:
        """Return a network with all that is on it; None for one that is not known."""
        return self.overlays.get(network_id)

    @property
    def ingress(self) -> Overlay | None:
        """The network of the routing mesh; None while no service publishes there."""
        return next((overlay for overlay in self.overlays.values() if overlay.network.ingress), None)

    def applied(self, change: OverlayChange) -> OverlayState:
        """Return the state after a change; `self` when it says nothing new.

        Removals come before additions.  What belongs to a network that is not known is left out.
        """
        overlays = self.overlays
        named = {network.id for network in change.put_networks}
        fresh = {*overlays} if change.full else {*change.remove_networks} & {*overlays}  # These begin with nothing.
        for network_id in fresh - named:
            overlays = overlays.remove(network_id)
        for network_id, part in _parts(change).items():
            before = overlays.get(network_id)
            after = _applied(before, part, fresh=network_id in fresh)
            if after is not None and after is not before:
                overlays = overlays.insert(network_id, after)
        return self if overlays is self.overlays else OverlayState(overlays)

    def as_change(self) -> OverlayChange:
        """Return the full set that leads to this state from any other."""
        every = list(self)
        return OverlayChange(
            full=True,
            put_networks=tuple(overlay.network for overlay in every),
            put_endpoints=tuple(overlay.endpoints[key] for overlay in every for key in sorted(overlay.endpoints)),
            put_services=tuple(overlay.services[key] for overlay in every for key in sorted(overlay.services)),
        )


def differences(before: OverlayState, after: OverlayState) -> Iterator[OverlayDifference]:
    """Yield what changed, network by network in the order of their ids; what both share is not looked into."""
    for network_id in sorted({*before.overlays, *after.overlays}):
        old, new = before.get(network_id), after.get(network_id)
        if old is not new:
            yield _difference(network_id, old, new)


def endpoint_key(endpoint: OverlayEndpoint) -> EndpointKey:
    """Return what tells an endpoint from the others of its network."""
    return EndpointKey(endpoint.task_id, endpoint.node_id)


@dataclass(slots=True)
class _Part:
    """What a change says of one network."""

    network: OverlayNetwork | None = None
    removed_endpoints: list[EndpointKey] = field(default_factory=list)
    removed_services: list[str] = field(default_factory=list)
    endpoints: list[OverlayEndpoint] = field(default_factory=list)
    services: list[OverlayService] = field(default_factory=list)


def _parts(change: OverlayChange) -> Mapping[str, _Part]:
    parts: dict[str, _Part] = {}

    def part(network_id: str) -> _Part:
        return parts.setdefault(network_id, _Part())

    for network in change.put_networks:
        part(network.id).network = network
    for network_id, task_id, node_id in change.remove_endpoints:
        part(network_id).removed_endpoints.append(EndpointKey(task_id, node_id))
    for network_id, service_id in change.remove_services:
        part(network_id).removed_services.append(service_id)
    for endpoint in change.put_endpoints:
        part(endpoint.network_id).endpoints.append(endpoint)
    for service in change.put_services:
        part(service.network_id).services.append(service)
    return parts


def _applied(before: Overlay | None, part: _Part, *, fresh: bool) -> Overlay | None:
    """Return a network after what a change says of it; `before` itself when that is nothing new."""
    network = part.network or (before.network if before is not None else None)
    if network is None:
        return None
    start = before if before is not None and not fresh else Overlay(network=network)
    endpoints = _changed(start.endpoints, part.removed_endpoints, {endpoint_key(one): one for one in part.endpoints})
    services = _changed(start.services, part.removed_services, {one.service_id: one for one in part.services})
    after = Overlay(network=network, endpoints=endpoints, services=services)
    unchanged = network == start.network and endpoints is start.endpoints and services is start.services
    return before if before is not None and (unchanged or fresh) and after == before else after


def _changed(held: HashTrieMap[K, V], removed: Iterable[K], put: Mapping[K, V]) -> HashTrieMap[K, V]:
    """Return the map after a change; `held` itself when nothing is another than before."""
    for key in removed:
        if key in held and key not in put:
            held = held.remove(key)
    for key, value in put.items():
        if held.get(key) != value:
            held = held.insert(key, value)
    return held


def _difference(network_id: str, old: Overlay | None, new: Overlay | None) -> OverlayDifference:
    put_endpoints, removed_endpoints = _between(
        old.endpoints if old is not None else HashTrieMap(), new.endpoints if new is not None else HashTrieMap()
    )
    put_services, removed_services = _between(
        old.services if old is not None else HashTrieMap(), new.services if new is not None else HashTrieMap()
    )
    return OverlayDifference(
        network_id=network_id,
        before=old,
        after=new,
        put_endpoints=put_endpoints,
        removed_endpoints=removed_endpoints,
        put_services=put_services,
        removed_services=removed_services,
    )


def _between(before: HashTrieMap[K, V], after: HashTrieMap[K, V]) -> tuple[tuple[V, ...], tuple[V, ...]]:
    """Return what was put and what was removed, each in the order of its keys."""
    put = tuple(after[key] for key in sorted(after) if before.get(key) != after[key])
    removed = tuple(before[key] for key in sorted(before) if key not in after)
    return put, removed
