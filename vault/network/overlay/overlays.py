"""The overlay networks of this node, and its tasks' links to them.

Not pure.  Used by `vault.network.node`.  A network has a namespace here from its first task on until the managers no
longer speak of it and no task is attached; the ingress network for as long as they speak of it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from vault.model.overlay import OverlayChange, OverlayNetwork
from vault.network.kernel.links import LOOPBACK, Netlink, up, without_ipv6
from vault.network.kernel.namespaces import drop_namespace, enter, enter_new, in_thread, is_namespace
from vault.network.kernel.programs import NetworkFailed
from vault.network.overlay.device import OverlayNamespace, TaskLink
from vault.network.overlay.names import FILE_PREFIX, Range, file_name, interfaces, link_name, ranges, task_mac
from vault.network.overlay.network import LocalOverlay, Node, Tunnels
from vault.network.overlay.records import LinkRecord, Records, TaskRecord
from vault.network.overlay.state import EndpointKey, Overlay, OverlayState

logger = logging.getLogger(__name__)
Plan = Sequence[tuple[OverlayNamespace, TaskLink, tuple[Range, ...]]]


class Overlays:
    """All of a node's overlay networks."""

    def __init__(
        self,
        namespaces: Path,
        records: Records,
        opened: Callable[[str, Path], None],
        tunnels: Tunnels | None = None,
    ) -> None:
        """namespaces: the directory of their files.  opened: told the id and file of each network that comes to be."""
        self.tasks: dict[str, TaskRecord] = {}  # With links, or with links being made.
        self._node = Node("", Netlink(), tunnels)
        self._namespaces = namespaces
        self._records = records
        self._opened = opened
        self._state = OverlayState()
        self._local: dict[str, LocalOverlay] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, asyncio.Lock] = {}  # Of tasks that come and go.
        self._mending: set[asyncio.Task[None]] = set()

    async def adopt(self, node_id: str, state: OverlayState) -> list[str]:
        """Take over what an earlier vaultd left; return the tasks that are no longer there."""
        self._node = Node(node_id, self._node.links, self._node.tunnels)
        self._state = state
        lost = []
        for record in self._records.tasks():
            if is_namespace(self._namespaces / record.task_id):
                self.tasks[record.task_id] = record
            else:  # The machine was restarted.
                self._records.remove_task(record.task_id)
                lost.append(record.task_id)
        for record in self.tasks.values():
            for link in record.links:
                self._take_part(link.network).attached.add(record.task_id)
        for overlay in state:
            if overlay.network.ingress or is_namespace(self._path(overlay.network.id)):
                self._take_part(overlay.network)
        for local in self._local.values():
            local.start()
        # Not waited for: an encrypted network may have to wait for its keys, and nobody else should.
        self._mending = {asyncio.create_task(self._mend(record)) for record in self.tasks.values()}
        return lost

    def identify(self, node_id: str) -> None:
        """Take this node's id, by which it tells its own endpoints from others."""
        if node_id != self._node.id:
            self._node = Node(node_id, self._node.links, self._node.tunnels)
            for local in self._local.values():
                local.tell(local.overlay, None, ())

    def apply(self, state: OverlayState, change: OverlayChange) -> None:
        """Take the newest state, and the change that led there; programming goes on in the background."""
        self._state = state
        if state.ingress is not None:
            self._take_part(state.ingress.network).start()
        touched = {} if change.full else _touched(change)  # After a full set everything is compared.
        for network_id, local in list(self._local.items()):
            overlay = state.get(network_id)
            if overlay is None:
                self._leave_if_unused(network_id)
            elif change.full or network_id in change.remove_networks:
                local.tell(overlay, None, ())
            elif overlay is not local.overlay:
                local.tell(overlay, *touched.get(network_id, (set(), set())))

    def reencrypt(self) -> None:
        """Look at encrypted networks anew: addresses inside the tunnels may be others."""
        for local in self._local.values():
            if local.overlay.network.encrypted:
                local.tell(local.overlay, None, ())

    def has(self, network_id: str) -> bool:
        """Whether this node takes part in a network."""
        return network_id in self._local

    async def attach(self, record: TaskRecord) -> None:
        """Make a task's namespace and its links.  Raises `NetworkFailed`; `detach` then removes what is left."""
        async with self._turn(record.task_id):
            self.tasks[record.task_id] = record
            self._records.put_task(record)
            locals_ = [self._take_part(link.network) for link in record.links]
            for local in locals_:
                local.attached.add(record.task_id)
            await asyncio.gather(*(local.ready() for local in locals_))
            path = self._namespaces / record.task_id
            plan = [_step(record.task_id, link, local) for link, local in zip(record.links, locals_, strict=True)]
            await in_thread(lambda: _make_task(path, plan))

    async def detach(self, task_id: str) -> None:
        """Remove a task's links and its namespace; none is no error.  Safe to repeat."""
        if task_id not in self.tasks:
            return
        async with self._turn(task_id):
            record = self.tasks.get(task_id)
            if record is None:
                return
            found = [self._local.get(link.network.id) for link in record.links]
            await asyncio.gather(*(local.unlink(link_name(task_id)) for local in found if local is not None))
            drop_namespace(self._namespaces / task_id)
            self._records.remove_task(task_id)
            del self.tasks[task_id], self._turns[task_id]
        for link in record.links:
            if (local := self._local.get(link.network.id)) is not None:
                local.attached.discard(task_id)
            self._leave_if_unused(link.network.id)
        self._tidy()

    async def reap(self, known: Collection[str]) -> None:
        """Remove what belongs to no known task or network."""
        for task_id in [task_id for task_id in self.tasks if task_id not in known]:
            await self.detach(task_id)
        for local in list(self._local.values()):
            names = {link_name(task_id) for task_id in local.attached}
            for name in await local.strangers(names):
                await local.unlink(name)
        for path in self._namespaces.glob(f"{FILE_PREFIX}*"):
            network_id = path.name.removeprefix(FILE_PREFIX)
            if network_id not in self._local and network_id not in self._leaving:
                drop_namespace(path)
        await self.settle_ends()
        self._tidy()

    async def settle(self) -> None:
        """Return when all that was told is programmed."""
        if self._mending:
            await asyncio.wait(self._mending)
        for local in list(self._local.values()):
            await local.settle()
        await self.settle_ends()

    async def settle_ends(self) -> None:
        """Return when the networks that this node has left are gone."""
        while self._leaving:
            await asyncio.wait({*self._leaving.values()})

    async def close(self) -> None:
        """Stop programming; everything stays as it is."""
        for job in self._mending:
            job.cancel()
        await asyncio.gather(*self._mending, return_exceptions=True)
        await asyncio.gather(*(local.close(remove=False) for local in self._local.values()))
        await self.settle_ends()
        self._node.links.close()

    def _path(self, network_id: str) -> Path:
        return self._namespaces / file_name(network_id)

    def _turn(self, task_id: str) -> asyncio.Lock:
        return self._turns.setdefault(task_id, asyncio.Lock())

    def _take_part(self, network: OverlayNetwork) -> LocalOverlay:
        """Return a network of this node; one that a task names and the managers do not is taken from the task."""
        local = self._local.get(network.id)
        if local is None:
            self._local[network.id] = local = LocalOverlay(
                self._path(network.id),
                lambda: self._node,
                self._state.get(network.id) or Overlay(network=network),
                lambda path: self._opened(network.id, path),
                after=self._leaving.get(network.id),
            )
        return local

    def _leave_if_unused(self, network_id: str) -> None:
        local = self._local.get(network_id)
        if local is None or local.attached or self._state.get(network_id) is not None:
            return
        del self._local[network_id]
        job = asyncio.create_task(local.close(remove=True), name=f"leave {network_id}")
        self._leaving[network_id] = job
        job.add_done_callback(lambda done: self._left(network_id, done))

    def _left(self, network_id: str, job: "asyncio.Task[None]") -> None:
        if self._leaving.get(network_id) is job:
            del self._leaving[network_id]
        if not job.cancelled() and (error := job.exception()) is not None:
            logger.warning("overlay_not_removed", extra={"network_id": network_id, "err": str(error)})
        self._tidy()

    async def _mend(self, record: TaskRecord) -> None:
        """Make links again that went with their network's namespace, while the task lived on."""
        async with self._turn(record.task_id):
            if self.tasks.get(record.task_id) is not record:
                return
            try:
                for link in record.links:
                    local = self._local[link.network.id]
                    await local.ready()
                    if not await local.has(link_name(record.task_id)):
                        step = _step(record.task_id, link, local)
                        await in_thread(partial(_make_task, self._namespaces / record.task_id, [step]))
            except NetworkFailed as failed:
                logger.warning("link_not_mended", extra={"task_id": record.task_id, "err": failed.message})

    def _tidy(self) -> None:
        self._records.tidy()
        with contextlib.suppress(OSError):  # Not empty, or not there.
            self._namespaces.rmdir()


