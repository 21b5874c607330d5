"""The ledger: which records are live, at which index, and the head that proves it; turns a batch into a commit.

`seal` draws chance and runs in the engine's thread; `accept` runs on the event loop once the commit is durable.  At
most one commit is between the two.  Called by `vault.raftstore.replica` and `writer`; filled by `load`.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from vault.crypto.errors import CryptoError
from vault.crypto.integrity import IntegrityKey, integrity_key, record_sum
from vault.crypto.keyring import Keyring, unwrap_keyring, wrap_keyring
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.raftstore import codec
from vault.raftstore.engine import Commit, Write
from vault.raftstore.head import Epoch, Head, Part, Tally
from vault.raftstore.keys import KEYRING_KEY, check, is_value, split
from vault.store.changes import AnyObject


@dataclass(frozen=True, slots=True)
class Again:
    """A record as the engine holds it, to be sealed anew if it still is the newest; its version stays."""

    framed: bytes

    def __len__(self) -> int:
        return len(self.framed)


Content = bytes | Plaintext | Again | None
"""What a key shall hold: a packed object, a value, what it holds already, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A commit that is ready for the engine, and what the ledger says once it is durable."""

    commit: Commit
    head: Head
    parts: Mapping[str, Part | None]
    keyring: Keyring


class Record(NamedTuple):
    """A record of the engine's, opened."""

    part: Part
    obj: AnyObject | None  # None = a value, which is only counted, or the keyring.
    older: bool  # It is not sealed under the newest term.


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The store's keys, head and live records."""

    cluster_id: str
    root: RootKey
    integrity: IntegrityKey
    keyring: Keyring
    head: Head
    head_bytes: bytes | None
    live: dict[str, Part] = field(default_factory=dict)
    older: set[str] = field(default_factory=set)  # Keys of records that are not sealed under the newest term.

    @classmethod
    def fresh(cls, *, cluster_id: str, root: RootKey, keyring: Keyring) -> "Ledger":
        """Return the ledger of a store that has no head yet."""
        head = Head(epoch=Epoch(0, 0), index=0, tally=Tally())
        integrity = integrity_key(root, cluster_id=cluster_id)
        return cls(cluster_id=cluster_id, root=root, integrity=integrity, keyring=keyring, head=head, head_bytes=None)

    def seal(
        self,
        index: int,
        contents: Mapping[str, Content],
        *,
        epoch: Epoch | None = None,
        keyring: Keyring | None = None,
    ) -> Sealed:
        """Return the commit that makes `contents` so, as commit `index`; changes nothing here.

        epoch: the new one, at a take-over.  keyring: a new one, which seals from the next commit on.
        """
        live = self.live
        parts: dict[str, Part | None] = {}
        writes: list[Write] = []
        for key, content in contents.items():
            if content is None:
                if key in live:
                    parts[key] = None
                    writes.append(Write(key, None))
                continue
            at = index
            if isinstance(content, Again):
                at, record = codec.unframe(key, content.framed)
                if live.get(key) != self.part(key, at, record):
                    continue  # Written or removed since.
                content = codec.unseal(self.keyring, self.cluster_id, key, at, record)
            record = codec.seal(self.keyring, self.cluster_id, key, at, _bytes(content))
            parts[key] = self.part(key, at, record)
            writes.append(Write(key, codec.frame(at, record)))
        if keyring is not None:
            assert keyring.terms.get(self.keyring.newest.number) == self.keyring.newest, "records are sealed under it"
            record = wrap_keyring(keyring, self.root, cluster_id=self.cluster_id)
            parts[KEYRING_KEY] = self.part(KEYRING_KEY, index, record)
            writes.append(Write(KEYRING_KEY, codec.frame(index, record)))
        gone = [(key, live[key]) for key in parts if key in live]
        come = [(key, part) for key, part in parts.items() if part is not None]
        head = Head(epoch=epoch or self.head.epoch, index=index, tally=self.head.tally.changed(gone, come))
        commit = Commit(expected=self.head_bytes, head=head.encode(self.integrity), writes=writes)
        return Sealed(commit=commit, head=head, parts=parts, keyring=keyring or self.keyring)

    def accept(self, sealed: Sealed) -> None:
        """Take over what has become durable."""
        new_term = sealed.keyring.newest.number != self.keyring.newest.number
        self.head, self.head_bytes, self.keyring = sealed.head, sealed.commit.head, sealed.keyring
        self.older.difference_update(sealed.parts)
        for key, part in sealed.parts.items():
            if part is None:
                self.live.pop(key, None)
            else:
                self.live[key] = part
        if new_term:
            self.older = set(self.live) - {KEYRING_KEY}

    def take(self, head: Head, head_bytes: bytes, parts: Mapping[str, Part | None], older: Set[str]) -> None:
        """Take over what another manager has committed; `older`: keys of those sealed under an older term."""
        self.head, self.head_bytes = head, head_bytes
        self.older.difference_update(parts)
        self.older.update(older)
        for key, part in parts.items():
            if part is None:
                self.live.pop(key, None)
            else:
                self.live[key] = part

    def take_keyring(self, framed: bytes | None) -> None:
        """Take over a keyring as the engine holds it.  Raises `StoreDamaged`."""
        keyring = open_keyring(self.root, self.cluster_id, framed)
        if keyring.newest.number != self.keyring.newest.number:
            self.older = set(self.live) - {KEYRING_KEY}
        self.keyring = keyring

    def record(self, key: str, framed: bytes) -> Record:
        """Count and open a record, but for values.  Raises `StoreDamaged` naming it."""
        check(key)
        index, record = codec.unframe(key, framed)
        part = self.part(key, index, record)
        if key == KEYRING_KEY:
            return Record(part, None, False)
        older = codec.term(key, record) != self.keyring.newest.number
        if is_value(key):
            return Record(part, None, older)
        packed = codec.unseal(self.keyring, self.cluster_id, key, index, record)
        return Record(part, codec.decode(key, index, packed), older)

    def part(self, key: str, index: int, record: bytes) -> Part:
        """Return what a sealed record adds to the tally."""
        kind, object_id = split(key)
        return Part(index, record_sum(self.integrity, kind=kind, object_id=object_id, index=index, record=record))

    def agrees(self, key: str, framed: bytes | None) -> bool:
        """Return whether a record as read from the engine is the one known here, or both know none."""
        if framed is None:
            return key not in self.live
        return self.live.get(key) == self.part(key, *codec.unframe(key, framed))

    def open(self, key: str, framed: bytes | None, expected: Part) -> bytes:
        """Return the plaintext of a live record as read from the engine.  Raises `StoreDamaged` naming it."""
        if framed is None:
            raise codec.damaged(key, "it is missing")
        index, record = codec.unframe(key, framed)
        if index != expected.at or self.part(key, index, record) != expected:
            raise codec.damaged(key, "it is not the record that was committed last")
        return codec.unseal(self.keyring, self.cluster_id, key, index, record)


def open_keyring(root: RootKey, cluster_id: str, framed: bytes | None) -> Keyring:
    """Return the keyring from its record.  Raises `StoreDamaged`."""
    if framed is None:
        raise codec.damaged(KEYRING_KEY, "it is missing")
    try:
        return unwrap_keyring(codec.unframe(KEYRING_KEY, framed)[1], root, cluster_id=cluster_id)
    except CryptoError as error:
        raise codec.damaged(KEYRING_KEY, error.message) from None


def _bytes(content: bytes | Plaintext) -> bytes:
    return content.reveal() if isinstance(content, Plaintext) else content
