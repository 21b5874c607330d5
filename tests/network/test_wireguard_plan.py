"""Which devices a node has, which of them leads to a peer, when it speaks to one, and what processes answer."""

from collections.abc import Collection
from ipaddress import IPv4Address
from itertools import pairwise

import pytest

from vault.crypto.wireguard_seal import WireGuardKey
from vault.model.node import EncryptionKey, NodeEncryption
from vault.model.overlay import EncryptionPeer, OverlayEncryption
from vault.network.wireguard import uapi
from vault.network.wireguard.contact import LISTEN_S, SPEAK_S, Contacts
from vault.network.wireguard.messages import Seen
from vault.network.wireguard.plan import Peer, Plan, applied, epoch_in_use, planned, port_of, ways
from vault.network.wireguard.silence import OVERDUE_S, SHOWN, Silence

OWN = "198.18.0.2"


def keys(node: str, *epochs: int) -> tuple[EncryptionKey, ...]:
    return tuple(EncryptionKey(epoch=epoch, public=key(node, epoch)) for epoch in epochs)


def key(node: str, epoch: int) -> bytes:
    return f"{node}{epoch}".encode().ljust(32, b".")


def peer(node: str, number: int, *epochs: int, addr: str = "192.0.2.9") -> EncryptionPeer:
    return EncryptionPeer(node_id=node, node_addr=addr, address=f"198.18.0.{number}", keys=keys(node, *epochs))


def told(*peers: EncryptionPeer, epochs: tuple[int, ...] = (1,)) -> OverlayEncryption:
    own = NodeEncryption(address=OWN, keys=keys("own", *epochs), sealed_to=b"")
    return OverlayEncryption(full=True, own=own, put_peers=peers)


def plan_of(said: OverlayEncryption, *needed: str) -> Plan:
    plan = planned(said, needed, "wtag")
    assert plan is not None
    return plan


def way(plan: Plan, met: dict[str, Collection[bytes]], held: dict[str, str] | None = None) -> dict[str, str]:
    known = {IPv4Address(address): device for address, device in (held or {}).items()}
    return {str(way.address): way.device for way in ways(plan, met, known)}


def test_a_node_on_no_encrypted_network_has_no_device() -> None:
    assert planned(OverlayEncryption(full=True), ("a",), "wtag") is None


def test_there_is_a_device_for_each_epoch_with_the_peers_that_have_a_key_of_it() -> None:
    plan = plan_of(told(peer("a", 1, 4, 5), peer("b", 3, 4), epochs=(4, 5)), "a", "b")
    older, newer = plan.devices
    assert (older.epoch, older.name, older.port) == (4, "wtag1", 7947)
    assert (newer.epoch, newer.name, newer.port) == (5, "wtag0", 7946)
    assert set(older.peers) == {key("a", 4), key("b", 4)}
    assert set(newer.peers) == {key("a", 5)}
    assert newer.peers[key("a", 5)].port == 7946


def test_the_first_epoch_has_the_port_that_firewalls_of_swarms_know() -> None:
    assert port_of(1) == 7946


def test_only_nodes_with_which_a_network_is_shared_are_peers() -> None:
    assert set(plan_of(told(peer("a", 1, 1), peer("b", 3, 1)), "b", "c").devices[0].peers) == {key("b", 1)}


def test_a_node_whose_address_is_not_known_waits() -> None:
    assert not plan_of(told(peer("a", 1, 1, addr="")), "a").devices[0].peers


def test_of_two_nodes_one_speaks_first() -> None:
    peers = plan_of(told(peer("a", 1, 1), peer("b", 3, 1)), "a", "b").devices[0].peers
    assert (peers[key("a", 1)].first, peers[key("b", 1)].first) == (False, True)


def test_a_peer_is_led_to_once_it_was_met_and_by_the_newest_device_that_has() -> None:
    plan = plan_of(told(peer("a", 1, 4, 5), epochs=(4, 5)), "a")
    assert way(plan, {}) == {}
    assert way(plan, {"wtag1": {key("a", 4)}}) == {"198.18.0.1": "wtag1"}
    both = {"wtag1": {key("a", 4)}, "wtag0": {key("a", 5)}}
    assert way(plan, both, {"198.18.0.1": "wtag1"}) == {"198.18.0.1": "wtag0"}