def _step(task_id: str, link: LinkRecord, local: LocalOverlay) -> tuple[OverlayNamespace, TaskLink, tuple[Range, ...]]:
    found = ranges(link.network.configs)
    made = TaskLink(
        name=link_name(task_id),
        device=link.device,
        addresses=interfaces(link.addresses, found),
        mac=task_mac(link.addresses),
        mtu=local.mtu,
        settings=link.settings,
    )
    return local.namespace, made, found


def _make_task(path: Path, plan: Plan) -> None:
    """Make a task's links, and its namespace if there is none.  The calling thread enters it, and must end soon."""
    try:
        if is_namespace(path):
            enter(path)
        else:
            path.unlink(missing_ok=True)
            enter_new(path)
        with Netlink() as task, path.open("rb") as namespace:
            task.carry_out([without_ipv6(LOOPBACK), up(LOOPBACK)])
            for network, link, found in plan:
                network.attach(link, found, task, namespace.fileno())
    except OSError as error:
        raise NetworkFailed("namespace", f"{path.name}: {error.strerror or error}") from None


def _touched(change: OverlayChange) -> dict[str, tuple[set[EndpointKey], set[str]]]:
    """Return the endpoints and services that a change speaks of, by network."""
    found: dict[str, tuple[set[EndpointKey], set[str]]] = {}
    for network_id, task_id, node_id in change.remove_endpoints:
        found.setdefault(network_id, (set(), set()))[0].add(EndpointKey(task_id, node_id))
    for endpoint in change.put_endpoints:
        found.setdefault(endpoint.network_id, (set(), set()))[0].add(EndpointKey(endpoint.task_id, endpoint.node_id))
    for network_id, service_id in change.remove_services:
        found.setdefault(network_id, (set(), set()))[1].add(service_id)
    for service in change.put_services:
        found.setdefault(service.network_id, (set(), set()))[1].add(service.service_id)
    return found
