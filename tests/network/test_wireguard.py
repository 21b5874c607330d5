"""Encrypted overlays between nodes on a wire, by Debian's wireguard-go: secret, rotated without loss, for peers only.

Each node has a namespace and a vaultd's underlay of its own; the wire between them is listened to.
"""

import asyncio
import base64
import json
import logging
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.network.hosts import sh
from tests.network.traffic import frames_heard
from tests.network.wireguard_nodes import Node, Stream, connect, echoes, eventually, nodes
from vault.model.node import EncryptionMeans
from vault.model.overlay import OverlayEncryption
from vault.network.kernel.programs import NetworkFailed
from vault.network.overlay.names import TUNNEL_POOL, TUNNEL_PORT
from vault.network.wireguard.plan import PORTS
from vault.network.wireguard.probe import Probe, probe, probe_of
from vault.network.wireguard.process import PROGRAM, SOCKETS, ProcessDevice, prefix_of, remove_sockets
from vault.network.wireguard.underlay import WireGuard

pytestmark = pytest.mark.machine
PAYLOAD = b"a payload that must be in no frame on the wire"


def processes(node: Node) -> list[int]:
    """Return the processes of a node's devices."""
    prefix = node.do(lambda: node.wireguard._prefix)
    found = subprocess.run(["pgrep", "-f", f"^{PROGRAM} {prefix}"], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split() if alive(int(pid))]


def peers_of(node: Node) -> set[bytes]:
    """Return the public keys that a node's first device takes packets from."""
    prefix = node.on_loop(lambda: node.wireguard._prefix)
    state = node.wait(ProcessDevice(f"{prefix}0", node.run_root).state())
    assert state is not None
    return {peer.public_key for peer in state.peers}


