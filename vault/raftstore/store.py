"""The store: one order of commits, two snapshots, and nothing acknowledged that is not durable.

Not pure: awaits the engine.  *Proposed* is committed plus queued, and what callers' checks see; *committed* is what
everybody reads.  Lives on one event loop.  Used by `vault.api`, `vault.dispatcher` and `vault.daemon`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Self

from vault.crypto.keyring import with_new_term, without_terms_before
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.model.errors import DiskFull, NotFound, OutOfSequence, VaultError
from vault.model.ids import Kind
from vault.raftstore import files, opening
from vault.raftstore.keys import value_key
from vault.raftstore.ledger import Again, Content
from vault.raftstore.opening import Opened
from vault.raftstore.proposals import Busy, Proposals
from vault.raftstore.writer import Writer
from vault.store.changes import Atomic, Change, Put, PutValue, kind_of
from vault.store.snapshot import Snapshot, Stale

INLINE_BYTES: Final = 64 * 1024  # Values up to this size are opened on the event loop, in less than 0.3 ms.
TERM_S: Final = 90 * 24 * 3600
UPKEEP_RECORDS: Final = 256
UPKEEP_BYTES: Final = 1024 * 1024
CHUNK_CHANGES: Final = 256  # A decider's proposal is taken in pieces of this size, so that the loop goes on.


Group = Sequence[Change | Atomic]
"""Changes that are applied together or not at all."""


class NoValue(NotFound, LookupError):
    """The secret or config does not exist, or not any more."""


class Store:
    """The records of one cluster.  Make one with `create` or `open`; end it with `close`."""

    def __init__(self, opened: Opened, now: Callable[[], float]) -> None:
        self._engine, self._ledger, self._release = opened.engine, opened.ledger, opened.release
        self._now = now
        self._proposals = Proposals(opened.snapshot, now)
        self._writer = Writer(opened.engine, opened.ledger, self._proposals, opened.snapshot)
        self._upkeep = asyncio.Lock()

    @classmethod
    async def create(
        cls,
        directory: Path,
        *,
        root: RootKey,
        cluster_id: str,
        now: Callable[[], float],
        changes: Sequence[Change] = (),
    ) -> Self:
        """Make the store of a new cluster in `directory`, with `changes` in its first commit, and open it.

        Raises `StoreExists`, `DirectoryTaken` or `DiskFull`; `directory` holds no store then.
        """
        return cls(await opening.create(directory, root=root, cluster_id=cluster_id, now=now, changes=changes), now)

    @classmethod
    async def open(cls, directory: Path, *, root: RootKey, cluster_id: str, now: Callable[[], float]) -> Self:
        """Open the store in `directory` and take the lead: the epoch's counter goes up by 1.

        Raises `StoreDamaged` naming the record, `StoreMissing`, `DirectoryTaken` or `DiskFull`.
        """
        return cls(await opening.open_store(directory, root=root, cluster_id=cluster_id), now)

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
        """The newest committed snapshot: all reads are answered from it."""
        return self._writer.committed

    @property
    def epoch(self) -> tuple[int, int]:
        """Generation and counter of this leadership."""
        epoch = self._ledger.head.epoch
        return epoch.generation, epoch.counter

    async def submit(self, build: Callable[[Snapshot], Sequence[Change | Atomic]]) -> int:
        """Commit what `build` makes of the proposed snapshot, all or nothing; return the commit index.

        `build` runs at once and may raise a `VaultError`, to this caller only.  On return `committed` shows the write.
        Raises `OutOfSequence`, `TooLarge`, `Busy`, `DiskFull` (nothing written), `OutcomeUnknown`, `EngineStopped`.
        """
        self._writer.check_running()
        changes = build(self._proposals.proposed)
        if not changes:
            return await self._writer.settled()
        try:
            batch = self._proposals.add(changes)
        except Stale:
            raise OutOfSequence from None
        return await self._writer.enlist(batch)

    async def propose(self, changes: Iterable[Change | Atomic]) -> tuple[Change | Atomic, ...]:
        """Commit those of `changes` that are still true, each for itself; return the others, to be decided again.

        Those that a full or slow disk does not take are returned as well.
        """
        rest = iter(changes)
        refused: list[Change | Atomic] = []
        taken: list[tuple[Group, asyncio.Future[int]]] = []
        while chunk := list(islice(rest, CHUNK_CHANGES)):
            self._writer.check_running()
            for group in _groups(chunk) if not self._fits(chunk, taken) else ():
                if not self._fits(group, taken):
                    refused.extend(group)
            await asyncio.sleep(0)
        for (group, _), outcome in zip(taken, await _outcomes(taken), strict=True):
            if isinstance(outcome, DiskFull):
                refused.extend(group)
            elif isinstance(outcome, BaseException):
                raise outcome
        return tuple(refused)

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield the committed snapshot, then each newer one; a slow reader sees only the newest.

        Raises `EngineStopped` when the store has stopped or was closed.
        """
        seen: Snapshot | None = None
        while True:
            self._writer.check_running()
            if self.committed is not seen:
                seen = self.committed
                yield seen
            else:
                await self._writer.changed()

    async def value(self, kind: Kind, id: str) -> Plaintext:
        """Return the value of a secret or config.  Raises `NoValue`, or `StoreDamaged` naming the record."""
        key = value_key(kind, id)
        framed = await self._engine.get(key)
        # The ledger is as new as what was read: the engine answers in order, and so do its futures.
        part = self._ledger.live.get(key)
        if part is None:
            raise NoValue(kind, id)
        if framed is None or len(framed) <= INLINE_BYTES:
            return Plaintext(self._ledger.open(key, framed, part))
        return Plaintext(await asyncio.to_thread(self._ledger.open, key, framed, part))

    async def rotate_keyring(self) -> None:
        """Add a data key; what is written after it is sealed with the new one.  `upkeep` re-seals the rest."""
        async with self._upkeep:
            self._writer.check_running()
            keyring = with_new_term(self._ledger.keyring, now_s=self._now())
            await self._writer.enlist(self._proposals.add_records({}, keyring))

    async def upkeep(self) -> int:
        """Do a piece of what keeps records under a young data key; return how many are still under an older one.

        A data key of 90 days gets a successor; then records are re-sealed, about 1 MiB a call, their versions kept;
        when none is left, older keys are forgotten.  May be left off at any time, and goes on after a restart.
        """
        if self._now() - self._ledger.keyring.newest.created_s > TERM_S:
            await self.rotate_keyring()
        async with self._upkeep:
            self._writer.check_running()
            ledger, keyring = self._ledger, self._ledger.keyring
            if ledger.older:
                await self._writer.enlist(self._proposals.add_records(await self._older(), None))
            elif len(keyring.terms) > 1:
                trimmed = without_terms_before(keyring, keyring.newest.number)
                await self._writer.enlist(self._proposals.add_records({}, trimmed))
            return len(ledger.older)

    async def stopped(self) -> VaultError:
        """Wait until the store has stopped by itself, and return why: the daemon must end then."""
        return await asyncio.shield(self._writer.stopped)

    async def close(self) -> None:
        """Finish what was asked for, refuse what comes after, and let go of the directory."""
        await self._writer.close()
        await self._engine.close()
        self._release()

    def _fits(self, group: "Group", taken: "list[tuple[Group, asyncio.Future[int]]]") -> bool:
        """Propose changes together, unless one is stale; note in `taken` what will settle them."""
        try:
            batch = self._proposals.add(group)
        except (Stale, Busy):
            return False
        taken.append((group, self._writer.enlist(batch)))
        return True

    async def _older(self) -> dict[str, Content]:
        """Return some of the records under older data keys, to be sealed anew."""
        found: dict[str, Content] = {}
        size_bytes = 0
        for key in tuple(islice(self._ledger.older, UPKEEP_RECORDS)):
            framed = await self._engine.get(key)
            if framed is not None:
                found[key] = Again(framed)
                size_bytes += len(framed)
            if size_bytes > UPKEEP_BYTES:
                break
        return found


async def _outcomes(taken: "list[tuple[Group, asyncio.Future[int]]]") -> list[int | BaseException]:
    return await asyncio.gather(*(future for _, future in taken), return_exceptions=True)


def _groups(changes: Iterable[Change | Atomic]) -> list[Group]:
    """Return the changes one by one, but each value together with the object it belongs to."""
    groups: list[list[Change | Atomic]] = []
    objects: dict[tuple[Kind, str], list[Change | Atomic]] = {}
    values: list[PutValue] = []
    for change in changes:
        if isinstance(change, PutValue):
            values.append(change)
            continue
        groups.append([change])
        if isinstance(change, Put):
            objects[kind_of(change.obj), change.obj.id] = groups[-1]
    for value in values:
        if (owner := objects.get((value.kind, value.id))) is not None:
            owner.append(value)
        else:
            groups.append([value])
    return list(groups)
