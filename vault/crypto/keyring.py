"""The keyring: numbered data keys (terms).  The newest seals, older ones still open.

Immutable; not pure (new terms and wrapping draw chance).  Kept wrapped under the root key; a new term is committed
before its first use, which is the caller's duty.  Called by `vault.raftstore`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from types import MappingProxyType
from typing import Final

from vault.crypto import committed
from vault.crypto._hazmat import MacKey
from vault.crypto.errors import Altered, KeyringFull, UnknownFormat, UnknownTerm
from vault.crypto.keys import KEY_BYTES, DataKey, RootKey

MAX_TERMS: Final = 4096
_VERSION: Final = b"\x01"
_LABEL: Final = b"vault/keyring/1"
_WHAT: Final = "the keyring"
_TERM: Final = Struct(f">IQ{KEY_BYTES}s")  # Number, unix seconds of creation, key.


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One data key and when it was made; a term older than 90 days asks for a successor."""

    number: int  # From 1, going up.
    created_s: int  # Unix seconds.
    key: DataKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """At least one term, by number.  `newest` seals."""

    terms: Mapping[int, Term]
    newest: Term

    def key(self, term: int) -> DataKey:
        """Return the data key of a term.  Raises `UnknownTerm`."""
        found = self.terms.get(term)
        if found is None:
            raise UnknownTerm(term)
        return found.key


def new_keyring(*, now_s: float) -> Keyring:
    """Return a keyring with one fresh term, number 1."""
    return _keyring((Term(number=1, created_s=int(now_s), key=DataKey.generate()),))


def with_new_term(keyring: Keyring, *, now_s: float) -> Keyring:
    """Return a keyring whose newest term is fresh.  Commit it before anything is sealed with it.

    Raises `KeyringFull` when it would hold more than `MAX_TERMS`.
    """
    if len(keyring.terms) >= MAX_TERMS:
        raise KeyringFull(len(keyring.terms))
    fresh = Term(number=keyring.newest.number + 1, created_s=int(now_s), key=DataKey.generate())
    return _keyring((*keyring.terms.values(), fresh))


def without_terms_before(keyring: Keyring, number: int) -> Keyring:
    """Return a keyring that has forgotten the terms below number; the newest stays.

    For when re-sealing is complete and nothing is sealed under them any more.
    """
    return _keyring(tuple(t for t in keyring.terms.values() if t.number >= number or t is keyring.newest))


def wrap_keyring(keyring: Keyring, root: RootKey, *, cluster_id: str) -> bytes:
    """Encrypt the keyring under the root key, bound to the cluster.

    Returns version (1), then a committed seal of 44 bytes a term, ascending.
    """
    body = b"".join(_TERM.pack(t.number, t.created_s, t.key.reveal()) for t in keyring.terms.values())
    return committed.seal(MacKey(root.reveal()), _LABEL, _VERSION, (cluster_id.encode(),), body)


def unwrap_keyring(wrapped: bytes, root: RootKey, *, cluster_id: str) -> Keyring:
    """Undo `wrap_keyring`.  Raises `UnknownFormat`, or `Altered` when bytes, cluster or root key differ."""
    if wrapped[:1] != _VERSION or len(wrapped) > 1 + committed.OVERHEAD_BYTES + MAX_TERMS * _TERM.size:
        raise UnknownFormat(_WHAT)
    body = committed.unseal(MacKey(root.reveal()), _LABEL, 1, (cluster_id.encode(),), wrapped, what=_WHAT)
    if not body or len(body) % _TERM.size:
        raise Altered(_WHAT)
    terms = tuple(Term(number=n, created_s=s, key=DataKey(key)) for n, s, key in _TERM.iter_unpack(body))
    if any(a.number >= b.number for a, b in pairwise(terms)):
        raise Altered(_WHAT)
    return _keyring(terms)


def _keyring(terms: tuple[Term, ...]) -> Keyring:
    """Return the keyring of ascending terms."""
    assert 0 < len(terms) <= MAX_TERMS
    return Keyring(terms=MappingProxyType({t.number: t for t in terms}), newest=terms[-1])
