"""The bytes for the kernel's WireGuard are those of Debian's `wg`, and what `wg` reads of an answer is read here.

Recorded on 2026-11-26 from wireguard-tools 1.0.20210914: its library calls `sendto` and `recvmsg` were replaced by ones
that noted each request and answered in place of a kernel (message type 29), since no kernel with WireGuard was at hand.
The answer was made after <linux/wireguard.h>; `wg show dump` printed it as quoted below.
"""

import asyncio
from ipaddress import IPv4Address

import pytest

from tests.network.hosts import scratch_host, sh
from vault.crypto.wireguard_seal import WireGuardKey
from vault.network.kernel.links import Netlink
from vault.network.kernel.netlink import aligned
from vault.network.kernel.programs import NetworkFailed
from vault.network.wireguard import kernel as wireguard_kernel
from vault.network.wireguard.kernel import KernelDevice
from vault.network.wireguard.messages import (
    PEERS_AT_ONCE,
    Seen,
    ask_family,
    ask_state,
    change_peers,
    family_in,
    set_device,
    state_in,
)
from vault.network.wireguard.plan import Peer

KEY = WireGuardKey(bytes(range(32)))  # AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8=
ONE = bytes(range(64, 95)) + b"\x5f"  # QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=
TWO = bytes(range(96, 128))  # YGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn8=
PEERS = (
    Peer(public_key=ONE, endpoint="192.0.2.2", port=7946, address=IPv4Address("198.18.0.2"), first=True),
    Peer(public_key=TWO, endpoint="2001:db8::3", port=7946, address=IPv4Address("198.18.0.3"), first=False),
)

# Each with its netlink header, as recorded.
GET_FAMILY = "24000000100005004ba7076b00000000030100000e000200776972656775617264000000"
# wg setconf vwg0: [Interface] PrivateKey, ListenPort = 7946
SETCONF = (
    "5c0000001d000500cfaa076b000000000101000009000200767767300000000024000300000102030405060708090a0b0c0d0e0f10111213"
    "1415161718191a1b1c1d1e5f060006000a1f000008000700000000000800050001000000"
)
# wg set vwg0 peer ONE endpoint 192.0.2.2:7946 persistent-keepalive 25 allowed-ips 198.18.0.2/32
#             peer TWO endpoint [2001:db8::3]:7946 allowed-ips 198.18.0.3/32
SET_PEERS = (
    "000100001d000500bcaa076b0000000001010000090002007677673000000000e00008806c0000802400010040414243444546474849"
    "4a4b4c4d4e4f505152535455565758595a5b5c5d5e5f1400040002001f0ac00002020000000000000000060005001900000008000300"
    "02000000200009801c000080060001000200000008000200c612000205000300200000007000008024000100606162636465666768696a"
    "6b6c6d6e6f707172737475767778797a7b7c7d7e7f200004000a001f0a0000000020010db80000000000000000000000030000000008"
    "00030002000000200009801c000080060001000200000008000200c61200030500030020000000"
)
# wg set vwg0 peer ONE remove
REMOVE_PEER = (
    "540000001d000500bcaa076b0000000001010000090002007677673000000000340008803000008024000100404142434445464748494a4b"
    "4c4d4e4f505152535455565758595a5b5c5d5e5f0800030001000000"
)
# wg show vwg0 dump
SHOW = "200000001d000503cfaa076b0000000000010000090002007677673000000000"
# KEY (none) 7946 off / ONE 192.0.2.2:7946 198.18.0.2/32 1780000000 / TWO [2001:db8::3]:7946 198.18.0.3/32,198.18.0.9/32
ANSWERS = (
    "00010000060006000a1f00000800070000000000080001000500000009000200767767300000000024000300000102030405060708090a0b"
    "0c0d0e0f101112131415161718191a1b1c1d1e5f240004000000000000000000000000000000000000000000000000000000000000000000"
    "c0000880bc00008024000100404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f240002000000000000000000"
    "0000000000000000000000000000000000000000000000001400060000a5186a0000000005000000000000000600050019000000"
    "0c00080014030000000000000c0007009c0000000000000008000a00010000001400040002001f0ac0000202000000000000000020000980"
    "1c000080060001000200000008000200c61200020500030020000000",
    "0001000014010880c800008024000100606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f2400020000000000"
    "0000000000000000000000000000000000000000000000000000000014000600000000000000000000000000000000000600050000000000"
    "0c00080000000000000000000c000700000000000000000008000a0001000000200004000a001f0a0000000020010db80000000000000000"
    "0000000300000000200009801c000080060001000200000008000200c6120003050003002000000048000080240001006061626364656667"
    "68696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f200009801c000080060001000200000008000200c61200090500030020000000",
)


