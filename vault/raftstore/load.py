"""Loading: from the engine's records to a ledger and the first snapshot, believing nothing.

Every object is opened, every record counted; then the tally must be the one in head.  Values are only counted, unless
something is wrong and the guilty record has to be found.  Called by `vault.raftstore.opening`, and by `leadership`
when a replica has to begin again.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vault.crypto.integrity import integrity_key
from vault.crypto.keys import RootKey
from vault.model.base import EPOCH
from vault.model.errors import StoreDamaged
from vault.raftstore import codec
from vault.raftstore.engine import Engine, Reading
from vault.raftstore.head import Tally, decode_head
from vault.raftstore.keys import KEYRING_KEY, is_value, key_of, kind_in
from vault.raftstore.ledger import Ledger, open_keyring
from vault.store.removals import Removals
from vault.store.snapshot import Draft, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a store starts from."""

    ledger: Ledger
    snapshot: Snapshot
    reading: Reading  # To watch what comes after it.
    newest: datetime  # The last time that any object was written, by the clock of whoever led then.


async def load(engine: Engine, *, root: RootKey, cluster_id: str) -> Loaded:
    """Return the ledger and the snapshot of everything committed.

    Raises `StoreDamaged`, naming the record, for any record that was altered, moved, dropped, replayed or added.
    """
    reading = await engine.read()
    ledger = await ledger_of(reading, root, cluster_id)
    draft = Draft(Snapshot())
    newest = EPOCH
    async for page in reading.pages():
        newest = max(newest, await asyncio.to_thread(_take, ledger, draft, page))
    counted = await asyncio.to_thread(Tally().changed, (), ledger.live.items())
    if counted != ledger.head.tally:
        await _name_damaged_value(reading, ledger)
        raise difference(ledger.live, ledger.head.tally, counted)
    index = ledger.head.index
    snapshot = replace(draft.finish(index), removals=Removals.from_now(index))
    return Loaded(ledger=ledger, snapshot=snapshot, reading=reading, newest=newest)


async def ledger_of(reading: Reading, root: RootKey, cluster_id: str) -> Ledger:
    """Return the ledger with head and keyring, and no records yet."""
    head_bytes, framed = reading.head, await reading.get(KEYRING_KEY)
    if head_bytes is None:
        raise StoreDamaged("the record head is missing: restore it from a backup")
    integrity = integrity_key(root, cluster_id=cluster_id)
    head = decode_head(integrity, head_bytes)
    keyring = open_keyring(root, cluster_id, framed)
    return Ledger(
        cluster_id=cluster_id, root=root, integrity=integrity, keyring=keyring, head=head, head_bytes=head_bytes
    )


def _take(ledger: Ledger, draft: Draft, page: Sequence[tuple[str, bytes]]) -> datetime:
    """Enter a page of records: open the objects, count all; return the last time that one of them was written."""
    newest = EPOCH
    for key, framed in page:
        record = ledger.record(key, framed)
        ledger.live[key] = record.part
        if record.older:
            ledger.older.add(key)
        if record.obj is not None:
            kind, obj = kind_in(key), record.obj
            draft.objects[kind] = draft.objects[kind].insert(obj.id, obj)
            draft.index(kind, obj)
            newest = max(newest, obj.updated_at)
    return newest


async def _name_damaged_value(reading: Reading, ledger: Ledger) -> None:
    """Raise `StoreDamaged` for the first value that does not open."""
    async for page in reading.pages():
        for key, framed in page:
            if is_value(key):
                index, record = codec.unframe(key, framed)
                await asyncio.to_thread(codec.unseal, ledger.keyring, ledger.cluster_id, key, index, record)


def difference(keys: Collection[str], wanted: Tally, counted: Tally) -> StoreDamaged:
    """Return the error for records that are each whole, but not those that were committed; it names a single one."""
    lost = wanted.less(counted)
    if lost.count == 1 and (key := key_of(lost.places)):
        return codec.damaged(key, "it is missing")
    if lost.count == -1 and (key := key_of(counted.less(wanted).places)) in keys:
        return codec.damaged(key, "it was removed, and has come back")
    for key in keys:
        if lost.is_of_one(key):
            return codec.damaged(key, "it is not the one committed last")
    return StoreDamaged(
        "several records are damaged (each is whole, but they are not those committed last): "
        "restore the store from a backup"
    )
