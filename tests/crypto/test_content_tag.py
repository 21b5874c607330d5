"""A tag tells the values of one object apart, and tells nobody without the root key anything else."""

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import independent
from vault.crypto.content_tag import content_tag
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext

ROOT = RootKey(b"r" * 32)


def tag(
    value: bytes = b"value", *, root: RootKey = ROOT, cluster_id: str = "c", kind: str = "secret", name: str = "n"
) -> str:
    return content_tag(root, cluster_id=cluster_id, kind=kind, name=name, value=Plaintext(value))


def test_a_tag_is_what_the_design_says() -> None:
    key = independent.hkdf_expand(b"r" * 32, independent.pae(b"vault/content-tag/1", b"c"), 32)
    message = independent.pae(b"secret", b"n", b"value")
    assert tag() == hmac.new(key, message, hashlib.sha256).hexdigest()[:10]


def test_keys_clusters_kinds_and_names_have_tags_of_their_own() -> None:
    others = {tag(root=RootKey(b"s" * 32)), tag(cluster_id="d"), tag(kind="config"), tag(name="m"), tag(b"other")}
    assert len(others | {tag()}) == 6
    assert tag(b"value", name="n") == tag(), "and it stays as it is"


@given(st.text("ab", max_size=3), st.binary(max_size=3))
def test_a_byte_that_moves_between_name_and_value_changes_the_tag(name: str, value: bytes) -> None:
    assert tag(b"x" + value, name=name) != tag(value, name=name + "x")
