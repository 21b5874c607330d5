"""Who this node is, on disk: the key file, and the unlock key beside it while autolock is off.

DATA_ROOT/swarm/node.key     sealed under the unlock key
DATA_ROOT/swarm/unlock.key   only while autolock is off: who steals this disk can then read the store
DATA_ROOT/swarm/node.crt     certificate of this node
DATA_ROOT/swarm/address      the address this node advertises
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from vault.crypto.keyfile import NodeKeys, open_key_file, seal_key_file
from vault.crypto.keys import RootKey, UnlockKey
from vault.daemon.files import sync_directory, write_whole
from vault.model.errors import Unavailable


class Locked(Unavailable):
    """The unlock key is not on this disk."""

    def __init__(self) -> None:
        super().__init__(
            "Swarm is encrypted and needs to be unlocked before it can be used. "
            'Please use "docker swarm unlock" to unlock it.'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """This node as a member of a swarm."""

    keys: NodeKeys
    certificate: bytes  # PEM
    address: str  # Without a port.


def root_key(identity: Identity) -> RootKey:
    """Return a manager's root key."""
    assert identity.keys.root_key is not None, "only managers open a store"
    return identity.keys.root_key


class IdentityFiles:
    """The files under `DATA_ROOT/swarm`."""

    def __init__(self, data_root: Path) -> None:
        self.root = data_root / "swarm"

    @property
    def store(self) -> Path:
        """Where the manager's store lives."""
        return self.root / "store"

    def exists(self) -> bool:
        """Whether this node is in a swarm; the key file is written last."""
        return (self.root / "node.key").exists()

    def write(self, identity: Identity, unlock: UnlockKey) -> None:
        """Write all; the key file last, so that half a membership is none."""
        write_whole(self.root / "address", identity.address.encode())
        write_whole(self.root / "node.crt", identity.certificate)
        write_whole(self.root / "unlock.key", unlock.text().encode())
        write_whole(self.root / "node.key", seal_key_file(identity.keys, unlock, unlock_version=1))

    def read(self) -> Identity:
        """Return this node's identity; raises `Locked`, or what `open_key_file` raises."""
        try:
            unlock = UnlockKey.parse((self.root / "unlock.key").read_text())
        except FileNotFoundError:
            raise Locked from None
        return Identity(
            keys=open_key_file((self.root / "node.key").read_bytes(), unlock),
            certificate=(self.root / "node.crt").read_bytes(),
            address=(self.root / "address").read_text(),
        )

    def remove(self) -> None:
        """Forget the swarm: key file first, then everything."""
        (self.root / "node.key").unlink(missing_ok=True)
        if self.root.exists():
            sync_directory(self.root)
            shutil.rmtree(self.root)
