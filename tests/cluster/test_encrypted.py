"""An encrypted network in a whole swarm, from the command line: tasks talk in secret, and keys are rotated."""

import secrets

import pytest

from tests.cluster.tasks import placed
from tests.cluster.world import World
from tests.e2e.node import WAITS_FOR_TERM
from tests.network.traffic import Datagrams, Talk, frames_heard
from vault.network.wireguard.plan import PORTS
from vault.network.wireguard.process import PROGRAM

pytestmark = [pytest.mark.machine, pytest.mark.timeout(120)]


def epochs(world: World) -> list[int]:
    """Return which keys each worker says that it uses."""
    return [world.nodes()[name]["Description"]["Encryption"]["Epoch"] for name in world.workers]


def test_tasks_talk_in_secret_and_go_on_while_keys_are_rotated(cluster: World) -> None:
    name, mark, via = f"secret{secrets.token_hex(4)}", secrets.token_hex(24).encode(), cluster.leader()
    assert {one["Description"]["Encryption"]["By"] for one in cluster.nodes().values()} <= {"kernel", PROGRAM}
    cluster.vault(via, "network", "create", "-d", "overlay", "--opt", "encrypted", name)
    cluster.vault(via, "service", "create", "-q", "--detach", "--name", name, "--network", name, "--mode", "global",
                  "--constraint", "node.role==worker", "busybox", *WAITS_FOR_TERM)  # fmt: skip
    try:
        cluster.until(lambda: cluster.running(name) == len(cluster.workers), "a task runs on each worker")
        one, other = placed(cluster, name, name)
        cluster.until(lambda: all(epochs(cluster)), "both nodes have met")
        first = epochs(cluster)
        with (
            frames_heard(cluster.lab.site.switch) as frames,
            Datagrams.between(one.namespace, other.namespace, other.address, 5000, every_s=0.002, mark=mark) as there,
            Datagrams.between(other.namespace, one.namespace, one.address, 5000, every_s=0.002, mark=mark) as back,
            Talk(one.namespace, other.namespace, other.address, 5001) as talk,
        ):
            cluster.vault(via, "network", "rotate-keys")
            cluster.until(lambda: epochs(cluster) == [epoch + 1 for epoch in first], "both nodes use the new keys")
            seen = there.sent
            cluster.until(lambda: there.sent > seen + 500, "it goes on")
        assert (there.lost, back.lost, talk.broken) == (0, 0, "")
        assert min(there.sent, back.sent) > 500
        assert talk.answered > 10
        assert not any(mark in frame for frame in frames)
        udp = {
            int.from_bytes(frame[36:38], "big") for frame in frames if frame[12:14] == b"\x08\x00" and frame[23] == 17
        }
        assert udp == set(PORTS), "of two epochs, and nothing of it in plain VXLAN"
    finally:
        cluster.vault(via, "service", "rm", name)
    cluster.until(lambda: not cluster.states(name), "its tasks are gone")
    cluster.vault(via, "network", "rm", name)
    for worker in cluster.workers:
        node = cluster.node(worker)
        cluster.until(lambda node=node: " w" not in node.run("ip", "-o", "link").out, "no device is left")  # type: ignore[misc]
