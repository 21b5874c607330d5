"""The underlay of encrypted overlay networks on this node: its WireGuard devices, and the ways to its peers.

Not pure.  Opened by `vault.daemon.compose`; told by the agent what the managers say, and by the overlays with which
nodes this one shares an encrypted network.  `run` brings the machine to that, again and again, until cancelled: what
vanished is made anew, what a vaultd before this one made is taken over.

What was told is kept in RUN_ROOT/wireguard, keys sealed as they came, so that a restarted vaultd goes on without
managers.  Devices and routes are the kernel's, or those of processes that live on by themselves.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Protocol, Self

import msgspec

from vault.crypto.errors import CryptoError
from vault.crypto.wireguard_seal import WireGuardKey
from vault.model.errors import VaultError
from vault.model.node import EncryptionKey, EncryptionMeans
from vault.model.overlay import OverlayEncryption
from vault.network.kernel.programs import NetworkFailed
from vault.network.links.names import Names
from vault.network.overlay.state import Overlay, OverlayState
from vault.network.wireguard.contact import Contacts
from vault.network.wireguard.kernel import KernelDevice
from vault.network.wireguard.links import Links
from vault.network.wireguard.messages import State
from vault.network.wireguard.plan import OVERHEAD_BYTES, Device, Peer, Plan, applied, epoch_in_use, planned, ways
from vault.network.wireguard.probe import KERNEL, MISSING, Probe, probe
from vault.network.wireguard.process import ProcessDevice, prefix_of
from vault.network.wireguard.silence import Silence

logger = logging.getLogger(__name__)
READY_S: Final = 10.0  # How long a task waits for the underlay.
CHECK_S: Final = 30.0  # Between looks when nothing is known to be amiss.
RETRY_S: Final = 1.0
ENDING_S: Final = 0.01
SEEK_S: Final = (0.05, 1.0)  # Between looks at peers that were not met yet: at first, and at most.

OpenKey = Callable[[EncryptionKey], WireGuardKey]
Look = Callable[[], Awaitable[Probe]]


class Tunnel(Protocol):
    """A device, of the kernel or of a process."""

    @property
    def name(self) -> str: ...
    async def state(self) -> State | None: ...
    async def create(self, key: WireGuardKey, port: int) -> None: ...
    async def change(self, put: list[Peer], remove: list[bytes], speak: set[bytes]) -> None: ...
    async def ended(self) -> None: ...
    def clear(self) -> None: ...


@dataclass(slots=True)
class _Made:
    """What this vaultd knows of a device beyond what the device says."""

    tunnel: Tunnel
    watch: "asyncio.Task[None] | None" = None
    endpoints: dict[bytes, tuple[str, int]] = field(default_factory=dict)  # As told; a peer may have moved since.
    contacts: Contacts = field(default_factory=Contacts)


class WireGuard:
    """The underlay of one node."""

    def __init__(self, run_root: Path, look: Look = probe) -> None:
        """look: finds out what this machine can; asked again while that is nothing."""
        self._directory = run_root / "wireguard"
        self._record = self._directory / "told.json"
        self._look = look
        self._by = ""
        self._prefix = prefix_of(run_root)
        self._links = Links(self._prefix, Names(run_root).table)
        self._told = _read(self._record)
        self._inside = _inside(self._told)
        self._state: OverlayState | None = None  # None: not told yet, so that nothing that runs is touched.
        self._nodes: dict[str, tuple[Overlay, frozenset[str]]] = {}  # Of encrypted networks, as last looked at.
        self._open_key: OpenKey | None = None
        self._made: dict[str, _Made] = {}
        self._ways: dict[IPv4Address, str] | None = None  # None: not looked at yet.
        self._ready = asyncio.Event()  # Set while packets can leave by a device.
        self._guarded_s: float | None = None
        self._epoch = 0
        self._silence = Silence()
        self._trouble = ""
        self._changed: Callable[[], None] = lambda: None
        self._news = asyncio.Event()
        self._settled = asyncio.Event()  # Set once what was told last was done.

    @classmethod
    async def open(cls, run_root: Path, look: Look = probe) -> Self:
        """Take over what an earlier vaultd left; `run` does the rest."""
        made = cls(run_root, look)
        made._by = (await look()).by
        return made

    # For the daemon and the agent.

    def join(self, open_key: OpenKey) -> None:
        """Take part in a swarm.  open_key: opens what was sealed to this node."""
        self._open_key = open_key
        self._look_again()

    def follow(self, changed: Callable[[], None]) -> None:
        """Call something whenever `means` is another than before."""
        self._changed = changed

    @property
    def means(self) -> EncryptionMeans | None:
        """What this node says of itself; None when it cannot encrypt."""
        return EncryptionMeans(by=self._by, epoch=self._epoch) if self._by else None

    async def settled(self) -> None:
        """Return once what was told last was done; a key exchange may still be under way."""
        await self._settled.wait()

    # For overlays; `vault.network.overlay.network.Tunnels`.

    @property
    def grows_bytes(self) -> int:
        """What a packet grows by."""
        return OVERHEAD_BYTES

    @property
    def local(self) -> str:
        """This node's address inside; "" while it has none."""
        return self._told.own.address if self._told.own is not None else ""

    def outside(self, node_id: str) -> str:
        """Return another node's address inside; "" for one that is not known."""
        return self._inside.get(node_id, "")

    def tell(self, change: OverlayEncryption) -> None:
        """Take note of what the managers say of keys and peers."""
        told = applied(self._told, change)
        if told != self._told:
            self._told, self._inside = told, _inside(told)
            if told.own is not None:
                _write(self._record, told)
            self._look_again()

    def told(self, state: OverlayState) -> None:
        """Take note of the nodes with which this one shares an encrypted network."""
        had = {network_id: nodes for network_id, (_, nodes) in self._nodes.items()}
        found: dict[str, tuple[Overlay, frozenset[str]]] = {}
        for overlay in state:
            if not overlay.network.encrypted:
                continue
            known = self._nodes.get(overlay.network.id)
            if known is None or known[0] is not overlay:
                known = overlay, frozenset(endpoint.node_id for endpoint in overlay.endpoints.values())
            found[overlay.network.id] = known
        first, self._state, self._nodes = self._state is None, state, found
        if first or had != {network_id: nodes for network_id, (_, nodes) in found.items()}:
            self._look_again()

    async def ready(self) -> None:
        """Return once encrypted packets can leave from here.  Raises `NetworkFailed`."""
        if not self._by:
            raise NetworkFailed("encryption", MISSING)
        try:
            async with asyncio.timeout(READY_S):
                await self._ready.wait()
        except TimeoutError:
            why = self._trouble or "the keys of this node have not come from the managers yet"
            raise NetworkFailed("encryption", why) from None

    # Inside.

    def _look_again(self) -> None:
        self._settled.clear()
        self._news.set()

    async def run(self) -> None:
        """Bring devices, ways and rules to what was told, until cancelled; they stay when it is."""
        try:
            await self._keep()
        finally:
            for made in self._made.values():
                if made.watch is not None:
                    made.watch.cancel()

    async def _keep(self) -> None:
        pause_s = SEEK_S[0]
        while True:
            if self._news.is_set():
                self._news.clear()
                pause_s = SEEK_S[0]
            try:
                await self._find_means()
                complete = await self._reconcile()
            except (VaultError, OSError) as error:
                self._failed(error.message if isinstance(error, VaultError) else str(error.strerror))
                wait_s = RETRY_S
            else:
                self._trouble = ""
                if not self._news.is_set():
                    self._settled.set()
                wait_s = CHECK_S if complete else pause_s
                pause_s = min(1.3 * pause_s, SEEK_S[1])
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    def _failed(self, why: str) -> None:
        if why != self._trouble:
            logger.warning("encryption_failed", extra={"reason": why})
        self._trouble = why

    async def _reconcile(self) -> bool:
        """Do all that is to be done; return whether every peer was met by the newest device."""
        if self._told.own is None:
            await self._clear()
            return True
        needed = frozenset[str]().union(*(nodes for _, nodes in self._nodes.values()))
        plan = planned(self._told, needed, self._prefix)
        if plan is None or self._state is None or self._open_key is None or not self._by:
            return True
        self._directory.mkdir(mode=0o700, exist_ok=True)
        await self._guard()
        met = {device.name: await self._bring(plan, device) for device in plan.devices}
        self._tell_of_silence(plan, met)
        for name in await self._links.names():
            if name not in met:
                await self._delete(name)
        if self._ways is None:
            self._ways = await self._links.ways()
        found = ways(plan, met, self._ways)
        await self._links.lead(plan.address, self._ways, {way.address: way.device for way in found})
        self._ways = {way.address: way.device for way in found}
        self._ready.set()
        self._use(epoch_in_use(plan, found, met))
        return self._epoch == plan.devices[-1].epoch

    def _tell_of_silence(self, plan: Plan, met: Mapping[str, frozenset[bytes]]) -> None:
        """Say whom this node waits for: it does without them, and a rotation of keys does not end."""
        for one in self._silence.look(plan, met, asyncio.get_running_loop().time()):
            if one.addresses:
                logger.warning("encryption_peers_silent", extra=one.fields)
            else:
                logger.info("encryption_peers_answer", extra={"epoch": one.epoch, "udp_port": one.port})

    async def _find_means(self) -> None:
        """Look again whether this machine can encrypt, while it cannot: somebody may install what is missing."""
        if not self._by:
            self._by = (await self._look()).by
            if self._by:
                self._changed()

    def _tunnel(self, name: str) -> Tunnel:
        return KernelDevice(name) if self._by == KERNEL else ProcessDevice(name, self._directory)

    async def _guard(self) -> None:
        """Have the rules, before the first device and again now and then: somebody may have flushed them."""
        now_s = asyncio.get_running_loop().time()
        if self._guarded_s is None or now_s - self._guarded_s >= CHECK_S:
            await self._links.guard()
            self._guarded_s = now_s

    async def _bring(self, plan: Plan, device: Device) -> frozenset[bytes]:
        """Make a device what it should be; return the public keys of the peers that it has met."""
        assert self._open_key is not None
        made = self._made.setdefault(device.name, _Made(self._tunnel(device.name)))
        state = await made.tunnel.state()
        try:
            key = self._open_key(device.key)
        except CryptoError as error:
            raise NetworkFailed("encryption", f"a key is not for this node: {error.message}") from None
        if state is None or state.key is None or state.key != key or state.port != device.port:
            await self._delete(device.name)
            made = self._made[device.name] = _Made(self._tunnel(device.name))
            await made.tunnel.create(key, device.port)
            await self._links.set_up(device.name, plan.address)
            state = State(key, device.port, ())
            logger.info("encryption_device_made", extra={"device": device.name, "epoch": device.epoch})
        elif made.watch is None:
            await self._links.set_up(device.name, plan.address)
        self._watch(made)
        await self._match(made, device, state)
        return frozenset(peer.public_key for peer in state.peers if peer.met)

    async def _match(self, made: _Made, device: Device, state: State) -> None:
        """Give a device the peers it should have, and touch no other: their sessions go on."""
        seen = {peer.public_key: peer for peer in state.peers}
        put: dict[bytes, Peer] = {}
        remove = [public_key for public_key in seen if public_key not in device.peers]
        met = {public_key for public_key, peer in seen.items() if peer.met}
        speak = made.contacts.due(device.peers, met, asyncio.get_running_loop().time())
        for public_key, peer in device.peers.items():
            has, told = seen.get(public_key), (peer.endpoint, peer.port)
            same = has is not None and has.addresses == (f"{peer.address}/32",) and has.endpoint
            if not same or made.endpoints.setdefault(public_key, told) != told or public_key in speak:
                put[public_key] = peer
        if put or remove:
            again = [public_key for public_key in speak if public_key in seen]
            await made.tunnel.change(list(put.values()), remove + again, speak)
        made.endpoints = {peer.public_key: (peer.endpoint, peer.port) for peer in device.peers.values()}

    def _watch(self, made: _Made) -> None:
        """Look again as soon as a device's process ends."""
        if made.watch is None:

            async def wait() -> None:
                await made.tunnel.ended()
                made.watch = None
                self._news.set()

            made.watch = asyncio.create_task(wait(), name=f"watch {made.tunnel.name}")

    async def _delete(self, name: str) -> None:
        """Delete a device, and wait until its process is gone; none of that name is no error."""
        made = self._made.pop(name, None)
        tunnel = made.tunnel if made is not None else self._tunnel(name)
        if made is not None and made.watch is not None:
            made.watch.cancel()
        await self._links.delete(name)
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                while await tunnel.state() is not None:
                    await asyncio.sleep(ENDING_S)
        tunnel.clear()
        if self._ways is not None:
            self._ways = {address: device for address, device in self._ways.items() if device != name}

    async def _clear(self) -> None:
        """Leave nothing: this node is on no encrypted network."""
        self._ready.clear()
        self._silence = Silence()
        if not self._directory.exists():
            return
        for name in await self._links.names():
            await self._delete(name)
        await self._links.no_guard()
        self._ways = self._guarded_s = None
        self._record.unlink(missing_ok=True)
        with suppress(OSError):
            self._directory.rmdir()
        self._use(0)

    def _use(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._changed()


def _inside(told: OverlayEncryption) -> dict[str, str]:
    return {peer.node_id: peer.address for peer in told.put_peers}


def _read(path: Path) -> OverlayEncryption:
    try:
        return msgspec.json.decode(path.read_bytes(), type=OverlayEncryption)
    except FileNotFoundError:
        return OverlayEncryption(full=True)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        logger.warning("encryption_record_unreadable", extra={"path": str(path)})
        return OverlayEncryption(full=True)


def _write(path: Path, told: OverlayEncryption) -> None:
    """Write whole or not at all; what a crash of the machine loses is lost together with the devices."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(msgspec.json.encode(told))
    fresh.rename(path)
