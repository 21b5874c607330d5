"""vaultd is killed, and killed again: tasks run on, nothing acknowledged is lost, what ended meanwhile is told."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from tests.e2e.node import WAITS_FOR_TERM, Node
from vault.agent.executors.oci.paths import Roots

pytestmark = [pytest.mark.machine, pytest.mark.timeout(120)]


def container_pids(node: Node) -> set[int]:
    """Return the processes that live in the cgroups of this node's tasks."""
    found: set[int] = set()
    cgroup = Roots(data=node.data, run=node.run_root).cgroup
    for path in Path(f"/sys/fs/cgroup/pids{cgroup}").rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in path.read_text().split()}
    return found


def supervised(node: Node) -> bool:
    """Return whether a container of this node still has a process."""
    needle = str(node.root).encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and b"conmon" in (entry / "comm").read_bytes()
                and needle in (entry / "cmdline").read_bytes()
            ):
                return True
    return False


def test_tasks_run_on_while_vaultd_is_away_and_are_taken_over(fresh: Node) -> None:
    fresh.vault("secret", "create", "pw", "-", stdin=b"kept")
    fresh.vault(
        "service", "create", "-q", "--name", "w", "--replicas", "3", "--secret", "pw", "busybox", *WAITS_FOR_TERM
    )
    before = fresh.running("w")
    pids = container_pids(fresh)
    fresh.kill()
    assert container_pids(fresh) == pids
    fresh.start()
    fresh.until_running("w", 3)
    assert fresh.running("w") == before
    assert container_pids(fresh) == pids
    assert fresh.vault("exec", before[0], "cat", "/run/secrets/pw").raw == b"kept"


def test_what_ended_while_vaultd_was_away_is_told_with_exit_code_and_log(fresh: Node) -> None:
    fresh.vault(
        "service", "create", "-q", "--detach", "--name", "job", "--restart-condition", "none", "busybox",
        "sh", "-c", "echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; exit 7",
    )  # fmt: skip
    fresh.until_running("job", 1)
    container = fresh.running("job")[0]
    # A container that ends while nobody watches: it is told to go just before vaultd dies.
    fresh.vault("exec", "-d", container, "sh", "-c", "sleep 1; touch /tmp/go")
    fresh.kill()
    fresh.until(lambda: not supervised(fresh), "the container has ended without vaultd")
    fresh.start()
    fresh.until(
        lambda: "non-zero exit (7)" in fresh.vault("service", "ps", "--no-trunc", "job").out, "the exit code is told"
    )
    assert fresh.vault("logs", container).out.split() == ["before", "after"]


def test_every_acknowledged_secret_is_there_after_kill_9_under_load(fresh: Node) -> None:
    acknowledged: list[str] = []

    def writer(number: int) -> None:
        for count in range(1000):
            name = f"s{number}-{count}"
            if fresh.vault("secret", "create", name, "-", stdin=name.encode(), code=None).code != 0:
                return
            acknowledged.append(name)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    fresh.until(lambda: len(acknowledged) > 40, "some secrets were acknowledged")
    fresh.kill()
    for thread in threads:
        thread.join()
    fresh.start()
    there = set(fresh.vault("secret", "ls", "--format", "{{.Name}}").out.split())
    assert set(acknowledged) <= there
    one = acknowledged[-1]
    fresh.vault("service", "create", "-q", "--name", "w", "--secret", one, "busybox", *WAITS_FOR_TERM)
    assert fresh.vault("exec", fresh.running("w")[0], "cat", f"/run/secrets/{one}").raw == one.encode()


def test_a_task_whose_process_was_killed_is_replaced(fresh: Node) -> None:
    fresh.vault("service", "create", "-q", "--name", "w", "--restart-delay", "0s", "busybox", *WAITS_FOR_TERM)
    (before,) = fresh.running("w")
    os.kill(min(container_pids(fresh)), signal.SIGKILL)  # The first process: its child was started after it.
    fresh.until(lambda: len(now := fresh.running("w")) == 1 and now != [before], "another container runs")
    assert "non-zero exit (137)" in fresh.vault("service", "ps", "--no-trunc", "w").out


def test_a_second_vaultd_on_the_same_roots_is_refused(fresh: Node) -> None:
    other = Node(fresh.root)
    said = other.refused()
    assert "another vaultd" in said


def test_vaultd_ends_with_0_on_sigterm_and_leaves_its_tasks(fresh: Node) -> None:
    fresh.vault("service", "create", "-q", "--name", "w", "busybox", *WAITS_FOR_TERM)
    pids = container_pids(fresh)
    assert fresh.stop() == 0
    assert container_pids(fresh) == pids
    assert "Is vaultd running?" in fresh.vault("secret", "ls", code=1).err
    fresh.start()
    fresh.until_running("w", 1)


def test_leaving_the_swarm_leaves_nothing(fresh: Node) -> None:
    fresh.vault("secret", "create", "pw", "-", stdin=b"x")
    fresh.vault(
        "service", "create", "-q", "--name", "w", "--replicas", "2", "--secret", "pw", "busybox", *WAITS_FOR_TERM
    )
    fresh.vault("swarm", "leave", "--force")
    assert container_pids(fresh) == set()
    assert not any((fresh.data / "tasks").iterdir())
    assert not (fresh.data / "swarm").exists()
    assert str(fresh.run_root / "tasks") not in Path("/proc/self/mountinfo").read_text()
    fresh.init()
    assert fresh.vault("secret", "ls", "-q").out == ""


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_damaged_store_is_refused_with_the_reason_and_not_served(fresh: Node, damage: str) -> None:
    fresh.vault("secret", "create", "pw", "-", stdin=b"x" * 5000)
    fresh.stop()
    (database,) = (fresh.data / "swarm" / "store").glob("*/*.db")
    content = bytearray(database.read_bytes())
    if damage == "flip":
        for at in range(4096, len(content), 512):
            content[at + 300] ^= 1
    else:
        del content[len(content) // 2 :]
    database.write_bytes(content)
    fresh.start()
    said = fresh.vault("secret", "ls", code=1)
    assert "Traceback" not in said.err
    assert "damaged" in said.err or "store" in said.err
    (fresh.data / "swarm" / "node.key").unlink()
