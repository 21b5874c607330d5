"""A manager's keys open at the node they were sealed to, as of one leadership; other code opens them, too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import independent
from vault.crypto.errors import Altered, CryptoError, UnknownFormat
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.manager_seal import ManagerKeys, open_at_manager, seal_to_manager
from vault.crypto.node_seal import NodeKey, open_at_node
from vault.crypto.pae import number

NODE_KEY = NodeKey.generate()
CLUSTER, NODE, EPOCH = "c" * 25, "n" * 25, (7, 9)
LOCKED = ManagerKeys(root_key=RootKey(b"r" * 32), unlock_version=3, unlock_key=UnlockKey(b"u" * 32))
OPEN = ManagerKeys(root_key=RootKey(b"r" * 32), unlock_version=1)


def sealed(keys: ManagerKeys = LOCKED, node_key: NodeKey = NODE_KEY) -> bytes:
    return seal_to_manager(node_key.public(), keys, cluster_id=CLUSTER, node_id=NODE, epoch=EPOCH)


def opened(payload: bytes, *, cluster: str = CLUSTER, node: str = NODE, epoch: tuple[int, int] = EPOCH) -> ManagerKeys:
    return open_at_manager(NODE_KEY, payload, cluster_id=cluster, node_id=node, epoch=epoch)


def test_keys_come_out_as_they_went_in() -> None:
    back = opened(sealed())
    assert (back.root_key, back.unlock_version) == (LOCKED.root_key, 3)
    assert back.unlock_key == LOCKED.unlock_key
    assert opened(sealed(OPEN)).unlock_key is None


def test_other_code_opens_the_seal() -> None:
    info = independent.pae(b"vault/manager-seal/1", CLUSTER.encode(), NODE.encode(), number(7), number(9))
    inside = independent.hpke_open(NODE_KEY.reveal(), sealed()[1:], info)
    assert inside == b"r" * 32 + (3).to_bytes(8, "big") + b"u" * 32


def test_it_opens_nowhere_else_and_at_no_other_time() -> None:
    with pytest.raises(Altered):
        opened(sealed(), cluster="d" * 25)
    with pytest.raises(Altered):
        opened(sealed(), node="m" * 25)
    for epoch in ((7, 10), (8, 9), (9, 7)):
        with pytest.raises(Altered):
            opened(sealed(), epoch=epoch)
    with pytest.raises(Altered):
        opened(sealed(node_key=NodeKey.generate()))


def test_it_is_not_taken_for_a_secret_of_a_task() -> None:
    with pytest.raises(Altered):
        open_at_node(
            NODE_KEY,
            sealed(),
            cluster_id=CLUSTER,
            node_id=NODE,
            kind="secret",
            object_id="s" * 25,
            version=1,
            epoch=EPOCH,
            sequence=1,
        )


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    payload = sealed()
    for position in range(len(payload) * 8):
        altered = bytearray(payload)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(CryptoError):
            opened(bytes(altered))
    for size in range(len(payload)):
        with pytest.raises(UnknownFormat if size != len(sealed(OPEN)) else Altered):
            opened(payload[:size])


@given(st.binary(max_size=200))
def test_bytes_from_outside_are_refused_by_name(data: bytes) -> None:
    for payload in (data, b"\x01" + data.ljust(88, b"\0")[:88]):
        with pytest.raises(CryptoError):
            opened(payload)


def test_a_key_of_small_order_is_refused() -> None:
    with pytest.raises(Altered):
        seal_to_manager(bytes(32), OPEN, cluster_id=CLUSTER, node_id=NODE, epoch=EPOCH)
