"""The routing mesh of a node: published ports that lead to a service's tasks, on whichever nodes they run.

Not pure.  Opened by `vault.daemon.compose`, told by `NodeNetworks`.  Changes are coalesced: while one is programmed the
next ones gather.  An endpoint that leaves is led no new connections; those it has stay with the kernel until they end.

State is the kernel's, and one record in RUN_ROOT that says which addresses the wire into the overlay has and which
ports are published or had by somebody else; `vault doctor network` reads it.  Rules stay when vaultd stops.
"""

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from vault.model.overlay import OverlayNetwork
from vault.network.kernel.programs import NetworkFailed
from vault.network.links import kernel as links_kernel
from vault.network.links.names import Names
from vault.network.links.ports import NOT_TRACKED, held_if_possible, is_led
from vault.network.mesh import kernel as mesh_kernel
from vault.network.mesh import rules
from vault.network.mesh.kernel import Side
from vault.network.mesh.plan import Plan, PortKey, flows_to_forget_here, flows_to_forget_there, mesh_plan, remote_part
from vault.network.mesh.rules import Table, Wire
from vault.network.overlay.listener import AttachedTask
from vault.network.overlay.state import OverlayState

logger = logging.getLogger(__name__)
RECORD: Final = "mesh.json"
_LOOK_AGAIN_S: Final = 15.0  # For rules that somebody flushed, and ports that somebody gave back.
_FIRST_RETRY_S: Final = 0.2
_LAST_RETRY_S: Final = 15.0


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A port as the record has it."""

    protocol: str
    published_port: int
    service: str
    taken: bool = False  # Here it is not published: somebody else has it on this node, or `why`.
    why: str = ""


class MeshRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a later vaultd, and a person who looks, must know."""

    subnet: str  # Of the wire.
    namespace: str  # File of the ingress overlay's namespace.
    ports: tuple[PublishedPort, ...] = ()


class _Place(NamedTuple):
    """Where the ingress overlay is on this node."""

    namespace: Path
    identity: int  # Another one at the same path is another namespace, with nothing of ours in it.
    own: IPv4Address | None


@dataclass(slots=True, kw_only=True)
class _Done:
    """What the kernel has been told, as far as this vaultd knows; without tables, all is to be said anew."""

    place: _Place | None = None
    wire: Wire | None = None
    inside: Side | None = None  # Of the place.
    plan: Plan = field(default_factory=dict)
    node: Table | None = None
    inner: Table | None = None

    def forget(self) -> None:
        """Say both tables anew next time."""
        if self.inside is not None:
            self.inside.close()
        self.inside = self.place = self.node = self.inner = None


