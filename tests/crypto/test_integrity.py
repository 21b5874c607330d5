"""The sum over live records changes with every byte of every record and with nothing else."""

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import independent
from vault.crypto.integrity import add, integrity_key, record_sum, subtract
from vault.crypto.keys import RootKey

ROOT = RootKey(b"r" * 32)
KEY = integrity_key(ROOT, cluster_id="c")

records = st.tuples(
    st.sampled_from(("secret", "task")), st.text("ab", max_size=3), st.integers(0, 9), st.binary(max_size=9)
)
Record = tuple[str, str, int, bytes]


def total(live: list[Record]) -> int:
    result = 0
    for record in live:
        result = add(result, part(record))
    return result


def part(record: Record) -> int:
    kind, object_id, index, sealed = record
    return record_sum(KEY, kind=kind, object_id=object_id, index=index, record=sealed)


def test_a_part_is_what_the_design_says() -> None:
    key = independent.hkdf_expand(b"r" * 32, independent.pae(b"vault/integrity/1", b"c"), 32)
    message = independent.pae(b"secret", b"id", (5).to_bytes(8, "big"), b"sealed")
    expected = int.from_bytes(hmac.new(key, message, hashlib.sha256).digest(), "big")
    assert record_sum(KEY, kind="secret", object_id="id", index=5, record=b"sealed") == expected


@given(st.lists(records, max_size=8))
def test_order_does_not_matter(live: list[Record]) -> None:
    assert total(live) == total(sorted(live)) == total(live[::-1])


@given(st.lists(records, max_size=6), records)
def test_taking_away_undoes_adding(live: list[Record], extra: Record) -> None:
    assert subtract(total([*live, extra]), part(extra)) == total(live)
    assert 0 <= subtract(0, part(extra)) < 1 << 256


@given(st.sets(records, max_size=6), st.sets(records, max_size=6))
def test_different_sets_of_records_have_different_sums(one: set[Record], other: set[Record]) -> None:
    assert (total(list(one)) == total(list(other))) == (one == other)


def test_clusters_and_root_keys_have_integrity_keys_of_their_own() -> None:
    assert integrity_key(ROOT, cluster_id="d") != KEY
    assert integrity_key(RootKey.generate(), cluster_id="c") != KEY
