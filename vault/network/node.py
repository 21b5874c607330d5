"""The networks of this node: what the managers say of overlays, and every link of its tasks.

Not pure, a thin shell: `overlay.overlays` has the overlay networks, `links` the links to the node itself.  Opened by
`vault.daemon.compose`; the session calls `apply`, runners call `create` and `remove`.  A task on overlay networks
has a link to each, in their order, and as its last one, unless all of them are internal, a link to this node, through
which it reaches the world and its `mode: host` ports are published.  (A task on internal networks only that asks for
such ports has that link too: what was asked for by name wins.)
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from vault.model.endpoint_options import EndpointOptions, device_names, endpoint_options
from vault.model.network import NetworkAttachment
from vault.model.overlay import OverlayChange, OverlayEncryption, OverlayEndpoint, OverlayNetwork
from vault.model.service import PortConfig
from vault.model.task import Task
from vault.network.kernel.programs import NetworkFailed
from vault.network.links.network import NodeNetwork
from vault.network.overlay.listener import AttachedTask, OverlayListener
from vault.network.overlay.names import FILE_PREFIX
from vault.network.overlay.network import Tunnels
from vault.network.overlay.overlays import Overlays
from vault.network.overlay.records import LinkRecord, Records, StateKeeper, TaskRecord
from vault.network.overlay.state import EndpointKey, OverlayState

logger = logging.getLogger(__name__)
MANY = 2_000  # Endpoints in a change; more would hold the event loop for too long (34 ms for 10,000).


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNetwork:
    """Where a task's processes are to run."""

    namespace: Path
    addresses: tuple[str, ...] = ()  # Its own on overlay networks, for /etc/hosts.
    resolver: bool = False  # Names are answered at 127.0.0.11.
    gateway: str = ""  # Where it reaches this node, if it can; known once it is made.


