"""Builders for the store's tests."""

from pathlib import Path

from vault.crypto.ids import new_id
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.model.ids import Kind
from vault.model.secret import Secret, SecretSpec
from vault.raftstore.engine import Engine
from vault.raftstore.load import load
from vault.raftstore.opening import Opened, found, take_over
from vault.raftstore.store import Store
from vault.store.changes import Put, PutValue

ROOT = RootKey(bytes(range(32)))
CLUSTER_ID = "clusterclusterclusterclus"
NOW_S = 1_700_000_000.0


async def create(directory: Path) -> Store:
    """Return a new, empty store."""
    return await Store.create(directory, root=ROOT, cluster_id=CLUSTER_ID, now=lambda: NOW_S)


async def opened(directory: Path) -> Store:
    """Return the store that `create` made."""
    return await Store.open(directory, root=ROOT, cluster_id=CLUSTER_ID, now=lambda: NOW_S)


def numbered(name: str, **labels: str) -> Secret:
    """Return a secret with a fresh id."""
    return Secret(id=new_id(), spec=SecretSpec(name=name, labels=labels))


def new_secret(name: str, value: bytes, labels: dict[str, str] | None = None) -> tuple[Put, PutValue]:
    """Return the changes that create a secret."""
    secret = Secret(id=new_id(), spec=SecretSpec(name=name, labels=labels or {}))
    return Put(secret), PutValue(Kind.SECRET, secret.id, Plaintext(value))


async def store_on(engine: Engine) -> Store:
    """Return a new store on an engine of the caller's, which has no other members."""
    ledger, snapshot = await found(engine, root=ROOT, cluster_id=CLUSTER_ID, now=lambda: NOW_S, changes=())
    return _store(
        Opened(engine=engine, root=ROOT, ledger=ledger, snapshot=snapshot, directory=Path(), release=lambda: None)
    )


async def store_again(engine: Engine) -> Store:
    """Return the store that takes over an engine of the caller's."""
    loaded = await load(engine, root=ROOT, cluster_id=CLUSTER_ID)
    snapshot = await take_over(engine, loaded)
    return _store(
        Opened(
            engine=engine, root=ROOT, ledger=loaded.ledger, snapshot=snapshot, directory=Path(), release=lambda: None
        )
    )


def _store(opened: Opened) -> Store:
    return Store(opened, lambda: NOW_S)
