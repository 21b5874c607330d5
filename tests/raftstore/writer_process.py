"""A process that writes as fast as it can until it is killed; says on standard output what was acknowledged.

Run as `python -m tests.raftstore.writer_process DIRECTORY PREFIX`.
"""

import asyncio
import hashlib
import os
import sys
from pathlib import Path

from tests.raftstore.world import create, new_secret, opened
from vault.model.ids import Kind
from vault.raftstore.store import Store
from vault.store import rules

CLIENTS = 6


def value_of(name: str) -> bytes:
    """Return the value that belongs to a name: 1 to 5,000 bytes, the same everywhere."""
    seed = hashlib.sha256(name.encode()).digest()
    return (seed * 157)[: 1 + int.from_bytes(seed[:2], "big") % 5000]


async def client(store: Store, prefix: str) -> None:
    """Create, and now and then remove again; tell each outcome once it is acknowledged."""
    number = 0
    while True:
        number += 1
        name = f"{prefix}-{number}"
        await store.submit(lambda snap, name=name: new_secret(name, value_of(name)))
        os.write(1, f"+{name}\n".encode())
        if number % 5 == 0:
            gone = store.committed.by_name(Kind.SECRET, name)
            assert gone is not None
            os.write(1, f"?{name}\n".encode())  # From here on it may be gone.
            await store.submit(lambda snap, gone=gone: rules.removed(snap, Kind.SECRET, gone.id))
            os.write(1, f"-{name}\n".encode())


async def main(directory: Path, prefix: str) -> None:
    store = await (opened if Store.exists(directory) else create)(directory)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(store, f"{prefix}{number}"))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
