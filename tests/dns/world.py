"""Networks, services and tasks for tests of names, in one line each; and replies read by code that is not ours."""

import socket

import dns.message
import dns.rcode
import dns.rdatatype

from vault.dns.names import Directory
from vault.model.network import IPAMConfig
from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService

BACK, FRONT, INGRESS = "net-back", "net-front", "net-ingress"


def network(network_id: str = BACK, name: str = "", *subnets: str, internal: bool = False) -> OverlayNetwork:
    """Return a network; `subnets` default to 10.0.1.0/24."""
    return OverlayNetwork(
        id=network_id,
        name=name or network_id.removeprefix("net-"),
        vxlan_id=4097,
        configs=tuple(IPAMConfig(subnet=subnet) for subnet in subnets or ("10.0.1.0/24",)),
        internal=internal,
        ingress=network_id == INGRESS,
    )


def service(name: str, *vips: str, on: str = BACK, aliases: tuple[str, ...] = ()) -> OverlayService:
    """Return a service, whose id is made of its name."""
    return OverlayService(network_id=on, service_id=f"id-{name}", name=name, aliases=aliases, vips=vips)


def task(
    of: str, slot: int, *addresses: str, on: str = BACK, serving: bool = True, hostname: str = ""
) -> OverlayEndpoint:
    """Return a task of a service on a network."""
    task_id = f"{of}{slot}"
    names = (f"{of}.{slot}.{task_id}", task_id, *([hostname] if hostname else []))
    return OverlayEndpoint(
        network_id=on,
        task_id=task_id,
        service_id=f"id-{of}",
        node_id="node",
        addresses=addresses,
        names=names,
        serving=serving,
    )


def told(*things: OverlayNetwork | OverlayService | OverlayEndpoint, full: bool = False) -> OverlayChange:
    """Return a change that puts things."""
    return OverlayChange(
        full=full,
        put_networks=tuple(each for each in things if isinstance(each, OverlayNetwork)),
        put_endpoints=tuple(each for each in things if isinstance(each, OverlayEndpoint)),
        put_services=tuple(each for each in things if isinstance(each, OverlayService)),
    )


def directory(*things: OverlayNetwork | OverlayService | OverlayEndpoint) -> Directory:
    """Return a directory that was told of things."""
    names = Directory()
    names.apply(told(*things))
    return names


def query(name: str, type_: str = "A", *, edns: bool = False, payload: int = 1232) -> bytes:
    """Return a query as another implementation writes it."""
    message = dns.message.make_query(name, type_, use_edns=0 if edns else False, payload=payload)
    return message.to_wire()


def shown(reply: bytes) -> tuple[str, list[str]]:
    """Return how a reply says the query ended, and its records' values, sorted."""
    message = dns.message.from_wire(reply)
    return dns.rcode.to_text(message.rcode()), sorted(str(record) for rrset in message.answer for record in rrset)


def packed(*addresses: str) -> list[bytes]:
    """Return addresses as a directory has them."""
    return [socket.inet_pton(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in addresses]
