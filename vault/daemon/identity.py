"""Who this node is, on disk: the key file, its certificate, whom it trusts, and which managers it knows.

DATA_ROOT/swarm/unfinished   there while a membership is made or forgotten: without a key file the rest is a left-over
DATA_ROOT/swarm/node.key     keys, sealed under the unlock key; written last, so that half a membership is none
DATA_ROOT/swarm/unlock.key   only while autolock is off: who steals this disk can then read the store
DATA_ROOT/swarm/node.crt     certificate of this node, issuing certificates behind it
DATA_ROOT/swarm/ca.crt       the roots that this node trusts
DATA_ROOT/swarm/peer.json    certificates for etcd's peers, on managers of several
DATA_ROOT/swarm/node.json    addresses; which managers this node knows; the highest epoch it was told
"""

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from vault.crypto.errors import UnknownFormat, WrongUnlockKey
from vault.crypto.keyfile import NodeKeys, open_key_file, seal_key_file, unlock_version_of
from vault.crypto.keys import RootKey, UnlockKey
from vault.daemon.files import write_whole
from vault.model.errors import Unavailable
from vault.raftstore.files import sync_directory

StructT = TypeVar("StructT", bound=msgspec.Struct)
_VERSION = 1
_ELSEWHERE = "elsewhere"  # Among the kept keys, while autolock is turned on or off: the operator has one that may fit.


class Locked(Unavailable):
    """The unlock key is not on this disk."""

    def __init__(self) -> None:
        super().__init__(
            "Swarm is encrypted and needs to be unlocked before it can be used. "
            'Please use "docker swarm unlock" to unlock it. Until then this manager does not count for quorum.'
        )


class MembershipDamaged(Unavailable):
    """What this node is in the swarm cannot be read any more."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} {why}: put back a copy of it, or leave the swarm with --force and join again")
        self.path = path


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What a manager shows to other managers' etcd."""

    version: int = _VERSION
    authority: str  # PEM
    certificate: str  # PEM
    revoked: str = ""  # A revocation list, PEM.
    serials: tuple[str, ...] = ()  # Of the certificates on it.


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where this node is, and where managers are."""

    version: int = _VERSION
    address: str  # Advertised, without a port.
    listen: str  # "0.0.0.0:2377": where the control plane of a manager listens.
    managers: dict[str, str] = msgspec.field(default_factory=dict)  # Node id -> "host:port".
    generation: int = 0  # The highest epoch that this node was told.
    counter: int = 0

    @property
    def epoch(self) -> tuple[int, int]:
        """The highest epoch that this node was told."""
        return self.generation, self.counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """This node as a member of a swarm."""

    keys: NodeKeys
    certificate: bytes  # PEM: its own, then those that lead to a root.
    roots: bytes  # PEM, one or, while the root CA is rotated, two.
    place: Place
    peer: Peer | None = None
    unlock: UnlockKey = field(repr=False)
    unlock_version: int = 1
    locks: bool = False  # Whether the unlock key is kept off this disk.

    @property
    def address(self) -> str:
        """The address that this node advertises, without a port."""
        return self.place.address

    @property
    def control_address(self) -> str:
        """Where the control plane of this node answers when it is a manager, host:port."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.place.listen.rpartition(':')[2]}"

    def moved(self, **changes: object) -> "Identity":
        """Return this identity with another place."""
        return replace(self, place=msgspec.structs.replace(self.place, **changes))


def root_key(identity: Identity) -> RootKey:
    """Return a manager's root key."""
    assert identity.keys.root_key is not None, "only managers open a store"
    return identity.keys.root_key


