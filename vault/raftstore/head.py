"""Head: who may write (epoch), how far the store is (commit index), and a tally of every live record.  Pure.

Layout: version (1) ‖ generation (8) ‖ counter (8) ‖ index (8) ‖ tally (count 8, indexes 48, places 48, products 48,
sum 32) ‖ tag (32); numbers big endian.  The tag is HMAC-SHA256 under the integrity key.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

import msgspec

from vault.crypto.integrity import SUM_BYTES, IntegrityKey, add, record_sum, subtract
from vault.model.errors import StoreDamaged
from vault.raftstore.keys import number_of

_VERSION: Final = 1
_WIDE_BYTES: Final = 48
_WIDE: Final = 1 << (8 * _WIDE_BYTES)
_LAYOUT: Final = Struct(f">BQQQQ{_WIDE_BYTES}s{_WIDE_BYTES}s{_WIDE_BYTES}s{SUM_BYTES}s")
_OPENING: Final = Struct(">BQQQ")
HEAD_BYTES: Final = _LAYOUT.size + SUM_BYTES


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one live record adds to the tally.  The garbage collector need not look at so many."""

    at: int  # The commit index it was written with.
    mac: int  # Its part of the integrity sum.


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Sums over all live records: `total` proves that all are there unaltered, the others say which one is not.

    places, products: sums of `number_of(key)`, and of it times the index, so that one record that was dropped, added
    or replaced by an older one can be named.
    """

    count: int = 0
    indexes: int = 0
    places: int = 0
    products: int = 0
    total: int = 0

    def changed(self, gone: Iterable[tuple[str, Part]], come: Iterable[tuple[str, Part]]) -> "Tally":
        """Return the tally without the records `gone`, and with those that have `come`."""
        count, indexes, places, products, total = self.count, self.indexes, self.places, self.products, self.total
        for key, part in gone:
            number, index = number_of(key), part.at
            count, indexes, places, products = count - 1, indexes - index, places - number, products - number * index
            total = subtract(total, part.mac)
        for key, part in come:
            number, index = number_of(key), part.at
            count, indexes, places, products = count + 1, indexes + index, places + number, products + number * index
            total = add(total, part.mac)
        return Tally(
            count=count, indexes=indexes % _WIDE, places=places % _WIDE, products=products % _WIDE, total=total
        )

    def less(self, other: "Tally") -> "Tally":
        """Return the difference of two tallies; its count may be negative."""
        return Tally(
            count=self.count - other.count,
            indexes=(self.indexes - other.indexes) % _WIDE,
            places=(self.places - other.places) % _WIDE,
            products=(self.products - other.products) % _WIDE,
            total=subtract(self.total, other.total),
        )

    def is_of_one(self, key: str) -> bool:
        """Return whether this difference is that of one record under `key` with another index than the newest."""
        moved = self.count == self.places == 0 != self.indexes
        return moved and self.products == number_of(key) * self.indexes % _WIDE


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """Who leads: the generation goes up with a restore, the counter with every take-over."""

    generation: int
    counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The state of the store after one commit."""

    epoch: Epoch
    index: int
    tally: Tally

    def encode(self, key: IntegrityKey) -> bytes:
        """Return `HEAD_BYTES` bytes, the last 32 a tag over the others."""
        tally = self.tally
        body = _LAYOUT.pack(
            _VERSION,
            self.epoch.generation,
            self.epoch.counter,
            self.index,
            tally.count,
            tally.indexes.to_bytes(_WIDE_BYTES, "big"),
            tally.places.to_bytes(_WIDE_BYTES, "big"),
            tally.products.to_bytes(_WIDE_BYTES, "big"),
            tally.total.to_bytes(SUM_BYTES, "big"),
        )
        return body + _tag(key, self.index, body)


def peek(encoded: bytes) -> tuple[Epoch, int]:
    """Return the epoch and the index that head claims, unproven.  Raises `StoreDamaged` if it is no head at all."""
    if len(encoded) != HEAD_BYTES or encoded[0] != _VERSION:
        raise StoreDamaged("the record head is damaged or of another version: restore it from a backup")
    _, generation, counter, index = _OPENING.unpack_from(encoded)
    return Epoch(generation, counter), index


def decode_head(key: IntegrityKey, encoded: bytes) -> Head:
    """Undo `Head.encode`.  Raises `StoreDamaged` for any other bytes, or another key."""
    peek(encoded)
    body, tag = encoded[: _LAYOUT.size], encoded[_LAYOUT.size :]
    _, generation, counter, index, count, indexes, places, products, total = _LAYOUT.unpack(body)
    if not hmac.compare_digest(tag, _tag(key, index, body)):
        raise StoreDamaged("the record head was altered, or belongs to another swarm: restore it from a backup")
    wide = [int.from_bytes(number, "big") for number in (indexes, places, products, total)]
    return Head(
        epoch=Epoch(generation, counter),
        index=index,
        tally=Tally(count=count, indexes=wide[0], places=wide[1], products=wide[2], total=wide[3]),
    )


def _tag(key: IntegrityKey, index: int, body: bytes) -> bytes:
    number = record_sum(key, kind="head", object_id="head", index=index, record=body)
    return number.to_bytes(SUM_BYTES, "big")
