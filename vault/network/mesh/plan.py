"""The routing mesh on one node: which published ports lead where.

Pure.  Made from what the managers say of the ingress network and from the links of this node's tasks; `mesh.rules`
turns it into rules, `mesh` programs them.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from vault.model.overlay import OverlayEndpoint
from vault.network.overlay.state import Overlay

PROTOCOLS: Final = ("tcp", "udp", "sctp")


class PortKey(NamedTuple):
    """A published port of a node."""

    protocol: str  # tcp | udp | sctp
    published: int


class MeshPort(NamedTuple):
    """Where a published port leads: to every task that serves, each as often as the others."""

    service: str  # Its name.
    target: int
    here: tuple[str, ...] = ()  # Tasks on this node, by the address of their link to it; they see who is calling.
    elsewhere: tuple[str, ...] = ()  # The others, by their address on the ingress network.

    @property
    def serves(self) -> bool:
        """Whether anybody answers."""
        return bool(self.here or self.elsewhere)


Plan = dict[PortKey, MeshPort]


class UDPFlows(NamedTuple):
    """Flows that the kernel must forget: those of a published port, or only those that one address answers."""

    published: int
    answered_by: str = ""


def mesh_plan(ingress: Overlay | None, links: Mapping[str, str]) -> Plan:
    """Return where the published ports lead.

    links: addresses of this node's tasks' links to it, by task id.  A task without such a link is reached as one of
    another node.  A port that two services publish for a moment belongs to the one with the lower id.
    """
    if ingress is None:
        return {}
    serving = ingress.serving()
    plan: Plan = {}
    for service_id in sorted(ingress.services):
        service = ingress.services[service_id]
        here, elsewhere = _split(serving.get(service_id, ()), links)
        for port in service.ports:
            key = PortKey(port.protocol, port.published_port)
            if port.publish_mode == "ingress" and port.published_port and port.protocol in PROTOCOLS:
                plan.setdefault(key, MeshPort(service.name, port.target_port, here, elsewhere))
    return plan


def remote_part(plan: Plan) -> Plan:
    """Return the ports that lead to tasks reached through the overlay, with those tasks only."""
    return {key: port._replace(here=()) for key, port in plan.items() if port.elsewhere}


def flows_to_forget_here(before: Plan, after: Plan, through: str) -> Iterator[UDPFlows]:
    """Yield the UDP flows that would go on to where nobody is, or never begin to be led anywhere.

    through: the address that stands for all tasks that are reached through the overlay.
    """
    for key in _udp(before, after):
        old, new = before.get(key), after.get(key)
        if old is None or not old.serves:
            if new is not None and new.serves:  # A flow that began before the rule would never be led to a task.
                yield UDPFlows(key.published)
            continue
        for address in old.here:
            if new is None or address not in new.here:
                yield UDPFlows(key.published, address)
        if old.elsewhere and not (new and new.elsewhere):
            yield UDPFlows(key.published, through)


def flows_to_forget_there(before: Plan, after: Plan) -> Iterator[UDPFlows]:
    """Yield the UDP flows, inside the overlay's namespace, to tasks that no longer serve."""
    for key in _udp(before, after):
        old, new = before.get(key), after.get(key)
        for address in old.elsewhere if old else ():
            if new is None or address not in new.elsewhere:
                yield UDPFlows(key.published, address)


def _udp(before: Plan, after: Plan) -> list[PortKey]:
    return [key for key in sorted({*before, *after}) if key.protocol == "udp" and before.get(key) != after.get(key)]


def _split(
    endpoints: "list[OverlayEndpoint] | tuple[()]", links: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    here, elsewhere = [], []
    for endpoint in endpoints:
        own = next((address for address in endpoint.addresses if ":" not in address), "")
        if link := links.get(endpoint.task_id, ""):
            here.append(link)
        elif own:
            elsewhere.append(own)
    return tuple(sorted(here)), tuple(sorted(elsewhere))
