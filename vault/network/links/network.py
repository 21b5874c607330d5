"""Links of tasks with `mode: host` ports: a namespace each, a link to the host, and rules for the ports.

Not pure.  Opened by `vault.daemon.compose`, called by the agent's runners.  Each task has a veth pair of its own and a
routed address; there is no bridge, so what br_netfilter or a neighbour on a bridge might do cannot happen.  The rules
live in one nftables table of our own; nobody else's table is read or written.  Where a firewall of the host drops
forwarded packets (Docker sets that policy), only this host reaches published ports until the operator allows more.

State is the kernel's, and one small record a task in RUN_ROOT/network, written before its link is made and removed
after it is gone, so that the next vaultd finds everything.  Not published: IPv6 addresses of the host.
"""

import asyncio
import contextlib
import logging
import shutil
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, Self

import msgspec

from vault.model.service import PortConfig
from vault.network.kernel.namespaces import drop_namespace, is_namespace
from vault.network.kernel.programs import NetworkFailed, run
from vault.network.links import kernel
from vault.network.links import names as rules
from vault.network.links.names import Attachment, Binding, Names
from vault.network.links.ports import hold, hold_again

logger = logging.getLogger(__name__)
_SUBNET: Final = "subnet"


@dataclass(slots=True, kw_only=True)
class _Held:
    """A task's link while this vaultd runs."""

    attachment: Attachment
    sockets: list[socket.socket]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class NodeNetwork:
    """The links of this node's tasks."""

    def __init__(self, run_root: Path, spared: Callable[[str], bool] = lambda name: False) -> None:
        """spared: whether a namespace of that file name is somebody else's."""
        self._names = Names(run_root)
        self._spared = spared
        self._records = run_root / "network"
        self._namespaces = run_root / "netns"
        self._held: dict[str, _Held] = {}
        self._jobs: dict[str, asyncio.Task[None]] = {}  # Creations under way.
        self._subnet: IPv4Network | None = None
        self._last_address = IPv4Address(0)
        self._table_there = False  # As far as this vaultd knows.
        self._table = asyncio.Lock()  # Subnet and table: made with the first task, removed with the last.

    @classmethod
    async def open(cls, run_root: Path, spared: Callable[[str], bool] = lambda name: False) -> Self:
        """Take over what an earlier vaultd left; what a restart of the machine broke is removed."""
        network = cls(run_root, spared)
        if not network._records.is_dir():
            return network
        network._subnet = _read_subnet(network._records / _SUBNET)
        for path in network._records.glob("*.json"):
            network._take_over(path)
        for task_id in list(network._held):
            if network._subnet is None or not is_namespace(network.namespace(task_id)):
                await network.remove(task_id)
        await network._tidy()
        return network

    def namespace(self, task_id: str) -> Path:
        """Return the file of a task's namespace."""
        return self._namespaces / task_id

    def published(self, task_id: str) -> tuple[PortConfig, ...]:
        """Return the ports that are open for a task, with the numbers that were chosen; () for one without a link."""
        held = self._held.get(task_id)
        return () if held is None else tuple(_port(binding) for binding in held.attachment.bindings)

    def address(self, task_id: str) -> str:
        """Return the address of a task's link; empty for one without."""
        held = self._held.get(task_id)
        return "" if held is None else held.attachment.address

    def gateway(self, task_id: str) -> str:
        """Return the address at which a task reaches this node; empty for one without a link."""
        return str(rules.gateway(self._subnet)) if self._subnet is not None and task_id in self._held else ""

    async def create(self, task_id: str, *, ports: tuple[PortConfig, ...], device: str = "eth0") -> Path:
        """Make a link, and a namespace if the task has none yet, whose ports answer on the host; return its file.

        device: what the task calls the link; its default route leads through it.

        Raises `PortNotPublished` in Docker's words when a port is taken, `NetworkFailed` when the kernel refuses; then
        nothing is left.  Cancelled, it finishes in the background, and `remove` waits for it.
        """
        assert task_id not in self._jobs, "a creation that was broken off is waited for by remove"
        job = asyncio.create_task(self._create(task_id, ports, device), name=f"link {task_id}")
        self._jobs[task_id] = job
        job.add_done_callback(lambda done: self._ended(task_id, done))
        await asyncio.shield(job)
        return self.namespace(task_id)

    async def remove(self, task_id: str) -> None:
        """Remove a task's namespace, link and ports; nothing to do is no error.  Safe to repeat."""
        if (job := self._jobs.get(task_id)) is not None:
            await asyncio.wait({job})
        await self._remove(task_id)

    async def reap(self, known: Collection[str]) -> None:
        """Remove what belongs to no known task, and restore the rules of those that do."""
        for task_id in [i for i in self._held if i not in known]:
            await self.remove(task_id)
        async with self._table:
            await self._sweep()
            if self._held:
                await self._rewrite()
        await self._tidy()

    async def _create(self, task_id: str, ports: tuple[PortConfig, ...], device: str) -> None:
        await self._remove(task_id)  # What a vaultd left that ended in the middle of this.
        try:
            async with self._table:
                await self._ready()
                attachment = self._hold(task_id, ports)
            await _both(self._publish(attachment), self._link(attachment, device))
        except Exception:  # Whatever failed, half a link must not stay; it is raised again.
            try:
                await self._remove(task_id)
                await self._tidy()
            except NetworkFailed as failed:  # The first error is the one to tell; `reap` removes the rest.
                logger.warning("link_not_undone", extra={"task_id": task_id, "err": failed.message})
            raise

    def _ended(self, task_id: str, job: "asyncio.Task[None]") -> None:
        del self._jobs[task_id]
        if not job.cancelled():
            job.exception()  # Seen; a caller that still waits gets it as well.

    async def _remove(self, task_id: str) -> None:
        held = self._held.get(task_id)
        if held is None:
            return
        async with held.lock:
            if self._held.get(task_id) is not held:
                return
            await _both(self._withdraw(held.attachment), kernel.delete_link(self._names.link(task_id)))
            drop_namespace(self.namespace(task_id))
            (self._records / f"{task_id}.json").unlink(missing_ok=True)
            del self._held[task_id]
            for each in held.sockets:
                each.close()
        await self._tidy()

    def _take_over(self, path: Path) -> None:
        try:
            attachment = msgspec.json.decode(path.read_bytes(), type=Attachment)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            logger.warning("link_record_unreadable", extra={"path": str(path)})
            path.unlink(missing_ok=True)
            return
        sockets, lost = hold_again(attachment)
        if lost:
            ports = [binding.published_port for binding in lost]
            logger.warning("ports_taken_meanwhile", extra={"task_id": attachment.task_id, "ports": ports})
        self._held[attachment.task_id] = _Held(attachment=attachment, sockets=sockets)

    def _hold(self, task_id: str, ports: tuple[PortConfig, ...]) -> Attachment:
        """Choose address and ports and write the record, in one step that no other task can come between."""
        assert self._subnet is not None
        others = [held.attachment for held in self._held.values()]
        sockets, bindings = hold(task_id, ports, others)
        address = rules.free_address(self._subnet, {each.address for each in others}, self._last_address)
        if address is None:
            raise NetworkFailed("addresses", f"all of {self._subnet} are in use: stop tasks on this node")
        self._last_address = address
        attachment = Attachment(task_id=task_id, address=str(address), bindings=tuple(bindings))
        self._held[task_id] = _Held(attachment=attachment, sockets=sockets)
        _write(self._records / f"{task_id}.json", msgspec.json.encode(attachment))
        return attachment

    async def _link(self, attachment: Attachment, device: str) -> None:
        assert self._subnet is not None
        await kernel.make_link(
            self.namespace(attachment.task_id),
            self._names.link(attachment.task_id),
            host=rules.gateway(self._subnet),
            task=IPv4Address(attachment.address),
            device=device,
        )

    async def _publish(self, attachment: Attachment) -> None:
        async with self._table:
            if not attachment.bindings and self._table_there:
                return
            await self._change("add", attachment)
        for binding in attachment.bindings:
            if binding.protocol == "udp":  # A flow that began before the rule would never be led to the task.
                await kernel.forget_flows("--orig-port-dst", str(binding.published_port))

    async def _withdraw(self, attachment: Attachment) -> None:
        async with self._table:
            if attachment.bindings and len(self._held) > 1:  # With the last one the table itself goes, in `_tidy`.
                await self._change("delete", attachment)
        if any(binding.protocol == "udp" for binding in attachment.bindings):
            await kernel.forget_flows("--reply-src", attachment.address)

    async def _change(self, verb: str, attachment: Attachment) -> None:
        """Add or delete a task's ports in the table; when that fails, replace the whole table."""
        if not self._table_there:
            await self._rewrite(without=attachment.task_id if verb == "delete" else "")
            return
        try:
            await run("nft", "-f", "-", script=rules.change_elements(verb, self._names, attachment))
        except NetworkFailed:  # There is no table yet, or somebody flushed it.
            await self._rewrite(without=attachment.task_id if verb == "delete" else "")

    async def _rewrite(self, *, without: str = "") -> None:
        """Replace the whole table by what is held."""
        kept = [held.attachment for task_id, held in self._held.items() if task_id != without]
        script = rules.whole_table(self._names, self._subnet, kept) if self._subnet else rules.no_table(self._names)
        await run("nft", "-f", "-", script=script)
        self._table_there = True

    async def _ready(self) -> None:
        """Have a subnet, claimed by a route that shows it as taken to every other program."""
        if self._subnet is not None:
            return
        self._records.mkdir(mode=0o700, exist_ok=True)
        for subnet in rules.free_subnets(await kernel.taken_networks(), self._names.seed):
            _write(self._records / _SUBNET, str(subnet).encode())  # First, so that a route never outlives its record.
            try:
                await run("ip", "route", "add", "unreachable", str(subnet))
            except NetworkFailed:  # Another vaultd was faster.
                continue
            break
        else:
            raise NetworkFailed("addresses", "no free subnet in 172.20.0.0/14, 192.168.128.0/17 or 10.240.0.0/12")
        self._subnet = subnet
        if kernel.forward_packets():
            logger.warning("ip_forward_enabled")

    async def _tidy(self) -> None:
        """Leave nothing behind the last task: no table, no route, no directory."""
        async with self._table:
            if self._held or not self._records.is_dir():
                return
            await self._sweep()
            self._table_there = False
            await run("nft", "-f", "-", script=rules.no_table(self._names))
            if self._subnet is not None:
                with contextlib.suppress(NetworkFailed):  # The machine was restarted: it is gone.
                    await run("ip", "route", "delete", "unreachable", str(self._subnet))
            self._subnet = None
            shutil.rmtree(self._records, ignore_errors=True)
            with contextlib.suppress(OSError):  # Others have namespaces there.
                self._namespaces.rmdir()

    async def _sweep(self) -> None:
        """Remove links and namespaces that bear our names and belong to no task."""
        mine = {self._names.link(task_id) for task_id in self._held}
        for link in kernel.links_named(self._names.link_prefix):
            if link not in mine:
                await kernel.delete_link(link)
        for path in self._namespaces.glob("*"):
            if path.name not in self._held and not self._spared(path.name):
                drop_namespace(path)


async def _both(one: Awaitable[None], other: Awaitable[None]) -> None:
    """Wait for both, however either ends; raise the first error."""
    for result in await asyncio.gather(one, other, return_exceptions=True):
        if result is not None:
            raise result


def _port(binding: Binding) -> PortConfig:
    return PortConfig(
        protocol=binding.protocol,
        target_port=binding.target_port,
        published_port=binding.published_port,
        publish_mode="host",
    )


def _read_subnet(path: Path) -> IPv4Network | None:
    try:
        return IPv4Network(path.read_text())
    except (OSError, ValueError):
        return None


def _write(path: Path, data: bytes) -> None:
    """Write whole or not at all; what a crash of the machine loses is lost together with the links."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.rename(path)