class NodeNetworks:
    """All networks of a node."""

    def __init__(self, run_root: Path, tunnels: Tunnels | None = None) -> None:
        self.state = OverlayState()
        self._links = NodeNetwork(run_root, self._spared)
        self._namespaces = run_root / "netns"
        self._node_id = ""
        self._records = Records(run_root)
        self._tunnels = tunnels
        self._overlays = Overlays(self._namespaces, self._records, self._opened, tunnels)
        self._listeners: list[OverlayListener] = []
        self._ready: list[Callable[[str], Awaitable[None]]] = []
        self._open: dict[str, Path] = {}  # Networks that have had a namespace here.
        self._attached: dict[str, AttachedTask] = {}
        self._ended: dict[tuple[str, str, str], OverlayEndpoint] = {}  # They ended here, and managers still name them.
        self._jobs: dict[str, asyncio.Task[TaskNetwork | None]] = {}  # Creations under way.
        self._keeper = StateKeeper(self._records, self.state)

    @classmethod
    async def open(cls, run_root: Path, tunnels: Tunnels | None = None) -> Self:
        """Take over what an earlier vaultd left."""
        networks = cls(run_root, tunnels)
        networks._node_id, networks.state = networks._records.state()
        networks._keeper = StateKeeper(networks._records, networks.state)
        if tunnels is not None:
            tunnels.told(networks.state)
        lost = await networks._overlays.adopt(networks._node_id, networks.state)
        for task_id in lost:
            networks._end(task_id)
        networks._links = await NodeNetwork.open(run_root, networks._spared)
        for record in networks._overlays.tasks.values():
            networks._attached[record.task_id] = networks._attached_task(record)
        return networks

    def identify(self, node_id: str) -> None:
        """Take this node's id, by which it tells its own endpoints from others."""
        self._node_id = node_id
        self._overlays.identify(node_id)

    def listen(self, listener: OverlayListener, ready: Callable[[str], Awaitable[None]] | None = None) -> None:
        """Tell a listener all there is, and from now on what is new.

        ready: awaited with the id of each task that was attached; the task starts afterwards, and not when it raises.
        """
        self._listeners.append(listener)
        if ready is not None:
            self._ready.append(ready)
        listener.told(self.state)
        for network_id, path in self._open.items():
            if self._overlays.has(network_id):
                listener.opened(network_id, path)
        for task in self._attached.values():
            listener.attached(task)

    async def apply(self, change: OverlayChange) -> None:
        """Take what the managers say of overlay networks.

        The kernel is told in the background, in this order; a task that is created afterwards waits for its networks.
        """
        before, after = self.state, None
        if len(change.put_endpoints) > MANY:
            after = await asyncio.to_thread(before.applied, self._without_ended(change))
        self._take(change, after if self.state is before else None)  # A task may have ended meanwhile.

    def planned(self, task: Task) -> TaskNetwork | None:
        """Return what `create` makes for a task, which need not be there yet."""
        record = self._record(task)
        if not record.links:
            if not _is_outward(task, record):
                return None
            return TaskNetwork(namespace=self._links.namespace(task.id), gateway=self._links.gateway(task.id))
        return TaskNetwork(
            namespace=self._namespaces / task.id,
            addresses=_own_addresses(record),
            resolver=True,
            gateway=self._links.gateway(task.id),
        )

    async def create(self, task: Task) -> TaskNetwork | None:
        """Make a task's namespace with all its links and ports; None when it has neither networks nor ports.

        Raises `PortNotPublished` in Docker's words when a port is taken, `NetworkFailed` when the kernel refuses; then
        nothing is left.  Cancelled, it finishes in the background, and `remove` waits for it.
        """
        assert task.id not in self._jobs, "a creation that was broken off is waited for by remove"
        job = asyncio.create_task(self._create(task), name=f"network of {task.id}")
        self._jobs[task.id] = job
        job.add_done_callback(partial(self._created, task.id))
        return await asyncio.shield(job)

    def published(self, task_id: str) -> tuple[PortConfig, ...]:
        """Return the `mode: host` ports that are open for a task, with the numbers that were chosen."""
        return self._links.published(task_id)

    async def remove(self, task_id: str) -> None:
        """Remove all a task has; it is out of names and virtual addresses at once.  Safe to repeat."""
        if (job := self._jobs.get(task_id)) is not None:
            await asyncio.wait({job})
        self._withdraw(task_id)
        await self._remove(task_id)

    async def reap(self, known: Collection[str]) -> None:
        """Remove what belongs to no known task, and restore what does."""
        for task_id in [task_id for task_id in self._attached if task_id not in known]:
            await self.remove(task_id)
        await self._overlays.reap(known)
        await self._links.reap(known)

    async def settle(self) -> None:
        """Return when the kernel has all that was said."""
        await self._overlays.settle()
        await self._keeper.settle()

    async def close(self) -> None:
        """Stop; all links stay, for the next vaultd."""
        await self._keeper.settle()
        await self._overlays.close()

    def _take(self, change: OverlayChange, after: OverlayState | None = None) -> None:
        """Take a change; `after` is what comes of it, where that is known."""
        change = self._without_ended(change)
        before, self.state = self.state, after if after is not None else self.state.applied(change)
        self._encrypt(change)
        if self.state is before:
            return
        self._overlays.apply(self.state, change)
        for listener in self._listeners:
            listener.told(self.state)
        self._keeper.put(self._node_id, self.state)

    def _encrypt(self, change: OverlayChange) -> None:
        """Tell the tunnels who is reached through them, and by which keys, before anything is sent there."""
        if self._tunnels is None:
            return
        self._tunnels.told(self.state)
        said = change.encryption
        if said is None and change.full:  # This node is on no encrypted network.
            said = OverlayEncryption(full=True)
        if said is not None:
            self._tunnels.tell(said)
            self._overlays.reencrypt()

    async def _create(self, task: Task) -> TaskNetwork | None:
        await self._remove(task.id)  # What a vaultd left that ended in the middle of this.
        self._begin(task.id)
        record = self._record(task)
        outward = _is_outward(task, record)
        if not record.links and not outward:
            return None
        try:
            if record.links:
                await self._overlays.attach(record)
            if outward:
                await self._links.create(task.id, ports=task.host_ports, device=_outward_device(record))
            if record.links:
                await self._tell_attached(record)
        except Exception:  # Whatever failed, half a network must not stay; it is raised again.
            self._tell_detached(task.id)
            try:
                await self._remove(task.id)
            except NetworkFailed as failed:  # The first error is the one to tell; `reap` removes the rest.
                logger.warning("network_not_undone", extra={"task_id": task.id, "err": failed.message})
            raise
        return self.planned(task)

    async def _tell_attached(self, record: TaskRecord) -> None:
        attached = self._attached[record.task_id] = self._attached_task(record)
        for listener in self._listeners:
            listener.attached(attached)
        for ready in self._ready:
            await ready(record.task_id)

    def _tell_detached(self, task_id: str) -> bool:
        """Return whether it was attached."""
        known = self._attached.pop(task_id, None) is not None
        for listener in self._listeners if known else ():
            listener.detached(task_id)
        return known

    def _created(self, task_id: str, job: "asyncio.Task[TaskNetwork | None]") -> None:
        del self._jobs[task_id]
        if not job.cancelled():
            job.exception()  # Seen; a caller that still waits gets it as well.

    async def _remove(self, task_id: str) -> None:
        results = await asyncio.gather(
            self._links.remove(task_id), self._overlays.detach(task_id), return_exceptions=True
        )
        for error in results:
            if error is not None:
                raise error

    def _withdraw(self, task_id: str) -> None:
        """Take a task that ends out of names and virtual addresses, whether or not a manager is there to say so."""
        if not self._tell_detached(task_id):
            return
        self._end(task_id)

    def _end(self, task_id: str) -> None:
        key = EndpointKey(task_id, self._node_id)
        ended = {(one.network.id, *key): one.endpoints[key] for one in self.state if key in one.endpoints}
        self._take(OverlayChange(remove_endpoints=tuple(ended)))
        self._ended |= ended

    def _begin(self, task_id: str) -> None:
        """Give back the endpoints of a task that is made anew: a vaultd was killed while it made it before."""
        again = {key: one for key, one in self._ended.items() if key[1] == task_id}
        self._ended = {key: one for key, one in self._ended.items() if key not in again}
        if again:
            self._take(OverlayChange(put_endpoints=tuple(again.values())))

    def _without_ended(self, change: OverlayChange) -> OverlayChange:
        """Return a change without endpoints that ended here; the managers may not have heard of that yet."""
        if not self._ended:
            return change
        named = {(one.network_id, one.task_id, one.node_id): one for one in change.put_endpoints}
        gone = {*change.remove_endpoints}
        self._ended = {
            key: named.get(key, one)
            for key, one in self._ended.items()
            if (key in named if change.full else key not in gone and key[0] not in change.remove_networks)
        }
        kept = tuple(one for key, one in named.items() if key not in self._ended)
        return change if len(kept) == len(named) else replace(change, put_endpoints=kept)

    def _record(self, task: Task) -> TaskRecord:
        drivers = ("overlay", "bridge")  # The bridge that every node has of its own gives no addresses.
        attachments = [one for one in task.networks_attachments if one.network.driver in drivers and one.addresses]
        said = _endpoint_options(task)
        options = [said.get(one.network.id, EndpointOptions()) for one in attachments]
        devices = device_names((one.device for one in options), len(options))
        dns = task.spec.container_spec.dns_config
        return TaskRecord(
            task_id=task.id,
            links=tuple(
                LinkRecord(network=self._network(one), device=device, addresses=one.addresses, settings=asked.settings)
                for one, device, asked in zip(attachments, devices, options, strict=True)
            ),
            nameservers=tuple(dns.nameservers) if dns is not None else (),
        )

    def _network(self, attachment: NetworkAttachment) -> OverlayNetwork:
        """Return a network as the managers told of it, else as the task has it."""
        network = attachment.network
        if (known := self.state.get(network.id)) is not None:
            return known.network
        return OverlayNetwork(
            id=network.id,
            name=network.spec.name,
            vxlan_id=network.vxlan_id,
            configs=network.ipam_options.configs if network.ipam_options is not None else (),
            mtu=network.asked_mtu,
            internal=network.spec.internal,
            ingress=network.spec.ingress,
            encrypted=network.spec.encrypted,
        )

    def _attached_task(self, record: TaskRecord) -> AttachedTask:
        return AttachedTask(
            task_id=record.task_id,
            namespace=self._namespaces / record.task_id,
            networks=tuple(link.network.id for link in record.links),
            link_address=self._links.address(record.task_id),
            nameservers=record.nameservers,
        )

    def _opened(self, network_id: str, path: Path) -> None:
        self._open[network_id] = path
        for listener in self._listeners:
            listener.opened(network_id, path)

    def _spared(self, name: str) -> bool:
        """Whether a namespace is none of `links`'."""
        return name.startswith(FILE_PREFIX) or name in self._overlays.tasks


def _is_outward(task: Task, record: TaskRecord) -> bool:
    """Whether a task has a link to the node itself: it has a way out, or ports of the node's."""
    local = any(one.network.driver == "bridge" and not one.addresses for one in task.networks_attachments)
    return local or bool(task.host_ports) or any(not link.network.internal for link in record.links)


def _outward_device(record: TaskRecord) -> str:
    """Return what a task calls its link to the node itself."""
    return device_names((link.device for link in record.links), len(record.links) + 1)[-1]


def _endpoint_options(task: Task) -> dict[str, EndpointOptions]:
    """Return what was said of a task's place on each network, by the network's id.  Raises `NetworkFailed`."""
    try:
        return {one.target: endpoint_options(one.driver_opts) for one in task.spec.networks if one.driver_opts}
    except ValueError as error:
        raise NetworkFailed("options of a network", str(error)) from None


def _own_addresses(record: TaskRecord) -> tuple[str, ...]:
    """Return a task's own addresses: not that of the ingress network, unless it has no other."""
    links = [link for link in record.links if not link.network.ingress] or list(record.links)
    return tuple(address.partition("/")[0] for link in links for address in link.addresses)