def alive(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has looked after yet has no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nodes_exchange_packets_and_the_wire_shows_none_of_them(tmp_path: Path) -> None:
    with nodes(2, tmp_path) as (wire, (one, two)):
        connect(one, two)
        with frames_heard(wire.fd) as frames, Stream(one, two) as stream:
            assert one.ping(two)
            one.do(lambda: stream._out.send(PAYLOAD))
            one.sh("ip link set vx2 mtu 1300")
            eventually(lambda: stream.sent > 300)
        assert len(stream.arrived) > 250
        udp = [frame for frame in frames if frame[12:14] == b"\x08\x00" and frame[23] == 17]
        assert len(udp) > 250
        assert {int.from_bytes(frame[36:38], "big") for frame in udp} == {PORTS[0]}
        assert not any(PAYLOAD in frame for frame in frames)


def test_the_search_on_the_wire_finds_what_is_not_encrypted(tmp_path: Path) -> None:
    with nodes(2, tmp_path) as (wire, (one, two)):
        for node, other in ((one, two), (two, one)):
            node.sh(
                f"ip link add vx type vxlan id 7 local {node.addr} remote {other.addr} dstport 4789"
                f" && ip link set vx up && ip addr add {node.inner}/32 peer {other.inner} dev vx"
            )
        with frames_heard(wire.fd) as frames, Stream(one, two) as stream:
            assert one.ping(two)
            one.do(lambda: stream._out.send(PAYLOAD))
            eventually(lambda: any(PAYLOAD in frame for frame in frames))


def test_keys_are_rotated_under_traffic_without_the_loss_of_a_packet(tmp_path: Path) -> None:
    """Nodes are told one after another, with the others' traffic going on between."""
    with nodes(3, tmp_path) as (_, all_):
        one, two, three = all_
        connect(*all_)
        assert all(a.ping(b) for a in all_ for b in all_ if a is not b)
        with Stream(one, two) as there, Stream(two, one) as back, Stream(three, one) as other:
            for epoch in (2, 3):
                for node in all_:
                    node.give(epoch)
                for node in all_:  # Each learns its own key and those of the ones before it, later the rest.
                    node.tell(*(peer for peer in all_ if peer is not node))
                    seen = there.sent
                    eventually(lambda seen=seen: there.sent > seen + 100)  # type: ignore[misc]
                eventually(lambda epoch=epoch: all(node.epoch == epoch for node in all_))  # type: ignore[misc]
                for node in all_:
                    node.keys.pop(epoch - 1)
                for node in all_:
                    node.tell(*(peer for peer in all_ if peer is not node))
                    seen = there.sent
                    eventually(lambda seen=seen: there.sent > seen + 100)  # type: ignore[misc]
                for node in all_:
                    eventually(lambda node=node: len(processes(node)) == 1)  # type: ignore[misc]
        print("sent", there.sent, back.sent, other.sent, "lost", there.lost, back.lost, other.lost)
        assert (there.lost, back.lost, other.lost) == (0, 0, 0)
        assert there.sent > 1000


def test_a_rotation_that_not_every_node_hears_of_leaves_traffic_as_it_was(tmp_path: Path) -> None:
    """All managers may die in the middle of it."""
    with nodes(2, tmp_path) as (_, (one, two)):
        connect(one, two)
        assert one.ping(two)
        with Stream(one, two) as there, Stream(two, one) as back:
            one.give(2)
            two.give(2)
            one.tell(two)  # Two hears of nothing.
            eventually(lambda: len(processes(one)) == 2)
            eventually(lambda: there.sent > 1500)
            assert one.epoch == 1
        assert (there.lost, back.lost) == (0, 0)


def test_a_port_that_is_blocked_is_told_of_by_the_log_and_by_the_doctor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a rotation up, and costs no packet."""
    monkeypatch.setattr("vault.network.wireguard.silence.OVERDUE_S", 0.5)
    caplog.set_level(logging.INFO, "vault.network.wireguard.underlay")
    with nodes(2, tmp_path) as (_, (one, two)):
        connect(one, two)
        assert one.ping(two)
        two.sh("nft 'table ip wall { chain a { type filter hook input priority 0; udp dport 7947 drop; }; }'")
        with Stream(one, two) as stream:
            for node, other in ((one, two), (two, one)):
                node.give(2)
                node.tell(other)
            one.tell(two)
            eventually(lambda: bool(told_of(caplog, "encryption_peers_silent")))
            (said, *_) = told_of(caplog, "encryption_peers_silent")
            assert {"epoch": 2, "udp_port": 7947, "count": 1}.items() <= said.__dict__.items()
            silent = one.wait(probe_of(one.run_root)).silent
            assert silent == ((two.addr, 7947),)
            two.sh("nft delete table ip wall")
            eventually(lambda: one.epoch == two.epoch == 2)
            eventually(lambda: bool(told_of(caplog, "encryption_peers_answer")))
            assert one.wait(probe_of(one.run_root)).silent == ()
        assert stream.lost == 0


def told_of(caplog: pytest.LogCaptureFixture, event: str) -> list[logging.LogRecord]:
    """Return what the log says of an event."""
    return [record for record in caplog.records if record.message == event]


def test_a_removed_peer_can_no_longer_send(tmp_path: Path) -> None:
    with nodes(3, tmp_path) as (_, (one, two, three)):
        connect(one, two, three)
        assert three.ping(one)
        assert two.ping(one)
        one.tell(removed=(three,))
        with Stream(three, one) as stream:
            eventually(lambda: not three.ping(one, 0.2))
            before = len(stream.arrived)
            eventually(lambda seen=stream.sent: stream.sent > seen + 300)  # type: ignore[misc]
            assert len(stream.arrived) == before
        assert peers_of(one) == {two.keys[1].public}
        assert two.ping(one)


def test_a_node_that_shares_no_network_any_more_can_no_longer_send(tmp_path: Path) -> None:
    with nodes(3, tmp_path) as (_, (one, two, three)):
        connect(one, two, three)
        assert three.ping(one)
        one.share(one, two)
        eventually(lambda: not three.ping(one, 0.2))
        assert two.ping(one)
        one.share(one, two, three)
        assert three.ping(one)


def test_nobody_on_the_wire_gets_a_packet_into_an_encrypted_overlay(tmp_path: Path) -> None:
    """Neither by the node's own address nor by the one inside: a plain packet of the overlay's number is dropped."""
    with nodes(3, tmp_path) as (_, (one, two, stranger)):
        connect(one, two)
        assert two.ping(one)
        stranger.sh(f"ip route add {one.address}/32 via {one.addr} && ip addr add {two.address}/32 dev lo")
        for target in (one.addr, one.address):
            stranger.sh(
                f"ip link add forged type vxlan id {4711 + 3} local {two.address} remote {target} dstport {TUNNEL_PORT}"
                f" && ip link set forged up && ip addr add {two.inner}/32 peer {one.inner} dev forged"
            )
            mac = one.sh("ip -br link show vx2").split()[2]
            stranger.sh(f"ip neigh replace {one.inner} lladdr {mac} dev forged")
            before = received(one)
            stranger.do(lambda: stranger_sends(two.inner, one.inner))
            assert two.ping(one)  # So that what was sent before has come.
            assert received(one) - before < 10
            stranger.sh("ip link delete forged")


def received(node: Node) -> int:
    """Return how many packets came out of the overlay."""
    (link,) = json.loads(node.sh("ip -j -s link show vx2"))
    return int(link["stats64"]["rx"]["packets"])


def stranger_sends(own: str, target: str) -> None:
    """Send what a forger sends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((own, 0))
        for _ in range(50):
            one.sendto(b"forged", (target, 5000))


KEEP_ADDRESS = "ip addr add 198.18.0.1/32 dev lo"  # Else the kernel itself would refuse to send from it.


@pytest.mark.parametrize("undone", ["nft flush ruleset", "ip route delete unreachable 198.18.0.0/15", "true"])
def test_nothing_leaves_unencrypted_while_there_is_no_device(tmp_path: Path, undone: str) -> None:
    """Rules and a route see to that, each by itself: somebody may have removed the other."""
    with nodes(2, tmp_path) as (wire, (one, two)):
        connect(one, two)
        assert one.ping(two)
        one.sh(f"ip route add default via {two.addr}")
        one.stop()
        with frames_heard(wire.fd) as frames:
            for pid in processes(one):
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: not processes(one))
            one.sh(f"{KEEP_ADDRESS} && {undone}")
            assert not one.ping(two, 0.5)
        inside = TUNNEL_POOL.network_address.packed[:2]
        assert not [frame for frame in frames if frame[12:14] == b"\x08\x00" and inside in (frame[26:28], frame[30:32])]
        one.sh(KEEP_ADDRESS.replace(" add ", " delete "))
        one.start()
        one.share(one, two)
        assert one.ping(two)


