"""Builders for the store's tests."""

from pathlib import Path

from vault.crypto.ids import new_id
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.model.ids import Kind
from vault.model.secret import Secret, SecretSpec
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