class IdentityFiles:
    """The files under `DATA_ROOT/swarm`.  Blocking; each is whole or as it was."""

    def __init__(self, data_root: Path) -> None:
        self.root = data_root / "swarm"

    @property
    def store(self) -> Path:
        """Where the manager's store lives."""
        return self.root / "store"

    @property
    def revoked(self) -> Path:
        """The revocation list that etcd reads at every handshake."""
        return self.root / "peer.crl"

    @property
    def _mark(self) -> Path:
        return self.root / "unfinished"

    def exists(self) -> bool:
        """Whether this node is in a swarm; the key file is written last.

        Raises `MembershipDamaged` if there is a membership without one that is no left-over: its store is not ours to
        delete.
        """
        if (self.root / "node.key").exists():
            return True
        names = [path.name for path in self.root.iterdir()] if self.root.exists() else []
        # One that begins with a dot was to be renamed: nothing stands on it.
        if any(not name.startswith(".") for name in names) and self._mark.name not in names:
            raise MembershipDamaged(self.root / "node.key", "is missing")
        return False

    def begin(self) -> None:
        """Make room for a membership; until `write` has written it, there is none."""
        self.remove()
        write_whole(self._mark, b"")

    def write(self, identity: Identity) -> None:
        """Write all; the key file last, so that half a membership is none."""
        self.write_place(identity.place)
        write_whole(self.root / "node.crt", identity.certificate)
        write_whole(self.root / "ca.crt", identity.roots)
        self.write_peer(identity.peer)
        self.write_keys(identity)
        self._mark.unlink(missing_ok=True)

    def write_keys(self, identity: Identity) -> None:
        """Write the key file; a crash leaves it under a key that `read` finds, or that the operator has."""
        kept = [] if identity.locks else [identity.unlock.text()]
        before = self._kept()
        if before or kept:  # Until the key file is replaced, the old key opens it; from then on, the new one.
            self._keep(dict.fromkeys((*(before or [_ELSEWHERE]), *(kept or [_ELSEWHERE]))))
        sealed = seal_key_file(identity.keys, identity.unlock, unlock_version=identity.unlock_version)
        write_whole(self.root / "node.key", sealed)
        if before or kept:
            self._keep(kept)

    def write_place(self, place: Place) -> None:
        """Write where this node is, and what it knows of the managers."""
        write_whole(self.root / "node.json", msgspec.json.encode(place))

    def write_peer(self, peer: Peer | None) -> None:
        """Write what other managers' etcd is shown; None = this node is none of several managers."""
        if peer is None:
            (self.root / "peer.json").unlink(missing_ok=True)
            self.revoked.unlink(missing_ok=True)
            return
        write_whole(self.root / "peer.json", msgspec.json.encode(peer))
        if peer.revoked:
            write_whole(self.revoked, peer.revoked.encode())

    def read(self, unlock: UnlockKey | None = None) -> Identity:
        """Return this node's identity; `unlock` stands in for the key that is not on this disk.

        Raises `Locked`, or what `open_key_file` raises.
        """
        sealed = self._bytes("node.key")
        lines = self._kept()
        kept = [UnlockKey.parse(line) for line in lines if line != _ELSEWHERE]
        locks = not lines or _ELSEWHERE in lines  # Perhaps.
        candidates = [*kept, unlock] if unlock is not None and locks else kept
        if not candidates:
            raise Locked
        try:
            keys, opened = _opened(sealed, candidates)
        except WrongUnlockKey:
            if not locks:
                raise MembershipDamaged(self.root / "node.key", "is not opened by the key beside it") from None
            if unlock is None:
                raise Locked from None
            raise
        certificate = self._bytes("node.crt")
        return Identity(
            keys=keys.settled(certificate),
            certificate=certificate,
            roots=self._bytes("ca.crt"),
            place=self._struct("node.json", Place),
            peer=self._struct("peer.json", Peer) if (self.root / "peer.json").exists() else None,
            unlock=opened,
            unlock_version=unlock_version_of(sealed),
            locks=opened is unlock and unlock is not None,
        )

    def remove(self) -> None:
        """Forget the swarm: key file first, then everything, and last what says that the rest is a left-over."""
        if not self.root.exists():
            return
        write_whole(self._mark, b"")
        (self.root / "node.key").unlink(missing_ok=True)
        sync_directory(self.root)
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self._mark:
                path.unlink()
        shutil.rmtree(self.root)

    def _kept(self) -> list[str]:
        """Return the unlock keys on this disk: none with autolock, two when a crash came between their change.

        One of the two may be elsewhere.
        """
        try:
            return (self.root / "unlock.key").read_text().split()
        except FileNotFoundError:
            return []

    def _keep(self, keys: Iterable[str]) -> None:
        text = "".join(f"{key}\n" for key in keys)
        if text:
            write_whole(self.root / "unlock.key", text.encode())
            return
        (self.root / "unlock.key").unlink(missing_ok=True)
        sync_directory(self.root)

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            raise UnknownFormat(f"the membership in {self.root} (no {name})") from None

    def _struct(self, name: str, type_: type[StructT]) -> StructT:
        try:
            return msgspec.json.decode(self._bytes(name), type=type_)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise UnknownFormat(str(self.root / name)) from None


def _opened(sealed: bytes, candidates: Sequence[UnlockKey]) -> tuple[NodeKeys, UnlockKey]:
    """Return what is in the key file, and which key opens it; raises what the last key raises."""
    for key in candidates[:-1]:
        with suppress(WrongUnlockKey):
            return open_key_file(sealed, key), key
    return open_key_file(sealed, candidates[-1]), candidates[-1]
