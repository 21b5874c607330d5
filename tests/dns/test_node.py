"""Names on a node with its real networks: a task finds services from its first moment, and no ended task afterwards."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.dns import machine
from tests.dns.machine import ask, soon
from tests.network.hosts import scratch_host
from tests.network.overlay_nodes import VIP, Cluster, Node, full_id, nodes, service, task_of
from vault.dns.client import Names, NamesFailed
from vault.model.overlay import OverlayChange

pytestmark = pytest.mark.machine
_MADE: list[Names] = []  # To be closed.


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with scratch_host(), nodes(1, tmp_path) as (made,):
        yield made
        for names in _MADE:
            made.run(names.close())
        _MADE.clear()
        for pid in processes(made):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def processes(node: Node) -> list[int]:
    return machine.processes(node.run_root)


def with_names(node: Node) -> Names:
    """Let the node's tasks have names, as vaultd does."""

    async def listening() -> Names:
        names = Names(node.run_root)
        node.networks.listen(names, ready=names.ready)
        _MADE.append(names)
        return names

    return node.run(listening())


def test_a_task_is_served_before_it_starts_and_sees_others_come_and_go(node: Node) -> None:
    with_names(node)
    cluster = Cluster([node], services=(service(),))
    client = cluster.run(node, "c", ("10.0.1.99",))
    assert ask("web", at=client, timeout_s=1) == ("NOERROR", [VIP])
    assert ask("tasks.web", at=client) == ("NOERROR", [])
    for number in (1, 2):
        cluster.run(node, f"w{number}", (f"10.0.1.1{number}",), service="web")
    told_by = time.monotonic()
    while ask("tasks.web", at=client) != ("NOERROR", ["10.0.1.11", "10.0.1.12"]):
        soon(told_by, 1)


def test_a_task_that_ends_here_is_in_no_answer_a_second_later_whatever_managers_say(node: Node) -> None:
    with_names(node)
    cluster = Cluster([node], services=(service(),))
    client = cluster.run(node, "c", ("10.0.1.99",))
    for number in (1, 2):
        cluster.run(node, f"w{number}", (f"10.0.1.1{number}",), service="web")
    node.run(node.networks.remove(full_id("w1")))
    told_by = time.monotonic()
    while ask("tasks.web", at=client) != ("NOERROR", ["10.0.1.12"]):
        soon(told_by, 1)


def test_the_next_vaultd_takes_names_over_with_its_tasks(node: Node) -> None:
    names = with_names(node)
    cluster = Cluster([node], services=(service(),))
    client = cluster.run(node, "c", ("10.0.1.99",))
    before = processes(node)
    node.run(names.close())
    node.stop()
    assert ask("web", at=client) == ("NOERROR", [VIP])
    node.start()
    with_names(node)
    node.tell(OverlayChange(put_services=(replace(service(), vips=("10.0.1.3",)),)))
    told_by = time.monotonic()
    while ask("web", at=client) != ("NOERROR", ["10.0.1.3"]):
        soon(told_by, 1)
    assert processes(node) == before
    node.run(node.networks.remove(full_id("c")))
    ended_by = time.monotonic()
    while processes(node):
        soon(ended_by, 8)


def test_a_task_that_cannot_be_served_does_not_start_and_leaves_nothing(node: Node) -> None:
    names = Names(node.run_root)

    async def refuse(_task_id: str) -> None:
        raise NamesFailed("not today")

    async def listening() -> None:
        node.networks.listen(names, ready=refuse)
        _MADE.append(names)

    node.run(listening())
    Cluster([node], services=(service(),))
    with pytest.raises(NamesFailed, match="no name resolution for the task: not today"):
        node.create(task_of("c", ("10.0.1.99",)))
    assert not (node.run_root / "netns" / full_id("c")).exists()
    ended_by = time.monotonic()
    while processes(node):
        soon(ended_by, 8)


def test_a_task_without_overlay_networks_has_no_resolver_and_needs_no_process(node: Node) -> None:
    with_names(node)
    Cluster([node])
    assert node.run(node.networks.create(task_of("c", networks=()))) is None
    assert not processes(node)
