"""A value sealed to a node opens at that node, as that version, at that place of the stream."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from tests.crypto import independent
from vault.crypto.errors import Altered, CryptoError, UnknownFormat, WrongLength
from vault.crypto.node_seal import MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, NodeKey, open_at_node, seal_to_node
from vault.crypto.plaintext import Plaintext

KEY = NodeKey(bytes(range(1, 33)))
VALUE = Plaintext(b"value\x00\xff")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    cluster_id: str = "cluster"
    node_id: str = "node"
    kind: str = "secret"
    object_id: str = "id"
    version: int = 4
    epoch: tuple[int, int] = (1, 2)
    sequence: int = 9

    def seal(self, value: Plaintext = VALUE) -> bytes:
        return seal_to_node(KEY.public(), value, **vars(self))

    def open(self, payload: bytes, key: NodeKey = KEY) -> Plaintext:
        return open_at_node(key, payload, **vars(self))


HERE = Place()
INFO = independent.pae(
    b"vault/node-seal/1",
    b"cluster",
    b"node",
    b"secret",
    b"id",
    *(count.to_bytes(8, "big") for count in (4, 1, 2, 9)),
)


def test_the_code_that_checks_us_gives_the_vectors_of_rfc_9180() -> None:
    """Source: RFC 9180, appendix A.1.1 (base mode; its suite has AES-128-GCM, so key and nonce are compared)."""
    private = bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    public = bytes.fromhex("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d")
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    assert NodeKey(private).public() == public
    hpke = independent.Hpke(1, 16)
    shared = hpke.shared_secret(private, enc, enc, public)
    assert shared.hex() == "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"
    key, nonce = hpke.key_and_nonce(shared, info)
    assert (key.hex(), nonce.hex()) == ("4531685d41d65f03dc48f6b8302c05b0", "56d890e5accaaf011cff4b7d")


def test_code_written_apart_opens_what_we_seal() -> None:
    assert independent.hpke_open(KEY.reveal(), HERE.seal()[1:], INFO) == VALUE.reveal()


def test_we_open_what_code_written_apart_seals() -> None:
    sealed = independent.hpke_seal(b"\x55" * 32, KEY.public(), VALUE.reveal(), INFO)
    assert HERE.open(b"\x01" + sealed) == VALUE


@given(st.binary(max_size=2000))
def test_values_come_back_byte_for_byte(value: bytes) -> None:
    payload = HERE.seal(Plaintext(value))
    assert len(payload) == len(value) + OVERHEAD_BYTES == len(value) + 49
    assert HERE.open(payload).reveal() == value


@pytest.mark.parametrize(
    "elsewhere",
    [
        Place(cluster_id="other"),
        Place(node_id="other"),
        Place(kind="config"),
        Place(object_id="other"),
        Place(version=5),
        Place(epoch=(2, 2)),
        Place(epoch=(1, 3)),
        Place(sequence=10),
        Place(cluster_id="clustern", node_id="ode"),
    ],
)
def test_it_does_not_open_as_anything_else(elsewhere: Place) -> None:
    with pytest.raises(Altered):
        elsewhere.open(HERE.seal())


def test_another_node_cannot_open_it() -> None:
    with pytest.raises(Altered):
        HERE.open(HERE.seal(), NodeKey.generate())


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    payload = HERE.seal()
    for position in range(len(payload) * 8):
        altered = bytearray(payload)
        altered[position // 8] ^= 1 << position % 8
        if position == 8 + 255:  # X25519 ignores the top bit of a point, but HPKE binds the bytes of it.
            assert bytes(altered) != payload
        with pytest.raises(CryptoError):
            HERE.open(bytes(altered))
    for size in range(len(payload)):
        with pytest.raises(CryptoError):
            HERE.open(payload[:size])


@given(st.binary(max_size=200))
def test_bytes_from_outside_are_refused_by_name(data: bytes) -> None:
    for start in (b"", b"\x01"):
        with pytest.raises(CryptoError):
            HERE.open(start + data)


def test_an_oversized_payload_is_refused_before_it_is_read() -> None:
    with pytest.raises(UnknownFormat):
        HERE.open(b"\x01" + bytes(MAX_PAYLOAD_BYTES))


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), b"", bytes(31)])
def test_a_public_key_that_gives_no_secret_is_refused(public: bytes) -> None:
    """Points of small order make a shared secret that anybody knows.  Source: RFC 7748, section 6.1."""
    with pytest.raises(Altered, match="public key"):
        seal_to_node(public, VALUE, **vars(HERE))


def test_the_public_half_is_what_libsodium_computes() -> None:
    assert KEY.public() == bindings.crypto_scalarmult_base(KEY.reveal())


def test_a_node_key_has_32_bytes() -> None:
    with pytest.raises(WrongLength):
        NodeKey(bytes(31))