def recorded(message: str) -> bytes:
    """Return what comes after the header of a recorded message."""
    data = bytes.fromhex(message)
    assert int.from_bytes(data[:4], "little") == len(data)
    return data[16:]


def padded(body: bytes) -> bytes:
    return body.ljust(aligned(len(body)), b"\0")


def test_requests_are_byte_for_byte_those_of_wg() -> None:
    assert padded(ask_family()) == recorded(GET_FAMILY)
    assert padded(ask_state("vwg0")) == recorded(SHOW)
    assert padded(set_device("vwg0", KEY, 7946)) == recorded(SETCONF)
    assert [padded(body) for body in change_peers("vwg0", PEERS, (), {ONE})] == [recorded(SET_PEERS)]
    assert [padded(body) for body in change_peers("vwg0", (), (ONE,), ())] == [recorded(REMOVE_PEER)]


def test_an_answer_in_several_messages_is_read_as_wg_reads_it() -> None:
    state = state_in(map(bytes.fromhex, ANSWERS))
    assert state.key == KEY
    assert state.port == 7946
    assert state.peers == (
        Seen(ONE, "192.0.2.2", 7946, ("198.18.0.2/32",), True),
        Seen(TWO, "2001:db8::3", 7946, ("198.18.0.3/32", "198.18.0.9/32"), False),
    )


def test_a_device_without_a_key_has_none() -> None:
    assert state_in([bytes.fromhex("00010000" + "060006000a1f0000" + "24000300" + "00" * 32)]).key is None


def test_many_peers_go_in_several_messages_of_less_than_64_kib() -> None:
    remove = [number.to_bytes(32, "big") for number in range(3 * PEERS_AT_ONCE + 1)]
    messages = list(change_peers("vwg0", PEERS * PEERS_AT_ONCE, remove, {ONE}))
    assert len(messages) == 6
    assert all(len(message) < 1 << 15 for message in messages)
    assert b"".join(messages).count(ONE) == PEERS_AT_ONCE


def test_a_peer_that_is_removed_and_put_at_once_is_removed_first() -> None:
    (message,) = change_peers("vwg0", PEERS[:1], (ONE,), {ONE})
    first, second = (message.index(ONE, start) for start in (0, message.index(ONE) + 1))
    assert message[first + 32 :].startswith(bytes.fromhex("0800030001000000"))
    assert not message[second + 32 :].startswith(bytes.fromhex("0800030001000000"))


class FakeKernel:
    """Generic netlink of a kernel with WireGuard as family 29, which notes what it is asked."""

    asked: list[tuple[int, bytes]]

    def __init__(self, protocol: int) -> None:
        assert protocol == 16  # NETLINK_GENERIC

    def __enter__(self) -> "FakeKernel":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, kind: int, flags: int, body: bytes) -> bytes:
        self.asked.append((kind, body))
        return bytes.fromhex("01020000" + "06000100" + "1d000000") if kind == 16 else b""

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        self.asked.append((kind, body))
        return [bytes.fromhex(answer) for answer in ANSWERS]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> type[FakeKernel]:
    FakeKernel.asked = []
    monkeypatch.setattr(wireguard_kernel, "NetlinkSocket", FakeKernel)
    return FakeKernel


def test_the_number_of_the_family_is_asked_for_and_used(kernel: type[FakeKernel]) -> None:
    device = KernelDevice("vwg0")
    asyncio.run(device.change(PEERS[:1], [TWO], {ONE}))
    state = asyncio.run(device.state())
    assert state is not None
    assert state.key == KEY
    assert [kind for kind, _ in kernel.asked] == [16, 29, 16, 29]
    assert family_in(bytes.fromhex("01020000" + "06000100" + "1d000000")) == 29


@pytest.mark.machine
def test_a_link_of_a_kind_without_settings_is_added() -> None:
    """Where the kernel has no WireGuard, a bridge may be told as little."""
    with scratch_host():
        with Netlink() as links:
            links.add("one", "bridge")
        assert "one" in sh("ip -o link show type bridge")


@pytest.mark.machine
def test_a_kernel_without_wireguard_is_named() -> None:
    async def test() -> None:
        device = KernelDevice("vwg0")
        assert await device.state() is None
        with pytest.raises(NetworkFailed, match="WireGuard device vwg0"):
            await device.create(KEY, 7946)

    with scratch_host():
        if asyncio.run(wireguard_kernel.in_thread(wireguard_kernel.kernel_can)):
            pytest.skip("this kernel has WireGuard")
        asyncio.run(test())
