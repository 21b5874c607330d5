"""Messages about certificates and managers: what arrives is bounded, and never more than it says it is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto.certificates import MAX_PEM_BYTES
from vault.rpc.messages_ca import AskRoot, Issued, IssueRequest, RootCA, TrustIs
from vault.rpc.messages_manager import Enter, Entered, Peer

TYPES = (AskRoot, RootCA, IssueRequest, Issued, TrustIs, Enter, Entered)
ENTERED = Entered(
    generation=1,
    counter=2,
    keys=b"k",
    peer_certificate=b"c",
    peer_authority=b"a",
    revocation_list=b"r",
    engine_dir="etcd-1",
    peers=(Peer(name="n" * 25, url="https://10.0.0.1:2380"),),
)


@given(st.binary(max_size=200))
def test_bytes_from_outside_are_a_message_or_are_refused(data: bytes) -> None:
    for type_ in TYPES:
        try:
            read = msgspec.msgpack.decode(data, type=type_)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(read), type=type_) == read


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        (IssueRequest, {"request": b"x" * (MAX_PEM_BYTES + 1)}),
        (IssueRequest, {"request": b"", "token": "t" * 257}),
        (IssueRequest, {"request": b"", "hostname": "h" * 257}),
        (TrustIs, {"trust": b"", "role": "worker", "issuer": "", "within_s": -1.0}),
        (TrustIs, {"trust": b"", "role": "worker", "issuer": "", "within_s": 1e9}),
        (Issued, {"cluster_id": "", "node_id": "", "certificate": b"", "trust": b"", "managers": [("n", "a")] * 257}),
        (Enter, {"peer_request": b"x" * (MAX_PEM_BYTES + 1), "peer_address": "", "control_address": ""}),
        (Entered, {**msgspec.structs.asdict(ENTERED), "keys": b"x" * 1025}),
        (Entered, {**msgspec.structs.asdict(ENTERED), "counter": -1}),
    ],
)
def test_what_is_longer_than_it_may_be_is_refused(type_: type[msgspec.Struct], fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=type_)


def test_what_a_new_manager_gets_comes_through_whole() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ENTERED), type=Entered) == ENTERED