class Mesh:
    """The published ports of this node."""

    def __init__(self, run_root: Path) -> None:
        self._names = Names(run_root)
        self._record = run_root / RECORD
        self._namespaces: dict[str, Path] = {}  # Of overlays, by network id.
        self._state: OverlayState | None = None
        self._links: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._sockets: dict[PortKey, socket.socket | None] = {}  # None: held without one.
        self._taken: dict[PortKey, str] = {}  # With what is in the way, but for another program.
        self._done = _Done()
        self._own: Side | None = None  # The node's own namespace.
        self._complained = ""

    def told(self, state: OverlayState) -> None:
        """Take note of networks, endpoints and services."""
        self._state = state
        self._changed()

    def opened(self, network_id: str, namespace: Path) -> None:
        """Take note of an overlay's namespace."""
        self._namespaces[network_id] = namespace
        self._changed()

    def attached(self, task: AttachedTask) -> None:
        """Take note of a task of this node, which from now on is reached by its own link."""
        if task.link_address:
            self._links[task.task_id] = task.link_address
            self._changed()

    def detached(self, task_id: str) -> None:
        """Take note that a task's links are about to go; that it no longer serves is told as well."""
        self._links.pop(task_id, None)

    async def settled(self) -> None:
        """Wait until everything told so far is in the kernel."""
        await self._settled.wait()

    async def run(self) -> None:
        """Program what is told, until cancelled; then ports are let go of, and the rules stay."""
        pause_s = _FIRST_RETRY_S
        try:
            while True:
                self._wake.clear()
                try:
                    done = await self._program()
                except (NetworkFailed, OSError) as failed:
                    self._complain(str(failed))
                    self._done.forget()
                    wait_s, pause_s = pause_s, min(pause_s * 2, _LAST_RETRY_S)
                else:
                    self._complained, wait_s, pause_s = "", _LOOK_AGAIN_S, _FIRST_RETRY_S
                    if done and not self._wake.is_set():
                        self._settled.set()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait_s)
        finally:
            self._release(set(self._sockets))
            self._done.forget()
            if self._own is not None:
                self._own.close()
                self._own = None

    def _changed(self) -> None:
        self._settled.clear()
        self._wake.set()

    def _complain(self, why: str) -> None:
        if why != self._complained:
            logger.warning("mesh_not_programmed", extra={"err": why})
        self._complained = why

    async def _program(self) -> bool:
        """Bring the kernel up to what was told; return whether that was possible yet."""
        if self._state is None:
            return False
        ingress = self._state.ingress
        wanted = mesh_plan(ingress, self._links)
        if ingress is None or not wanted:
            await self._remove()
            return True
        place = self._place(ingress.network)
        if place is None:
            return False
        self._hold(wanted)
        plan = {key: port for key, port in wanted.items() if key in self._sockets}
        await self._wired(place)
        if place.own is None:  # The managers have not given this node its address yet; tasks of its own answer.
            plan = {key: port._replace(elsewhere=()) for key, port in plan.items()}
        await self._rules(plan, place)
        self._release(self._sockets.keys() - plan.keys())
        self._write(place, wanted)
        return True

    def _place(self, network: OverlayNetwork) -> _Place | None:
        """Return where the ingress overlay is; None until we are told."""
        namespace = self._namespaces.get(network.id)
        identity = mesh_kernel.identity(namespace) if namespace is not None else 0
        if namespace is None or not identity:
            return None
        return _Place(namespace, identity, mesh_kernel.own_address(network.node_address))

    async def _wired(self, place: _Place) -> None:
        """Have a wire into the overlay: the one that is there, or a new one."""
        wire = self._done.wire or self._recorded_wire()
        if wire is not None and await mesh_kernel.is_wired(place.namespace, wire):
            self._done.wire = wire
            return
        await links_kernel.delete_link(self._names.mesh_link)
        wire = await mesh_kernel.free_wire(self._names)
        self._keep(MeshRecord(subnet=f"{wire.node - 1}/30", namespace=str(place.namespace)))
        await mesh_kernel.make_wire(place.namespace, wire)
        self._done.forget()
        self._done.wire = wire
        if links_kernel.forward_packets():
            logger.warning("ip_forward_enabled")

    async def _rules(self, plan: Plan, place: _Place) -> None:
        """Bring both tables up to a plan; the way behind the wire is there before anybody is led into it."""
        done, wire = self._done, self._done.wire
        assert wire is not None
        if done.place != place or not await self._intact():
            done.forget()
        here, inside = await self._here(), done.inside or await Side.open(place.namespace)
        done.place, done.inside = place, inside
        before, remote = remote_part(done.plan), remote_part(plan)
        await self._inner({**before, **remote}, inside)
        await self._node(plan, here)
        await self._inner(remote, inside)
        await here.forget([*flows_to_forget_here(done.plan, plan, str(wire.inner))])
        await inside.forget([*flows_to_forget_there(done.plan, plan)])
        done.plan = plan

    async def _here(self) -> Side:
        self._own = self._own or await Side.open()
        return self._own

    async def _intact(self) -> bool:
        """Whether our tables are there; a firewall that is loaded anew may have flushed everybody's."""
        done = self._done
        if done.node is None or done.inner is None or done.inside is None:
            return False
        if await (await self._here()).has_table(done.node.name) and await done.inside.has_table(done.inner.name):
            return True
        logger.warning("mesh_rules_lost")
        return False

    async def _node(self, plan: Plan, side: Side) -> None:
        assert self._done.wire is not None
        table = rules.node_table(self._names, plan, self._done.wire)
        before, self._done.node = self._done.node, None
        await side.program(
            rules.whole_node_table(table, self._done.wire) if before is None else rules.changed_table(before, table)
        )
        self._done.node = table

    async def _inner(self, remote: Plan, side: Side) -> None:
        wire, place = self._done.wire, self._done.place
        assert wire is not None
        assert place is not None
        table = rules.inner_table(remote)
        before, self._done.inner = self._done.inner, None
        await side.program(
            rules.whole_inner_table(table, wire, place.own or wire.inner)
            if before is None
            else rules.changed_table(before, table)
        )
        self._done.inner = table

    async def _remove(self) -> None:
        """Leave nothing: no table, no wire, no port, no record."""
        self._release(set(self._sockets))
        self._taken = {}
        if not self._record.exists():
            return
        plan, wire = self._done.plan, self._done.wire or self._recorded_wire()
        self._done.forget()
        here, record = await self._here(), _read(self._record)
        await here.program(rules.no_table(self._names.mesh_table))
        if record is not None and mesh_kernel.identity(namespace := Path(record.namespace)):
            inside = await Side.open(namespace)
            await inside.program(rules.no_table(rules.INNER_TABLE))
            inside.close()
        await links_kernel.delete_link(self._names.mesh_link)
        await here.forget([*flows_to_forget_here(plan, {}, str(wire.inner) if wire else "")])
        self._done = _Done()
        self._record.unlink(missing_ok=True)

    def _hold(self, plan: Plan) -> None:
        """Hold the ports of a plan, so that other programs see them as taken; note those that somebody else has."""
        taken: dict[PortKey, str] = {}
        for key in sorted(plan.keys() - self._sockets.keys()):
            if not is_led(key.protocol):
                taken[key] = why = NOT_TRACKED
            else:
                try:
                    self._sockets[key] = held_if_possible(key.protocol, key.published)
                    continue
                except OSError as error:
                    taken[key], why = "", (error.strerror or str(error)).lower()
            if key not in self._taken:
                extra = {"protocol": key.protocol, "port": key.published, "service": plan[key].service, "err": why}
                logger.warning("port_not_published_on_this_node", extra=extra)
        self._taken = taken

    def _release(self, keys: "set[PortKey]") -> None:
        for key in keys:
            if (held := self._sockets.pop(key)) is not None:
                held.close()

    def _recorded_wire(self) -> Wire | None:
        record = _read(self._record)
        return None if record is None else mesh_kernel.wire_in(self._names, IPv4Network(record.subnet))

    def _write(self, place: _Place, wanted: Plan) -> None:
        assert self._done.wire is not None
        ports = tuple(
            PublishedPort(
                protocol=key.protocol,
                published_port=key.published,
                service=port.service,
                taken=key in self._taken,
                why=self._taken.get(key, ""),
            )
            for key, port in sorted(wanted.items())
        )
        subnet = f"{self._done.wire.node - 1}/30"
        self._keep(MeshRecord(subnet=subnet, namespace=str(place.namespace), ports=ports))

    def _keep(self, record: MeshRecord) -> None:
        """Write the record whole or not at all; a crash of the machine loses it together with what it tells of."""
        data = msgspec.json.encode(record)
        fresh = self._record.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.rename(self._record)


def _read(path: Path) -> MeshRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=MeshRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, ValueError):
        logger.warning("mesh_record_unreadable", extra={"path": str(path)})
        return None