def test_a_way_is_kept_until_a_newer_device_has_met_the_peer() -> None:
    plan = plan_of(told(peer("a", 1, 4, 5), epochs=(4, 5)), "a")
    assert way(plan, {}, {"198.18.0.1": "wtag1"}) == {"198.18.0.1": "wtag1"}
    assert way(plan, {"wtag1": {key("a", 4)}}, {"198.18.0.1": "wtag0"}) == {"198.18.0.1": "wtag0"}


def test_a_peer_that_is_none_any_more_has_no_way() -> None:
    assert way(plan_of(told(peer("a", 1, 1))), {"wtag0": {key("a", 1)}}, {"198.18.0.1": "wtag0"}) == {}


@pytest.mark.parametrize(
    ("a_has", "met", "epoch"),
    [
        ((4, 5), {"wtag1": {"a4", "b4"}}, 4),
        ((4, 5), {"wtag1": {"a4", "b4"}, "wtag0": {"b5"}}, 4),
        ((4, 5), {"wtag1": {"a4", "b4"}, "wtag0": {"a5", "b5"}}, 5),
        ((4,), {"wtag1": {"a4", "b4"}, "wtag0": {"b5"}}, 4),  # It has no newer key yet, and must not be left behind.
    ],
)
def test_an_epoch_is_in_use_once_every_peer_is_led_to_by_it(
    a_has: tuple[int, ...], met: dict[str, set[str]], epoch: int
) -> None:
    plan = plan_of(told(peer("a", 1, *a_has), peer("b", 3, 4, 5), epochs=(4, 5)), "a", "b")
    known = {device: {name.encode().ljust(32, b".") for name in names} for device, names in met.items()}
    assert epoch_in_use(plan, ways(plan, known, {}), known) == epoch


def test_a_node_without_peers_uses_its_newest_keys() -> None:
    plan = plan_of(told(epochs=(4, 5)))
    assert epoch_in_use(plan, ways(plan, {}, {}), {}) == 5


def test_what_was_told_is_changed_by_differences_and_replaced_by_a_full_message() -> None:
    held = told(peer("a", 1, 1), peer("b", 3, 1))
    change = OverlayEncryption(own=held.own, put_peers=(peer("b", 3, 1, 2), peer("c", 4, 1)), remove_peers=("a", "x"))
    after = applied(held, change)
    assert after == told(peer("b", 3, 1, 2), peer("c", 4, 1))
    assert applied(after, OverlayEncryption(full=True)) == OverlayEncryption(full=True)


def test_the_first_speaks_at_once_and_then_ever_more_rarely_until_heard() -> None:
    contacts = Contacts()
    plan = plan_of(told(peer("b", 3, 1)), "b")
    peers = plan.devices[0].peers
    spoken = [n for n in range(1000) if contacts.due(peers, (), n / 100)]
    assert all(abs(n - wanted) <= 1 for n, wanted in zip(spoken, [0, 5, 15, 35, 75], strict=False))
    assert max(later - one for one, later in pairwise(spoken)) <= SPEAK_S[1] * 100 + 1
    assert not contacts.due(peers, peers.keys(), 100)
    assert contacts.due(peers, (), 200) == set(peers)  # It was lost again: from the beginning.


def test_the_other_listens_for_a_while_first() -> None:
    contacts = Contacts()
    peers = plan_of(told(peer("a", 1, 1)), "a").devices[0].peers
    assert not contacts.due(peers, (), 0)
    assert not contacts.due(peers, (), LISTEN_S - 0.01)
    assert contacts.due(peers, (), LISTEN_S)


