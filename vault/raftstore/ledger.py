"""The ledger: which records are live, at which index, and the head that proves it; turns a batch into a commit.

`seal` draws chance and runs in the engine's thread; `accept` runs on the event loop once the commit is durable.  At
most one commit is between the two.  Called by `vault.raftstore.store`; filled by `load`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vault.crypto.integrity import IntegrityKey, integrity_key, record_sum
from vault.crypto.keyring import Keyring, wrap_keyring
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.raftstore import codec
from vault.raftstore.engine import Commit, Write
from vault.raftstore.head import Epoch, Head, Part, Tally
from vault.raftstore.keys import KEYRING_PLACE, Place

Content = bytes | Plaintext | None
"""What a place shall hold: a packed object, a value, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A commit that is ready for the engine, and what the ledger says once it is durable."""

    commit: Commit
    head: Head
    parts: Mapping[Place, Part | None]
    keyring: Keyring


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The store's keys, head and live records."""

    cluster_id: str
    root: RootKey
    integrity: IntegrityKey
    keyring: Keyring
    head: Head
    head_bytes: bytes | None
    live: dict[Place, Part] = field(default_factory=dict)

    @classmethod
    def fresh(cls, *, cluster_id: str, root: RootKey, keyring: Keyring) -> "Ledger":
        """Return the ledger of a store that has no head yet."""
        head = Head(epoch=Epoch(0, 0), index=0, tally=Tally())
        integrity = integrity_key(root, cluster_id=cluster_id)
        return cls(cluster_id=cluster_id, root=root, integrity=integrity, keyring=keyring, head=head, head_bytes=None)

    def seal(
        self,
        index: int,
        contents: Mapping[Place, Content],
        *,
        epoch: Epoch | None = None,
        keyring: Keyring | None = None,
    ) -> Sealed:
        """Return the commit that makes `contents` so, as commit `index`; changes nothing here.

        epoch: the new one, at a take-over.  keyring: a new one, which seals from the next commit on.
        """
        tally = self.head.tally
        parts: dict[Place, Part | None] = {}
        writes: list[Write] = []
        records = [(place, self._sealed(place, index, content)) for place, content in contents.items()]
        if keyring is not None:
            records.append((KEYRING_PLACE, wrap_keyring(keyring, self.root, cluster_id=self.cluster_id)))
        for place, record in records:
            old = self.live.get(place)
            if old is not None:
                tally = tally.minus(place, old)
            if record is None:
                if old is not None:
                    writes.append(Write(place.key, None))
                    parts[place] = None
                continue
            part = parts[place] = self.part(place, index, record)
            tally = tally.plus(place, part)
            writes.append(Write(place.key, codec.frame(index, record)))
        head = Head(epoch=epoch or self.head.epoch, index=index, tally=tally)
        commit = Commit(expected=self.head_bytes, head=head.encode(self.integrity), writes=writes)
        return Sealed(commit=commit, head=head, parts=parts, keyring=keyring or self.keyring)

    def accept(self, sealed: Sealed) -> None:
        """Take over what has become durable."""
        self.head, self.head_bytes, self.keyring = sealed.head, sealed.commit.head, sealed.keyring
        for place, part in sealed.parts.items():
            if part is None:
                self.live.pop(place, None)
            else:
                self.live[place] = part

    def part(self, place: Place, index: int, record: bytes) -> Part:
        """Return what a sealed record adds to the tally."""
        mac = record_sum(self.integrity, kind=place.kind, object_id=place.id, index=index, record=record)
        return Part(index, mac)

    def open(self, place: Place, framed: bytes | None, expected: Part) -> bytes:
        """Return the plaintext of a live record as read from the engine.  Raises `StoreDamaged` naming it."""
        if framed is None:
            raise codec.damaged(place, "it is missing")
        index, record = codec.unframe(place, framed)
        if index != expected.index or self.part(place, index, record) != expected:
            raise codec.damaged(place, "it is not the record that was committed last")
        return codec.unseal(self.keyring, self.cluster_id, place, index, record)

    def _sealed(self, place: Place, index: int, content: Content) -> bytes | None:
        match content:
            case None:
                return None
            case Plaintext():
                return codec.seal(self.keyring, self.cluster_id, place, index, content.reveal())
            case bytes():
                return codec.seal(self.keyring, self.cluster_id, place, index, content)
