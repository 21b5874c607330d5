"""Who is called what on each network: services, their aliases and tasks, by name and by address.

Not a decider but its memory: plain dictionaries, changed in step with each `OverlayChange`, no I/O.  A change costs
what it changes.  Used by `vault.dns.answering` and held by `vault.dns.process`.
"""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Final, TypeVar

from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService

K = TypeVar("K")
M = TypeVar("M")
V = TypeVar("V")
_TASKS: Final = b"tasks."
_Key = tuple[str, str]  # Of an endpoint: its task and node.


def folded(name: str) -> bytes:
    """Return a name as it is looked up: DNS tells letters of ASCII apart, but not their case."""
    return name.encode().lower()


@dataclass(frozen=True, slots=True)
class _Place:
    """A task on the network."""

    told: OverlayEndpoint
    addresses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Service:
    told: OverlayService
    vips: tuple[bytes, ...]


@dataclass(slots=True)
class NetworkNames:
    """The names on one network."""

    network: OverlayNetwork
    domain: bytes = b""
    _places: dict[_Key, _Place] = field(default_factory=dict)
    _services: dict[str, _Service] = field(default_factory=dict)
    _serving: dict[str, dict[_Key, _Place]] = field(default_factory=dict)  # By service.
    _by_name: dict[bytes, dict[str, None]] = field(default_factory=dict)  # Ids of services with a name or alias.
    _by_task_name: dict[bytes, dict[_Key, _Place]] = field(default_factory=dict)
    _by_address: dict[bytes, str] = field(default_factory=dict)
    _subnets: tuple[tuple[int, int, int], ...] = ()  # Length in bytes, mask, network.

    def __post_init__(self) -> None:
        self.describe(self.network)

    def describe(self, network: OverlayNetwork) -> None:
        """Take what is new about the network itself."""
        self.network = network
        self.domain = folded(network.name)
        subnets = [ip_network(config.subnet, strict=False) for config in network.configs if config.subnet]
        self._subnets = tuple(
            (subnet.max_prefixlen // 8, int(subnet.netmask), int(subnet.network_address)) for subnet in subnets
        )

    def addresses(self, name: bytes) -> list[bytes] | None:
        """Return what a folded name stands for, packed, of both families; None for a name that nobody has.

        A service is found before a task of the same name: a task's host name is often the name of its service.
        """
        if (services := self._by_name.get(name)) is not None:
            return self._all(service_id for service_id in services)
        if name.startswith(_TASKS) and (services := self._by_name.get(name[len(_TASKS) :])) is not None:
            return self._tasks_of(services)
        if (places := self._by_task_name.get(name)) is not None:
            return [address for place in places.values() for address in place.addresses]
        return None

    def name_of(self, address: bytes) -> str | None:
        """Return the full name of whoever has an address here; None when nobody has."""
        name = self._by_address.get(address)
        return None if name is None else f"{name}.{self.network.name}"

    def covers(self, address: bytes) -> bool:
        """Return whether an address belongs to this network, taken or not."""
        number = int.from_bytes(address, "big")
        return any(len(address) == size and number & mask == base for size, mask, base in self._subnets)

    def put_endpoint(self, endpoint: OverlayEndpoint) -> None:
        """Know a task here, or know it better."""
        key = (endpoint.task_id, endpoint.node_id)
        self.remove_endpoint(key)
        place = _Place(endpoint, _packed(endpoint.addresses))
        self._places[key] = place
        for name in endpoint.names:
            self._by_task_name.setdefault(folded(name), {})[key] = place
        if endpoint.serving and endpoint.service_id:
            self._serving.setdefault(endpoint.service_id, {})[key] = place
        if endpoint.names:
            for address in place.addresses:
                self._by_address[address] = endpoint.names[0]

    def remove_endpoint(self, key: _Key) -> None:
        """Forget a task; one that is not known is no error."""
        place = self._places.pop(key, None)
        if place is None:
            return
        for name in place.told.names:
            _drop(self._by_task_name, folded(name), key)
        _drop(self._serving, place.told.service_id, key)
        if place.told.names:
            for address in place.addresses:
                if self._by_address.get(address) == place.told.names[0]:
                    del self._by_address[address]

    def put_service(self, service: OverlayService) -> None:
        """Know a service here, or know it better."""
        self.remove_service(service.service_id)
        vips = _packed(service.vips)
        self._services[service.service_id] = _Service(service, vips)
        for name in (service.name, *service.aliases):
            self._by_name.setdefault(folded(name), {})[service.service_id] = None
        for vip in vips:
            self._by_address[vip] = service.name

    def remove_service(self, service_id: str) -> None:
        """Forget a service; one that is not known is no error."""
        service = self._services.pop(service_id, None)
        if service is None:
            return
        for name in (service.told.name, *service.told.aliases):
            _drop(self._by_name, folded(name), service_id)
        for vip in service.vips:
            if self._by_address.get(vip) == service.told.name:
                del self._by_address[vip]

    def told(self) -> tuple[list[OverlayEndpoint], list[OverlayService]]:
        """Return all that is known here."""
        return [place.told for place in self._places.values()], [one.told for one in self._services.values()]

    def _all(self, services: Iterable[str]) -> list[bytes]:
        found: dict[bytes, None] = {}
        for service_id in services:
            found.update(dict.fromkeys(self._services[service_id].vips or self._tasks_of((service_id,))))
        return list(found)

    def _tasks_of(self, services: Iterable[str]) -> list[bytes]:
        places = (place for service_id in services for place in self._serving.get(service_id, {}).values())
        return [address for place in places for address in place.addresses]


class Directory:
    """The names on all networks that this node was told of."""

    def __init__(self) -> None:
        self._networks: dict[str, NetworkNames] = {}

    def on(self, network_ids: Iterable[str]) -> Iterator[NetworkNames]:
        """Yield those of the networks that are known and have names: nobody is looked up on the ingress network."""
        for network_id in network_ids:
            names = self._networks.get(network_id)
            if names is not None and not names.network.ingress:
                yield names

    def apply(self, change: OverlayChange) -> None:
        """Take what has changed; what belongs to a network that is not known is left out."""
        if change.full:
            self._networks.clear()
        for network_id in change.remove_networks:
            self._networks.pop(network_id, None)
        for network in change.put_networks:
            if (known := self._networks.get(network.id)) is not None:
                known.describe(network)
            else:
                self._networks[network.id] = NetworkNames(network)
        for network_id, task_id, node_id in change.remove_endpoints:
            if (known := self._networks.get(network_id)) is not None:
                known.remove_endpoint((task_id, node_id))
        for network_id, service_id in change.remove_services:
            if (known := self._networks.get(network_id)) is not None:
                known.remove_service(service_id)
        for endpoint in change.put_endpoints:
            if (known := self._networks.get(endpoint.network_id)) is not None:
                known.put_endpoint(endpoint)
        for service in change.put_services:
            if (known := self._networks.get(service.network_id)) is not None:
                known.put_service(service)

    def as_change(self) -> OverlayChange:
        """Return the full set of what is known."""
        every = [names.told() for names in self._networks.values()]
        return OverlayChange(
            full=True,
            put_networks=tuple(names.network for names in self._networks.values()),
            put_endpoints=tuple(endpoint for endpoints, _ in every for endpoint in endpoints),
            put_services=tuple(service for _, services in every for service in services),
        )


def _packed(addresses: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(socket.inet_pton(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in addresses)


def _drop(index: dict[K, dict[M, V]], key: K, member: M) -> None:
    """Take a member away, and the key with its last one."""
    members = index.get(key, {})
    if member in members:
        del members[member]
        if not members:
            del index[key]
