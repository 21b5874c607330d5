"""A WireGuard key opens at the node it was made for, as its key of that epoch; other programs know its public half."""

import base64
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import independent
from vault.crypto.errors import Altered, CryptoError, UnknownFormat, WrongLength
from vault.crypto.node_seal import NodeKey, open_at_node
from vault.crypto.wireguard_seal import SEALED_BYTES, WireGuardKey, open_wireguard_key, seal_wireguard_key

NODE_KEY = NodeKey.generate()
KEY = WireGuardKey(bytes(range(32)))
CLUSTER, NODE = "c" * 25, "n" * 25


def sealed() -> bytes:
    return seal_wireguard_key(NODE_KEY.public(), KEY, cluster_id=CLUSTER, node_id=NODE, epoch=7)


def opened(payload: bytes, *, cluster: str = CLUSTER, node: str = NODE, epoch: int = 7) -> WireGuardKey:
    return open_wireguard_key(NODE_KEY, payload, cluster_id=cluster, node_id=node, epoch=epoch)


def test_a_key_comes_out_as_it_went_in() -> None:
    assert opened(sealed()) == KEY
    assert len(sealed()) == SEALED_BYTES == 81


def test_other_code_opens_the_seal() -> None:
    info = independent.pae(b"vault/wireguard-key/1", CLUSTER.encode(), NODE.encode(), (7).to_bytes(8, "big"))
    assert independent.hpke_open(NODE_KEY.reveal(), sealed()[1:], info) == KEY.reveal()


def test_it_opens_nowhere_else_and_in_no_other_epoch() -> None:
    for other in ({"cluster": "d" * 25}, {"node": "m" * 25}):
        with pytest.raises(Altered):
            opened(sealed(), **other)
    with pytest.raises(Altered):
        opened(sealed(), epoch=8)
    with pytest.raises(Altered):
        open_wireguard_key(NodeKey.generate(), sealed(), cluster_id=CLUSTER, node_id=NODE, epoch=7)


def test_it_is_not_taken_for_a_secret_of_a_task() -> None:
    with pytest.raises(Altered):
        open_at_node(
            NODE_KEY, sealed(), cluster_id=CLUSTER, node_id=NODE, kind="wireguard", object_id="", version=7,
            epoch=(0, 0), sequence=0,
        )  # fmt: skip


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    payload = sealed()
    for position in range(len(payload) * 8):
        altered = bytearray(payload)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(CryptoError):
            opened(bytes(altered))
    for size in range(len(payload)):
        with pytest.raises(UnknownFormat):
            opened(payload[:size])


@given(st.binary(max_size=200))
def test_bytes_from_outside_are_refused_by_name(data: bytes) -> None:
    for start in (b"", b"\x01"):
        with pytest.raises(CryptoError):
            opened(start + data)


def test_a_public_key_of_a_node_that_is_none_is_refused() -> None:
    with pytest.raises(Altered, match="public key"):
        seal_wireguard_key(bytes(32), KEY, cluster_id=CLUSTER, node_id=NODE, epoch=1)


def test_keys_are_clamped_and_have_32_bytes() -> None:
    key = WireGuardKey(b"\xff" * 32).reveal()
    assert (key[0], key[31]) == (0xF8, 0x7F)
    with pytest.raises(WrongLength):
        WireGuardKey(bytes(31))


@pytest.mark.machine
def test_the_public_half_is_what_wg_computes() -> None:
    for key in (KEY, WireGuardKey.generate()):
        text = base64.b64encode(key.reveal())
        asked = subprocess.run(["wg", "pubkey"], input=text, capture_output=True, check=True)
        assert base64.b64decode(asked.stdout) == key.public()
