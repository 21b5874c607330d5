"""Containers find services by name, with a real vaultd and without one."""

import pytest

from tests.dns.machine import processes
from tests.e2e.node import WAITS_FOR_TERM, Node

pytestmark = pytest.mark.machine


def found(node: Node, container: str, name: str) -> set[str]:
    """Return the IPv4 addresses that a container's own C library finds for a name."""
    out = node.vault("exec", container, "nslookup", "-type=a", name, code=None).out
    answers = out.partition("Name:")[2]
    return {line.split()[1] for line in answers.splitlines() if line.startswith("Address:")}


def test_a_container_finds_services_and_tasks_and_goes_on_while_vaultd_is_away(fresh: Node) -> None:
    fresh.vault("network", "create", "--driver", "overlay", "shop")
    for name, options in (("web", ("--replicas", "2")), ("db", ("--endpoint-mode", "dnsrr", "--hostname", "primary"))):
        fresh.vault(
            "service", "create", "--detach", "--name", name, "--network", "shop", *options, "busybox", *WAITS_FOR_TERM
        )
    fresh.until_running("web", 2)
    fresh.until_running("db", 1)
    client = fresh.running("web")[0]
    assert fresh.vault("exec", client, "cat", "/etc/resolv.conf").out.startswith("nameserver 127.0.0.11\n")
    fresh.until(lambda: len(found(fresh, client, "tasks.web")) == 2, "both tasks are found")
    (vip,) = found(fresh, client, "web")
    assert vip not in found(fresh, client, "tasks.web")
    (db,) = found(fresh, client, "db")
    for name in ("tasks.db", "db.shop", "primary"):
        assert found(fresh, client, name) == {db}, name
    before = processes(fresh.run_root)
    fresh.kill()
    assert processes(fresh.run_root) == before
    fresh.start()
    assert found(fresh, client, "web") == {vip}, "its container is known, and names go on"
    assert processes(fresh.run_root) == before
    fresh.vault("service", "scale", "--detach", "web=1")
    fresh.until_running("web", 1)
    (left,) = fresh.running("web")
    fresh.until(lambda: len(found(fresh, left, "tasks.web")) == 1, "the ended task is in no answer")
    fresh.vault("service", "rm", "web", "db")
    fresh.until(lambda: not processes(fresh.run_root), "names end with the last task")
