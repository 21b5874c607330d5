"""What `vault.network.mesh.node` does to the kernel, in the node's own namespace and in that of the ingress overlay.

Not pure.
"""

import contextlib
import os
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import Self

from vault.network.kernel.flows import Flow, Flows
from vault.network.kernel.links import Netlink, address_to, up, without_ipv6
from vault.network.kernel.namespaces import enter, in_thread
from vault.network.kernel.nftables import Nftables
from vault.network.kernel.programs import NetworkFailed
from vault.network.links import kernel
from vault.network.links.names import Names, free_wires
from vault.network.mesh.plan import UDPFlows
from vault.network.mesh.rules import INNER_LINK, Wire


async def free_wire(names: Names) -> Wire:
    """Return a wire with addresses that no route of this node mentions.  Raises `NetworkFailed`."""
    for subnet in free_wires(await kernel.taken_networks(), names.seed):
        return wire_in(names, subnet)
    raise NetworkFailed("addresses", "no free address in 172.30.0.0/16, 192.168.96.0/20 or 10.239.0.0/16")


def wire_in(names: Names, subnet: IPv4Network) -> Wire:
    """Return the wire that has the first two addresses of a subnet."""
    return Wire(link=names.mesh_link, node=subnet[1], inner=subnet[2])


async def make_wire(namespace: Path, wire: Wire) -> None:
    """Join the node's own namespace with another, which must be there.  Raises `NetworkFailed`."""
    await in_thread(lambda: _make_wire(namespace, wire))
    _let_loopback_through(wire.link)


def _let_loopback_through(link: str) -> None:
    """Let `localhost:PORT` reach a task: what leaves from 127.0.0.1 takes the wire's address on the way."""
    Path(f"/proc/sys/net/ipv4/conf/{link}/route_localnet").write_text("1")


def _make_wire(namespace: Path, wire: Wire) -> None:
    try:
        with Netlink() as here, namespace.open("rb") as inside:
            enter(namespace)
            with Netlink() as there:
                here.add_pair(wire.link, INNER_LINK, inside.fileno())
                near, far = here.index(wire.link), there.index(INNER_LINK)
                here.carry_out([address_to(near, wire.node, wire.inner), without_ipv6(near), up(near)])
                there.carry_out([address_to(far, wire.inner, wire.node), without_ipv6(far), up(far)])
    except OSError as error:
        raise NetworkFailed(f"link {wire.link}", error.strerror or str(error)) from None


async def is_wired(namespace: Path, wire: Wire) -> bool:
    """Whether both ends of a wire are where they belong."""
    return await in_thread(lambda: _is_wired(namespace, wire))


def _is_wired(namespace: Path, wire: Wire) -> bool:
    with contextlib.suppress(OSError), Netlink() as here:
        if here.holder(wire.node) != here.index(wire.link):
            return False
        enter(namespace)
        with Netlink() as there:
            return there.holder(wire.inner) == there.index(INNER_LINK)
    return False


class Side:
    """A namespace in which the mesh has rules, held open.  Methods raise `NetworkFailed`."""

    def __init__(self) -> None:
        """Take hold of the namespace that the calling thread is in."""
        with contextlib.ExitStack() as undo:
            self._links = undo.enter_context(Netlink())
            self._flows = undo.enter_context(Flows())
            self._rules = Nftables()
            undo.pop_all()

    @classmethod
    async def open(cls, namespace: Path | None = None) -> Self:
        """Take hold of a namespace; without a file, of the node's own."""
        try:
            return await in_thread(lambda: cls._open(namespace))
        except OSError as error:
            raise NetworkFailed("mesh", error.strerror or str(error)) from None

    @classmethod
    def _open(cls, namespace: Path | None) -> Self:
        if namespace is not None:
            enter(namespace)
        return cls()

    def close(self) -> None:
        """Let go of the namespace; the rules stay."""
        self._rules.close()
        self._flows.close()
        self._links.close()

    async def program(self, script: str) -> None:
        """Carry out an nft script as one transaction; nothing for an empty one."""
        if script:
            await in_thread(lambda: self._rules.run(script))

    async def has_table(self, name: str) -> bool:
        """Whether a table is there."""
        return f"table ip {name}" in (await in_thread(lambda: self._rules.run("list tables ip"))).splitlines()

    async def forget(self, unwanted: Collection[UDPFlows]) -> None:
        """Make the kernel forget UDP flows."""
        if not unwanted:
            return
        led = {(one.published, IPv4Address(one.answered_by).packed) for one in unwanted if one.answered_by}
        begun = {one.published for one in unwanted if not one.answered_by}

        def matches(flow: Flow) -> bool:
            if flow.answerer != flow.destination:
                return (flow.port, flow.answerer) in led
            return flow.port in begun and self._is_here(flow.destination)

        try:
            await in_thread(lambda: self._flows.forget_those(matches))
        except OSError as error:
            raise NetworkFailed("flows", error.strerror or str(error)) from None

    def _is_here(self, address: bytes) -> bool:
        own = ip_address(address)
        return own.is_loopback or self._links.holder(own) is not None


def identity(namespace: Path) -> int:
    """Return what tells a namespace from one that was at this path before; 0 when none is there."""
    try:
        found = namespace.stat()
    except OSError:
        return 0
    return found.st_ino if found.st_dev != os.stat(namespace.parent).st_dev else 0


def own_address(text: str) -> IPv4Address | None:
    """Return the IPv4 address of a text with prefix length; None when it is empty or not IPv4."""
    address = text.partition("/")[0]
    return IPv4Address(address) if address and ":" not in address else None