def test_an_answer_of_a_process_is_read() -> None:
    """As wireguard-go 0.0.20220316 gave it, keys replaced."""
    answer = (
        "private_key=" + WireGuardKey(bytes(32)).reveal().hex() + "\nlisten_port=7947\n"
        "public_key=" + "ab" * 32 + "\npreshared_key=" + "00" * 32 + "\nprotocol_version=1\n"
        "endpoint=192.0.2.2:7947\nlast_handshake_time_sec=1795664572\nlast_handshake_time_nsec=4\ntx_bytes=788\n"
        "rx_bytes=156\npersistent_keepalive_interval=25\nallowed_ip=198.18.0.2/32\n"
        "public_key="
        + "cd"
        * 32
        + "\nendpoint=[2001:db8::3]:7947\nlast_handshake_time_sec=0\nallowed_ip=198.18.0.3/32\n"
        "errno=0\n\n"
    )
    state = uapi.state_in(answer.encode())
    assert state.key == WireGuardKey(bytes(32))
    assert state.port == 7947
    assert state.peers == (
        Seen(b"\xab" * 32, "192.0.2.2", 7947, ("198.18.0.2/32",), True),
        Seen(b"\xcd" * 32, "2001:db8::3", 7947, ("198.18.0.3/32",), False),
    )
    assert uapi.error_in(answer.encode()) == 0


def test_errors_of_a_process_are_read() -> None:
    assert uapi.error_in(b"errno=-98\n\n") == 98
    for other in (b"", b"\n\n", b"errno=x\n\n", b"hello\n\n"):
        with pytest.raises(ValueError, match=r"errno|invalid literal"):
            uapi.error_in(other)


def test_addresses_of_version_6_stand_in_brackets() -> None:
    one = Peer(public_key=b"k" * 32, endpoint="2001:db8::3", port=7946, address=IPv4Address(OWN), first=False)
    asked = uapi.change_peers([one], [b"r" * 32], ())
    assert asked.startswith(b"set=1\npublic_key=" + b"72" * 32 + b"\nremove=true\npublic_key=" + b"6b" * 32)
    assert b"\nendpoint=[2001:db8::3]:7946\n" in asked
    assert b"keepalive" not in asked
    assert b"keepalive_interval=25\n\n" in uapi.change_peers([one], (), {b"k" * 32})


def test_peers_that_are_silent_for_long_are_told_of_once_and_again_when_they_answer() -> None:
    said = told(peer("a", 1, 4, 5), peer("b", 3, 4, 5, addr="192.0.2.8"), epochs=(4, 5))
    plan, silence = plan_of(said, "a", "b"), Silence()
    met: dict[str, Collection[bytes]] = {"wtag1": {key("a", 4), key("b", 4)}, "wtag0": ()}
    assert silence.look(plan, met, 100.0) == ()
    assert silence.look(plan, met, 100.0 + OVERDUE_S - 1) == ()
    (both,) = silence.look(plan, met, 100.0 + OVERDUE_S)
    assert both.fields == {"epoch": 5, "udp_port": 7946, "peers": ["192.0.2.8", "192.0.2.9"], "count": 2}
    assert silence.look(plan, met, 200.0) == ()
    (left,) = silence.look(plan, met | {"wtag0": {key("a", 5)}}, 201.0)
    assert left.addresses == ("192.0.2.8",)
    (nobody,) = silence.look(plan, met | {"wtag0": {key("a", 5), key("b", 5)}}, 202.0)
    assert (nobody.epoch, nobody.port, nobody.addresses) == (5, 7946, ())
    assert silence.look(plan, met, 203.0) == (), "it is waited for anew"


def test_nothing_is_told_of_peers_that_are_peers_no_more() -> None:
    silence, alone = Silence(), plan_of(told(peer("a", 1, 1)))
    assert silence.look(plan_of(told(peer("a", 1, 1)), "a"), {}, 0.0) == ()
    assert silence.look(alone, {}, OVERDUE_S) == ()
    silence.look(plan_of(told(peer("a", 1, 1)), "a"), {}, 100.0)
    assert silence.look(plan_of(told(peer("a", 1, 1)), "a"), {}, 100.0 + OVERDUE_S)
    assert silence.look(None, {}, 200.0) == (), "it is on no encrypted network any more"
    assert silence.overdue == {}


def test_an_event_names_a_bounded_number_of_peers() -> None:
    names = [f"n{n}" for n in range(SHOWN + 4)]
    said = told(*(peer(name, n + 10, 1, addr=f"192.0.2.{n}") for n, name in enumerate(names)))
    silence = Silence()
    silence.look(plan_of(said, *names), {}, 0.0)
    (one,) = silence.look(plan_of(said, *names), {}, OVERDUE_S)
    assert (len(one.addresses), one.fields["count"], len(one.fields["peers"])) == (SHOWN + 4, SHOWN + 4, SHOWN)  # type: ignore[arg-type]
