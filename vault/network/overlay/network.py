"""One overlay network on this node: programs what it is told, one change after the other.

Not pure.  Used by `overlay.overlays`.  Changes that come while one is being programmed are programmed together after
it.  What fails is looked at as a whole and tried again, until it holds or the network is gone.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Final, Protocol

from vault.model.overlay import OverlayEncryption, OverlayEndpoint, OverlayNetwork
from vault.network.kernel.links import Netlink
from vault.network.kernel.namespaces import aside, in_thread
from vault.network.kernel.programs import NetworkFailed
from vault.network.overlay.device import DeviceSpec, OverlayNamespace
from vault.network.overlay.entries import Vxlan
from vault.network.overlay.names import DEVICE, PORT, gateway_of, mtu_of, node_mac, port_of, ranges
from vault.network.overlay.probe import missing
from vault.network.overlay.reach import Reach
from vault.network.overlay.state import EndpointKey, Overlay, OverlayState
from vault.network.overlay.vips import changed_table, whole_table

logger = logging.getLogger(__name__)
RETRY_S: Final = 2.0


class Tunnels(Protocol):
    """Encrypted ways to other nodes: `vault.network.wireguard.underlay`."""

    @property
    def grows_bytes(self) -> int:
        """What a packet grows by."""
        ...

    @property
    def local(self) -> str:
        """This node's address inside; "" while it has none."""
        ...

    async def ready(self) -> None:
        """Return once encrypted packets can leave.  Raises `NetworkFailed`."""
        ...

    def outside(self, node_id: str) -> str:
        """Return another node's address inside; "" for one that is not known."""
        ...

    def tell(self, change: OverlayEncryption) -> None:
        """Take what the managers say of keys and peers."""
        ...

    def told(self, state: OverlayState) -> None:
        """Take note of the nodes with which this one shares an encrypted network."""
        ...


@dataclass(frozen=True, slots=True)
class Node:
    """What this node's overlays share."""

    id: str
    links: Netlink  # Of the node's own namespace.
    tunnels: Tunnels | None = None


@dataclass(slots=True)
class _News:
    """What may have changed since it was last programmed."""

    everything: bool = False
    endpoints: set[EndpointKey] = field(default_factory=set)
    services: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return self.everything or bool(self.endpoints or self.services)


class LocalOverlay:
    """A network that this node takes part in."""

    def __init__(
        self,
        path: Path,
        node: Callable[[], Node],
        overlay: Overlay,
        opened: Callable[[Path], None],
        after: "asyncio.Task[None] | None" = None,
    ) -> None:
        """path: the file of its namespace.  node: this node, as it is now.  opened: told when a namespace is there.

        after: the end of one of the same name, which comes first.
        """
        self.overlay = overlay  # As it should be; replaced by `tell`.
        self.attached: set[str] = set()  # Tasks.
        self._path = path
        self._node = node
        self._opened = opened
        self._said_open = False
        self._namespace: OverlayNamespace | None = None
        self._reach = Reach("")
        self._spec: DeviceSpec | None = None  # As programmed.
        self._news = _News(everything=True)
        self._job: asyncio.Task[None] | None = None
        self._after = after
        self._withdrawn: set[str] = set()  # Addresses whose flows are still to be forgotten.
        self._turn = asyncio.Lock()
        self._closed = asyncio.Event()
        self._complained = ""
        self._own = ""  # The address by which other nodes know this one.
        self._lacks: list[str] | None = None  # What a look at the kernel found, once something had failed.

    @property
    def namespace(self) -> OverlayNamespace:
        """Its namespace, once it is there."""
        assert self._namespace is not None, "ready() comes first"
        return self._namespace

    @property
    def mtu(self) -> int:
        """The MTU of its tasks' links, once its namespace is there."""
        assert self._spec is not None, "ready() comes first"
        return self._spec.mtu

    def tell(self, overlay: Overlay, endpoints: Iterable[EndpointKey] | None, services: Iterable[str]) -> None:
        """Take the newest state, and where it may differ from the one before; None = anywhere."""
        self._news.everything |= endpoints is None or overlay.network != self.overlay.network
        self.overlay = overlay
        self._news.endpoints |= {*(endpoints or ())}
        self._news.services |= {*services}
        self.start()

    def start(self) -> None:
        """Program what is new, in the background."""
        if self._news and (self._job is None or self._job.done()):
            self._job = asyncio.create_task(self._keep_up(), name=f"overlay {self.overlay.network.name}")

    async def ready(self) -> None:
        """Have the network as it should be; raises `NetworkFailed`."""
        async with self._turn:
            if self._namespace is None or self._spec is None:
                await self._program()

    async def settle(self) -> None:
        """Return when nothing is left to be programmed."""
        while self._news or (self._job is not None and not self._job.done()):
            self.start()
            assert self._job is not None
            await asyncio.wait({self._job})

    async def has(self, name: str) -> bool:
        """Whether a task's link of that name is there."""
        return name in await aside(self.namespace.task_links)

    async def strangers(self, names: Collection[str]) -> set[str]:
        """Return the names of links that are none of these."""
        namespace = self._namespace
        return set() if namespace is None else await aside(namespace.task_links) - {*names}

    async def unlink(self, name: str) -> None:
        """Remove a task's link; none is no error.  Raises `NetworkFailed`."""
        if (namespace := self._namespace) is not None:
            await aside(lambda: namespace.detach(name))

    async def close(self, *, remove: bool) -> None:
        """Stop; with `remove`, leave nothing of the network on this node."""
        self._closed.set()
        if self._job is not None:
            await asyncio.wait({self._job})
        async with self._turn:
            self._spec = None
            if self._namespace is not None:
                namespace, self._namespace = self._namespace, None
                await in_thread(lambda: namespace.close(remove=remove))

    async def _keep_up(self) -> None:
        while self._news and not self._closed.is_set():
            try:
                async with self._turn:
                    await self._program()
            except (NetworkFailed, OSError) as failed:
                if str(failed) != self._complained:
                    logger.warning("overlay_not_programmed", extra={"err": str(failed)})
                self._complained = str(failed)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), RETRY_S)
            else:
                self._complained = ""

    async def _program(self) -> None:
        """Program all that is new."""
        if self._after is not None:
            await asyncio.wait({self._after})
            self._after = None
        if self.overlay.network.encrypted:
            await _tunnels(self.overlay.network, self._node()).ready()
        news, self._news = self._news, _News()
        try:
            if self._namespace is None:  # The thread enters it.
                await in_thread(lambda: self._programmed(self.overlay, news))
            else:
                await aside(lambda: self._programmed(self.overlay, news))
        except Exception as error:
            self._news.everything = True  # Part of it may hold: the next time everything is compared.
            if isinstance(error, NetworkFailed) and self._spec is None:
                self._lacks = await in_thread(missing) if self._lacks is None else self._lacks
                if self._lacks:
                    raise NetworkFailed(f"overlay {self.overlay.network.name}", self._lacks[0]) from None
            raise
        if not self._said_open:
            self._said_open = True
            self._opened(self._path)

    def _programmed(self, overlay: Overlay, news: _News) -> None:
        node = self._node()
        if self._namespace is None:
            self._namespace = OverlayNamespace.open(overlay.network.name, self._path, node.links)
            news.everything = True
        # Where it was last known: between two tasks this node has no endpoint that says it.
        own = _own_address(overlay, node.id, None if news.everything else news.endpoints) or self._own
        if news.everything or own != self._own:
            self._own, self._spec = own, None
            spec = _spec(overlay, node, own)
            self._whole(overlay, node, spec)
            self._spec = spec
            return
        change = self._reach.update(overlay, news.endpoints, news.services)
        self.namespace.program(change)
        if script := changed_table(change):
            self.namespace.rules.run(script)
        self._forget(change.withdrawn)

    def _whole(self, overlay: Overlay, node: Node, spec: DeviceSpec) -> None:
        before, self._reach = self._reach, Reach(node.id, _outside(overlay.network, node))
        self.namespace.ensure(spec)
        change = self._reach.update(overlay)
        self.namespace.sync(change)
        gateways = [own for version in (4, 6) if (own := gateway_of(spec.ranges, version)) is not None]
        self.namespace.rules.run(whole_table(self._reach.services, change.own, gateways, DEVICE))
        now = {backend for service in self._reach.services.values() for backend in service.backends}
        was = {backend for service in before.services.values() for backend in service.backends}
        self._forget(was - now)

    def _forget(self, withdrawn: set[str]) -> None:
        """Forget the flows to addresses that answer no longer; what fails is done with the next ones."""
        self._withdrawn |= withdrawn
        if self._withdrawn:
            self.namespace.forget(self._withdrawn)
            self._withdrawn = set()