def test_a_device_that_dies_is_made_anew_at_once(tmp_path: Path) -> None:
    with nodes(2, tmp_path) as (_, (one, two)):
        connect(one, two)
        assert one.ping(two)
        (old,) = processes(one)
        os.kill(old, signal.SIGKILL)
        assert one.ping(two)
        assert two.ping(one)
        eventually(lambda: len(processes(one)) == 1 and processes(one) != [old])


def test_a_restarted_vaultd_takes_over_what_runs_and_loses_nothing(tmp_path: Path) -> None:
    with nodes(2, tmp_path) as (_, (one, two)):
        connect(one, two)
        assert one.ping(two)
        before = processes(one)
        with Stream(one, two) as stream:
            one.stop()
            eventually(lambda: stream.sent > 200)
            one.start()  # No manager has spoken yet, only its own record.
            one.share(one, two)
            assert one.ready() == one.address
            eventually(lambda: one.epoch == 1)
            eventually(lambda seen=stream.sent: stream.sent > seen + 200)  # type: ignore[misc]
        assert stream.lost == 0
        assert processes(one) == before


def test_leaving_leaves_nothing_behind(tmp_path: Path) -> None:
    with nodes(2, tmp_path) as (_, (one, two)):
        connect(one, two)
        one.sh("ip link delete vx2")
        one.leave()
        assert "198.18" not in one.sh("ip route; ip addr")
        assert one.sh("nft list ruleset") == ""
        assert not (one.run_root / "wireguard").exists()
        assert processes(one) == []
        assert not list(SOCKETS.glob(one.do(lambda: one.wireguard._prefix) + "*"))


def test_the_last_encrypted_network_takes_the_device_with_it(tmp_path: Path) -> None:
    with nodes(2, tmp_path) as (_, (one, two)):
        connect(one, two)
        one.on_loop(lambda: one.wireguard.tell(OverlayEncryption(own=None)))
        eventually(lambda: processes(one) == [] and one.sh("nft list ruleset") == "")


def test_a_node_reaches_no_service_of_its_peers_through_the_tunnel(tmp_path: Path) -> None:
    with nodes(2, tmp_path) as (_, (one, two)):
        connect(one, two)
        assert one.ping(two)
        assert not one.do(lambda: answers(two.address))


def answers(address: str) -> bool:
    """Whether an address answers ICMP echo."""
    return echoes("0.0.0.0", address, 0.5)


def test_no_key_is_on_disk_in_the_clear(tmp_path: Path) -> None:
    with nodes(2, tmp_path) as (_, (one, two)):
        connect(one, two)
        key = one._open(one.keys[1])
        files = [path for path in one.run_root.rglob("*") if path.is_file()]
        assert files
        assert all((path.stat().st_mode & 0o077) == 0 for path in files if path.suffix == ".json")
        needles = [key.reveal(), key.reveal().hex().encode(), base64.b64encode(key.reveal())]
        assert not [path for path in files for needle in needles if needle in path.read_bytes()]


def test_a_task_on_a_node_that_cannot_encrypt_is_told_why_until_that_is_mended(tmp_path: Path) -> None:
    can: list[str] = []

    async def look() -> Probe:
        return Probe(by=can[0] if can else "")

    async def test() -> None:
        changed = asyncio.Event()
        unable = await WireGuard.open(tmp_path, look)
        unable.follow(changed.set)
        assert unable.means is None
        with pytest.raises(NetworkFailed, match="install the package wireguard-go"):
            await unable.ready()
        can.append(PROGRAM)
        job = asyncio.create_task(unable.run())
        await asyncio.wait_for(changed.wait(), 5)
        assert unable.means == EncryptionMeans(by=PROGRAM)
        job.cancel()

    asyncio.run(test())


def test_the_probe_says_what_this_machine_can_and_leaves_nothing() -> None:
    before = sh("ip -o link")
    found = asyncio.run(probe())
    assert found.by in ("kernel", PROGRAM)
    assert found.missing == ""
    assert sh("ip -o link") == before


def test_sockets_of_processes_that_were_killed_are_found_by_the_run_root(tmp_path: Path) -> None:
    SOCKETS.mkdir(exist_ok=True)
    mine, other = (SOCKETS / f"{prefix_of(tmp_path / name)}0.sock" for name in ("mine", "other"))
    try:
        for path in (mine, other):
            path.touch()
        remove_sockets(tmp_path / "mine")
        assert (mine.exists(), other.exists()) == (False, True)
    finally:
        other.unlink()
