"""What outlives a swarm's managers: a backup of it, a swarm made of a backup, and one begun anew by the manager left.

Not pure: reads and writes the store and the identity's files.  Called by `vault.daemon.membership`, which removes what
a restore has begun when it fails.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from vault.api.ports import NodeInfo, RestoreRequest
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.plaintext import Plaintext
from vault.daemon.entering import with_new_peer
from vault.daemon.founding import refound, without_other_managers
from vault.daemon.identity import Identity, IdentityFiles, Place
from vault.daemon.part import Part
from vault.model.errors import BadRequest
from vault.raftstore.backup import UnderPassphrase, UnderUnlockKey, restore_into, write_backup
from vault.raftstore.store import Store

LOOK_S: Final = 0.1
CHUNK_BYTES: Final = 256 * 1024


async def backup(store: Store, root: RootKey, passphrase: Plaintext | None, *, scratch: Path) -> AsyncIterator[bytes]:
    """Yield a backup of the swarm, sealed under a passphrase, or without one under the unlock key.

    scratch: the directory for a file without a name, which holds it meanwhile.
    """
    cluster = store.committed.cluster
    lock: UnderPassphrase | UnderUnlockKey | None = None
    if passphrase is not None:
        lock = UnderPassphrase(passphrase=passphrase)
    elif cluster is not None and cluster.unlock_key:
        lock = UnderUnlockKey(key=UnlockKey(cluster.unlock_key), version=cluster.unlock_key_version)
    with tempfile.TemporaryFile(dir=scratch) as file:
        await write_backup(store, root, file, lock=lock)
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


async def restore(
    request: RestoreRequest, archive: AsyncIterator[bytes], files: IdentityFiles, info: NodeInfo, place: Place
) -> Identity:
    """Write the store that a backup holds, and this node's identity as the one manager of it, which is returned.

    Raises `BadRequest` without a key, and what is wrong with the backup.
    """
    key = request.passphrase or (_unlock_key(request.unlock_key) if request.unlock_key is not None else None)
    if key is None:
        raise BadRequest("a backup is opened with a passphrase or with an unlock key: give one")
    await asyncio.to_thread(files.begin)
    with tempfile.TemporaryFile(dir=files.root) as file:
        async for piece in archive:
            await asyncio.to_thread(file.write, piece)
        file.seek(0)
        restored = await restore_into(files.store, file, key=key, now=time.time)
    store = await Store.open(files.store, root=restored.root, cluster_id=restored.cluster_id, now=time.time)
    try:
        identity, changes = refound(store.committed, restored.root, info, place, now_s=time.time())
        await store.submit(lambda _: changes)
        await asyncio.to_thread(files.write, identity)
    finally:
        await store.close()
    return identity


async def begin_alone(part: Part, *, moved: bool, limit_s: float) -> None:
    """Make a manager that was started with a new generation the only one: the others are managers no more.

    moved: whether it has another address than before, which its peer certificate is to name.  limit_s: until it leads.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while not part.manager().leads:
                await asyncio.sleep(LOOK_S)
    holding, store = part.holding, part.manager().store()
    here = holding.identity.control_address
    await store.submit(lambda snap: without_other_managers(snap, holding.node_id, at=here))
    if moved and store.engine_name == "etcd":
        await store.renew_peer(*await with_new_peer(store, holding))


def _unlock_key(text: Plaintext) -> UnlockKey:
    return UnlockKey.parse(text.reveal().decode("ascii", "replace").strip())