def _spec(overlay: Overlay, node: Node, own: str) -> DeviceSpec:
    """Return what a network's namespace has on this node; raises `NetworkFailed`.

    own: the address by which other nodes know this one; empty while that is not known.
    """
    network, here = overlay.network, node.links
    local, grows_bytes = own, 0
    if network.encrypted:
        tunnels = _tunnels(network, node)
        local, grows_bytes = tunnels.local, tunnels.grows_bytes
        if not local:  # Anything that left now would leave as it is.
            raise NetworkFailed(f"overlay {network.name}", "it is encrypted, and this node has no keys")
    version = ip_address(local).version if local else 4
    found = ranges(network.configs)
    addresses = [one.gateway for one in found]
    if network.node_address:
        addresses.append(ip_interface(network.node_address).ip)
    holder = here.holder(ip_address(own)) if own else None
    underlay = next((link.mtu for link in here.links() if link.number == holder), 0)
    return DeviceSpec(
        vxlan=Vxlan(id=network.vxlan_id, port=port_of(local) if local else PORT, local=local)
        if network.vxlan_id
        else None,
        mtu=mtu_of(network, underlay, version=version, tunnel_bytes=grows_bytes),
        mac=node_mac(own) if own else node_mac("0.0.0.0"),  # noqa: S104  # Nobody sends here yet.
        ranges=found,
        own=tuple(dict.fromkeys(addresses)),
    )


def _own_address(overlay: Overlay, node_id: str, among: Iterable[EndpointKey] | None) -> str:
    """Return the address by which other nodes know this one; empty when no endpoint of its own says it.

    among: the endpoints to look at; None = all of them.
    """
    keys = overlay.endpoints if among is None else among
    own = (overlay.endpoints.get(key) for key in keys if key.node_id == node_id)
    return next((one.node_addr for one in own if one is not None and one.node_addr), "")


def _outside(network: OverlayNetwork, node: Node) -> Callable[[OverlayEndpoint], str]:
    """Return what says where packets for an endpoint's node go."""
    if not network.encrypted:
        return lambda endpoint: endpoint.node_addr
    tunnels = _tunnels(network, node)
    return lambda endpoint: tunnels.outside(endpoint.node_id)


def _tunnels(network: OverlayNetwork, node: Node) -> Tunnels:
    if node.tunnels is None:
        raise NetworkFailed(f"overlay {network.name}", "it is encrypted, and this node encrypts nothing")
    return node.tunnels
