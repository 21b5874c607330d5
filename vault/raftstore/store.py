"""The store: one order of commits, two snapshots, and nothing acknowledged that is not durable.

Not pure: awaits the engine.  *Proposed* is committed plus queued, and what callers' checks see; *committed* is what
everybody reads.  Lives on one event loop.  Used by `vault.api`, `vault.dispatcher` and `vault.daemon`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final, Self

from vault.crypto.content_tag import content_tag
from vault.crypto.keyring import with_new_term, without_terms_before
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.model.base import from_s
from vault.model.cluster import DataKeyStatus
from vault.model.errors import NotFound, OutOfSequence, VaultError
from vault.model.ids import Kind
from vault.raftstore import files, opening
from vault.raftstore.clock import Clock
from vault.raftstore.engine import Member, Reading
from vault.raftstore.engines.etcd import EtcdEngine
from vault.raftstore.files import EngineFile
from vault.raftstore.keys import KEYRING_KEY, value_key
from vault.raftstore.leadership import Lead, Leadership
from vault.raftstore.ledger import Again, Content
from vault.raftstore.moving import Step, move
from vault.raftstore.opening import Opened, StartEtcd
from vault.raftstore.proposing import propose
from vault.raftstore.replica import Replica
from vault.store.changes import Atomic, Change
from vault.store.snapshot import Snapshot, Stale

INLINE_BYTES: Final = 64 * 1024  # Values up to this size are opened on the event loop, in less than 0.3 ms.
TERM_S: Final = 90 * 24 * 3600
UPKEEP_RECORDS: Final = 256
UPKEEP_BYTES: Final = 1024 * 1024
UPKEEP_READS: Final = 32
AGREE_S: Final = 2.0  # How long a value that was just written may differ from what is known of it.
AGREE_POLL_S: Final = 0.05


class NoValue(NotFound, LookupError):
    """The secret or config does not exist, or not any more."""


class Store:
    """The records of one cluster.  Make one with `create` or `open`; end it with `close`."""

    def __init__(self, opened: Opened, now: Callable[[], float], *, node_id: str = "") -> None:
        clock = Clock(now, asyncio.get_running_loop().time)
        clock.saw(opened.newest.timestamp())
        self._release, self._directory = opened.release, opened.directory
        self._replica = Replica(opened.ledger, opened.snapshot, clock)
        self._leadership = Leadership(
            opened.engine, self._replica, opened.reading, root=opened.root, node_id=node_id, alone=opened.alone
        )
        self._upkeep = asyncio.Lock()
        self._rotated = asyncio.Event()  # Set by a rotation, until `upkeep` has looked.
        self._rotations: set[asyncio.Task[None]] = set()

    @classmethod
    async def create(
        cls,
        directory: Path,
        *,
        root: RootKey,
        cluster_id: str,
        now: Callable[[], float],
        changes: Sequence[Change] = (),
        node_id: str = "",
    ) -> Self:
        """Make the store of a new cluster in `directory`, with `changes` in its first commit; it leads.

        Raises `StoreExists`, `DirectoryTaken` or `DiskFull`; `directory` holds no store then.
        """
        opened = await opening.create(directory, root=root, cluster_id=cluster_id, now=now, changes=changes)
        return cls(opened, now, node_id=node_id)

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        root: RootKey,
        cluster_id: str,
        now: Callable[[], float],
        node_id: str = "",
        start_etcd: StartEtcd | None = None,
        new_generation: bool = False,
    ) -> Self:
        """Open the store in `directory`.

        A manager that is alone leads at once, with the epoch's counter up by 1.  One of several waits until enough
        others answer to load everything, and then follows; `run` does the rest.
        start_etcd: starts the member in a directory.  new_generation: after the loss of the other managers, so that
        nothing that they may still hold can pass for new.
        Raises `StoreDamaged` naming the record, `StoreMissing`, `DirectoryTaken` or `DiskFull`.
        """
        opened = await opening.open_store(
            directory, root=root, cluster_id=cluster_id, now=now, start_etcd=start_etcd, new_generation=new_generation
        )
        return cls(opened, now, node_id=node_id)

    @classmethod
    async def enter(
        cls,
        directory: Path,
        *,
        root: RootKey,
        cluster_id: str,
        now: Callable[[], float],
        node_id: str,
        engine_directory: str,
        start_etcd: StartEtcd,
    ) -> Self:
        """Make the store of a manager that becomes one of several, and load everything from the others.

        From the call on `open` finds it again, wherever this is broken off.  engine_directory: `etcd-` and an id.
        Raises `StoreExists`, `DirectoryTaken`, `StoreDamaged` or what `start_etcd` does.
        """
        opened = await opening.enter(
            directory, root=root, cluster_id=cluster_id, engine_directory=engine_directory, start_etcd=start_etcd
        )
        return cls(opened, now, node_id=node_id)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Return whether `directory` holds a store.  Raises `StoreDamaged`."""
        return files.read(directory) is not None

    @staticmethod
    def destroy(directory: Path) -> None:
        """Remove the store that `directory` holds, if it does; it must not be open."""
        files.remove(directory)

    @property
    def committed(self) -> Snapshot:
        """The newest committed snapshot: all reads are answered from it, on a leader after `barrier`."""
        return self._replica.committed

    @property
    def cluster_id(self) -> str:
        """Whose store it is."""
        return self._replica.ledger.cluster_id

    @property
    def epoch(self) -> tuple[int, int]:
        """Generation and counter of this leadership, or of the newest that is known."""
        epoch = self._leadership.epoch
        return epoch.generation, epoch.counter

    @property
    def leads(self) -> bool:
        """Whether this manager leads, as far as it knows."""
        return self._leadership.leads

    @property
    def leader(self) -> str:
        """The node id of who leads; "" = nobody that is known here."""
        return self._leadership.leader

    @property
    def engine_name(self) -> str:
        """`sqlite` or `etcd`."""
        return "sqlite" if self._leadership.alone else "etcd"

    def now_s(self) -> float:
        """Return the cluster's time, seconds since 1970: what deciders take for now."""
        return self._replica.clock.now_s()

    async def run(self, lead: Lead) -> None:
        """Follow the other managers, and run `lead()` while this one leads, until cancelled.

        `lead()` never returns; it is cancelled and awaited when the lead is lost.  Raises what must end vaultd: what
        `lead()` raised, `StoreDamaged`, or that the engine has stopped.
        """
        await self._leadership.run(lead)

    async def cede(self) -> None:
        """Give the lead away, before this manager goes; does nothing on one that does not lead, or is alone."""
        await self._leadership.cede()

    async def barrier(self) -> None:
        """Wait until `committed` shows every write that was acknowledged before this call, by any manager.

        Raises `NotLeading` or `NoLeader`.  Readers at one time share one question to the other managers.
        """
        await self._leadership.barrier()

    async def submit(self, build: Callable[[Snapshot], Sequence[Change | Atomic]]) -> int:
        """Commit what `build` makes of the proposed snapshot, all or nothing; return the commit index.

        `build` runs at once and may raise a `VaultError`, to this caller only.  On return `committed` shows the write.
        Raises `OutOfSequence`, `TooLarge`, `Busy`, `DiskFull`, `NotLeading` (nothing written), `OutcomeUnknown`,
        `EngineStopped`.
        """
        writer = self._leadership.leading()
        try:
            changes = build(writer.proposals.proposed)
        except VaultError:
            # It was judged by what is not committed yet, perhaps; who reads after this refusal must find it so.
            await writer.settled()
            raise
        if not changes:
            return await writer.settled()
        try:
            batch = writer.proposals.add(changes)
        except Stale:
            raise OutOfSequence from None
        return await writer.enlist(batch)

    async def propose(self, changes: Iterable[Change | Atomic]) -> tuple[Change | Atomic, ...]:
        """Commit those of `changes` that are still true, each for itself; return the others, to be decided again.

        Those that a full or slow disk does not take are returned as well.
        """
        return await propose(self._leadership.leading, changes)

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield the committed snapshot, then each newer one; a slow reader sees only the newest.

        Raises `EngineStopped` when the store has stopped or was closed.
        """
        seen: Snapshot | None = None
        while True:
            self._leadership.check_running()
            if self.committed is not seen:
                seen = self.committed
                yield seen
            else:
                await self._replica.changed()

    async def value(self, kind: Kind, id: str) -> Plaintext:
        """Return the value of a secret or config.  Raises `NoValue`, or `StoreDamaged` naming the record."""
        key = value_key(kind, id)
        framed = await self._leadership.engine.get(key)
        # Alone, the ledger is as new as what was read: the engine answers in order, and so do its futures.
        if not self._leadership.alone:
            framed = await self._agreed(key, framed)
        part = self._replica.ledger.live.get(key)
        if part is None:
            raise NoValue(kind, id)
        if framed is None or len(framed) <= INLINE_BYTES:
            return Plaintext(self._replica.ledger.open(key, framed, part))
        return Plaintext(await asyncio.to_thread(self._replica.ledger.open, key, framed, part))

    def content_tag(self, kind: Kind, name: str, value: Plaintext) -> str:
        """Return a short tag of a value, for its object's name; only this cluster's managers can make it."""
        ledger = self._replica.ledger
        return content_tag(ledger.root, cluster_id=ledger.cluster_id, kind=kind.value, name=name, value=value)

    def data_key(self) -> DataKeyStatus:
        """Return which data key is the newest, and how many records are sealed under older ones."""
        ledger = self._replica.ledger
        return DataKeyStatus(
            term=ledger.keyring.newest.number,
            created_at=from_s(ledger.keyring.newest.created_s),
            records=len(ledger.live) - (KEYRING_KEY in ledger.live),
            older_records=len(ledger.older),
            older_keys=len(ledger.keyring.terms) - 1,
        )

    async def rotate_keyring(self) -> None:
        """Add a data key; what is written after it is sealed with the new one.  `upkeep` re-seals the rest.

        Goes on when its caller does not wait any more: the next keyring is made of the one that this commits.
        Raises `KeyringFull`, or what `submit` does.
        """
        rotation = asyncio.ensure_future(self._rotate())
        self._rotations.add(rotation)
        rotation.add_done_callback(self._rotation_ended)
        await asyncio.shield(rotation)

    async def rotated(self) -> None:
        """Return once a data key was added that `upkeep` has not looked at."""
        await self._rotated.wait()

    async def upkeep(self) -> int:
        """Do a piece of what keeps records under a young data key; return how many are still under an older one.

        Records are re-sealed, about 1 MiB a call, their versions kept; when none is left, older keys are forgotten.
        A data key of 90 days gets a successor, once everything is sealed under it.  May be left off at any time, and
        goes on after a restart.
        """
        ledger = self._replica.ledger
        if not ledger.older and self.now_s() - ledger.keyring.newest.created_s > TERM_S:
            await self.rotate_keyring()
        async with self._upkeep:
            self._rotated.clear()
            writer = self._leadership.leading()
            if self._replica.ledger.older:
                older = await self._older()
                self._leadership.leading()
                await writer.enlist(writer.proposals.add_records(older, None))
            keyring = self._replica.ledger.keyring
            if not self._replica.ledger.older and len(keyring.terms) > 1:
                trimmed = without_terms_before(keyring, keyring.newest.number)
                await writer.enlist(writer.proposals.add_records({}, trimmed))
            return len(self._replica.ledger.older)

    async def move(self, content: EngineFile, start: StartEtcd, step: Step = lambda name: None) -> None:
        """Go over to the engine that `content` names, in a fresh directory; this manager leads before and after.

        Writes wait meanwhile.  Broken off at any point, even by `kill -9`, one engine is in charge and holds
        everything that was acknowledged.  step: told the name of each step before it (for tests).
        Raises `MoveFailed` or another `Unavailable`; the store goes on as it was, unless the disk failed it.
        """
        async with self._upkeep:
            await move(self._leadership, self._directory, content, start, step)

    @asynccontextmanager
    async def reading(self, *, pause: bool = False) -> AsyncIterator[Reading]:
        """Show all records at one head; with `pause`, a manager that is alone lets writes wait until the end."""
        async with self._upkeep:
            leadership = self._leadership
            writer = leadership.leading() if pause and leadership.alone else None
            if writer is not None:
                await writer.pause()
            try:
                yield await leadership.engine.read()
            finally:
                if writer is not None:
                    writer.resume(leadership.engine, alone=True)

    async def stopped(self) -> VaultError:
        """Wait until the store has stopped by itself, and return why: the daemon must end then."""
        return await asyncio.shield(self._leadership.stopped)

    async def members(self) -> Sequence[Member]:
        """Return the managers that take part in the engine."""
        return await self._leadership.engine.members()

    async def add_member(self, peer_url: str) -> Member:
        """Let a manager that is yet to start take part, as a learner.  Raises `Unavailable` or `NotSupported`."""
        return await self._leadership.engine.add_member(peer_url)

    async def promote_member(self, member_id: int) -> None:
        """Let a learner that has caught up vote.  Raises `Unavailable` (not yet: try again) or `NotSupported`."""
        await self._leadership.engine.promote_member(member_id)

    async def remove_member(self, member_id: int) -> None:
        """End a manager's part in the engine.  Raises `Unavailable` or `NotSupported`."""
        await self._leadership.engine.remove_member(member_id)

    async def renew_peer(self, certificate_pem: bytes, key: Plaintext) -> None:
        """Show other managers another certificate from now on; one of etcd's is started again for that."""
        engine = self._leadership.engine
        if isinstance(engine, EtcdEngine):
            await engine.renew_peer(certificate_pem, key)

    async def close(self) -> None:
        """Finish what was asked for, refuse what comes after, and let go of the directory."""
        await self._leadership.close()
        self._release()

    async def _rotate(self) -> None:
        async with self._upkeep:
            writer = self._leadership.leading()
            keyring = with_new_term(self._replica.ledger.keyring, now_s=self.now_s())
            await writer.enlist(writer.proposals.add_records({}, keyring))

    def _rotation_ended(self, rotation: "asyncio.Task[None]") -> None:
        self._rotations.discard(rotation)
        if not rotation.cancelled() and rotation.exception() is None:
            self._rotated.set()

    async def _agreed(self, key: str, framed: bytes | None) -> bytes | None:
        """Return the record under `key` once engine and ledger agree on it; what they say last after a while."""
        replica, clock = self._replica, asyncio.get_running_loop().time
        until = clock() + AGREE_S
        while not replica.ledger.agrees(key, framed) and clock() < until:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGREE_POLL_S):
                    await replica.changed()
            framed = await self._leadership.engine.get(key)
        return framed

    async def _older(self) -> dict[str, Content]:
        """Return some of the records under older data keys, to be sealed anew."""
        found: dict[str, Content] = {}
        size_bytes = 0
        left = iter(tuple(islice(self._replica.ledger.older, UPKEEP_RECORDS)))
        while size_bytes <= UPKEEP_BYTES and (keys := tuple(islice(left, UPKEEP_READS))):
            # Together: one by one, each would wait for whichever commit is under way.
            read = await asyncio.gather(*map(self._leadership.engine.get, keys))
            for key, framed in zip(keys, read, strict=True):
                if framed is not None and size_bytes <= UPKEEP_BYTES:
                    found[key] = Again(framed)
                    size_bytes += len(framed)
        return found
