"""What a swarm comes through: a new CA, damaged stores, a backup, a lost quorum; in this order, on one swarm."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.membership.swarm import FOREVER, Member, Swarm

pytestmark = [pytest.mark.machine, pytest.mark.timeout(180)]
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def cluster(swarm: Swarm) -> Swarm:
    """Three managers and a worker that runs a service with a secret."""
    members = swarm.make(managers=3, workers=1)
    m1, worker = members[0], members[-1]
    worker.load()
    m1.vault("swarm", "update", "--dispatcher-heartbeat", "1s")
    for manager in members[:3]:
        m1.vault("node", "update", "--availability", "drain", manager.name)
    m1.vault("secret", "create", "key", "-", stdin=b"of the first day")
    m1.vault("service", "create", "-d", "--name", "web", "--secret", "key", "busybox:latest", *FOREVER)
    m1.until(lambda: m1.tasks("web"), "web runs")
    return swarm


def container(worker: Member) -> str:
    """The one container of the worker."""
    (found,) = worker.vault("ps", "-q", "--no-trunc").out.split()
    return found


def is_worker(member: Member) -> bool:
    """Whether a node is a worker, and nothing is in its way."""
    shown = member.info()
    return (shown["LocalNodeState"], shown["ControlAvailable"]) == ("active", False)


def rotating(manager: Member) -> bool:
    """Whether the root CA is being rotated."""
    status, found = manager.api("GET", "/swarm")
    return status != 200 or bool(found["RootRotationInProgress"])


def test_the_root_is_rotated_under_tasks_while_the_leader_dies_and_a_node_is_away(cluster: Swarm) -> None:
    m1, worker = cluster.members["m1"], cluster.members["w1"]
    before, token = container(worker), m1.token("worker")
    worker.kill()
    m1.vault("swarm", "ca", "--rotate", "-d")
    leader = cluster.leader()
    leader.kill()
    other = next(one for one in cluster.members.values() if one.running)
    other.until(lambda: cluster.leader() is not leader, "another one leads", timeout_s=60)
    asked = ("--filter", "service=web", "--since", "10m", "--until", f"{time.time():.9f}", "--format", "{{.Action}}")
    assert other.vault("events", *asked).out.split()[0] == "create", "who leads now saw it while it followed"
    leader.start()
    other.until(lambda: other.state(leader) == "ready", "the former leader is back")
    assert rotating(other), "a node that is away is waited for"
    worker.start()
    other.until(lambda: not rotating(other), "the new root alone is trusted", timeout_s=60)
    assert other.token("worker").split("-")[2] != token.split("-")[2]
    worker.until(
        lambda: (worker.swarm_files / "ca.crt").read_text().count("BEGIN") == 1, "it trusts the new root alone"
    )
    assert container(worker) == before
    assert worker.vault("exec", before, "cat", "/run/secrets/key").out == "of the first day"
    late = cluster.member("late")
    assert "does not match fingerprint" in late.join(other, token=token, code=1).err
    late.join(other)
    late.vault("swarm", "leave")


def test_logs_and_events_come_through_any_manager(cluster: Swarm) -> None:
    managers, worker = [cluster.members[name] for name in ("m1", "m2", "m3")], cluster.members["w1"]
    script = f"echo said; {FOREVER[-1]}"
    with ThreadPoolExecutor() as pool:
        until = int(time.time()) + 4
        listening = [pool.submit(manager.api, "GET", f"/events?until={until}") for manager in managers]
        managers[0].vault("service", "create", "-d", "--name", "talk", "busybox:latest", "sh", "-c", script)
        number = 0
        while not all(one.done() for one in listening):  # Until the last of them has begun to listen, at the latest.
            managers[0].vault("service", "update", "-d", "--label-add", f"n={(number := number + 1)}", "talk")
        for manager, heard in zip(managers, listening, strict=True):
            status, events = heard.result()
            assert status == 200
            assert '"update"' in str(events), manager.name
    for manager in managers:
        manager.until(lambda manager=manager: "said" in manager.vault("service", "logs", "talk").out, manager.name)
    managers[0].vault("service", "rm", "talk")
    for manager in managers:
        asked = ("--filter", "service=talk", "--since", "2m", "--until", f"{time.time():.9f}")
        told = manager.vault("events", *asked, "--format", "{{.Action}}").out.split()
        assert told[-2:] == ["update", "remove"], manager.name
    worker.until(lambda: len(worker.vault("ps", "-q").out.split()) == 1, "it is gone")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def _garble(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(random.Random(1).randbytes(40_000))


@pytest.mark.parametrize("damage", [_cut, _garble])
def test_a_manager_with_a_damaged_store_says_so_and_comes_back_clean(
    cluster: Swarm, damage: Callable[[Path], None]
) -> None:
    leader = cluster.leader()
    member = next(cluster.members[name] for name in ("m1", "m2", "m3") if cluster.members[name] is not leader)
    member.stop()
    (database,) = member.swarm_files.glob("store/etcd-*/data/member/snap/db")
    damage(database)
    member.start()
    member.until(lambda: member.info()["LocalNodeState"] == "error", "it says that it is damaged")
    assert "is damaged (etcd: " in member.info()["Error"]
    status, said = member.api("GET", "/secrets")
    assert status == 503
    assert "is damaged" in said["message"]
    leader.vault("secret", "create", f"while-{damage.__name__}", "-", stdin=b"x")
    leader.vault("node", "demote", member.id)
    member.until(lambda: is_worker(member), "a worker")
    leader.vault("node", "promote", member.id)
    member.until(lambda: f"while-{damage.__name__}" in member.vault("secret", "ls", code=None).out, "it has everything")


def test_a_backup_makes_the_swarm_again_elsewhere_and_damaged_ones_make_nothing(cluster: Swarm) -> None:
    manager, new = cluster.members["m2"], cluster.member("new")
    passphrase, wrong, backup = (cluster.root / name for name in ("passphrase", "wrong", "backup"))
    passphrase.write_text(PASSPHRASE)
    wrong.write_text("wrong")
    assert "give a passphrase" in manager.vault("swarm", "backup", str(backup), code=1).err
    manager.vault("swarm", "backup", "--passphrase-file", str(passphrase), str(backup))
    whole = backup.read_bytes()
    here = ("--advertise-addr", new.address, "--passphrase-file")
    for spoilt in (b"", b"no backup" * 99, whole[: len(whole) // 2], whole + b"x", whole[:700] + b"?" + whole[701:]):
        (cluster.root / "spoilt").write_bytes(spoilt)
        said = new.vault("swarm", "restore", *here, str(passphrase), str(cluster.root / "spoilt"), code=1).err
        assert "the backup cannot be used" in said
        assert not new.swarm_files.exists()
    said = new.vault("swarm", "restore", *here, str(wrong), str(backup), code=1).err
    assert "the passphrase does not open this backup" in said
    new.vault("swarm", "restore", *here, str(passphrase), str(backup))
    assert [one["Spec"]["Role"] for one in new.nodes()].count("manager") == 1
    new.restart()
    assert "key" in new.vault("secret", "ls").out
    second = cluster.member("late")
    second.join(new, "manager")
    second.until(lambda: "key" in second.vault("secret", "ls", code=None).out, "the second manager has everything")
    assert cluster.members["w1"].vault("exec", container(cluster.members["w1"]), "true").code == 0
    for member in (second, new):
        member.vault("swarm", "leave", "--force")


def test_one_manager_begins_anew_when_the_others_are_lost_and_takes_them_back(cluster: Swarm) -> None:
    m1, m2, m3, worker = (cluster.members[name] for name in ("m1", "m2", "m3", "w1"))
    before = container(worker)
    for lost in (m2, m3):
        lost.kill()
    m1.vault("swarm", "init", "--force-new-cluster")
    m1.vault("secret", "create", "of-the-new-one", "-", stdin=b"x")
    assert sum("ManagerStatus" in one for one in m1.nodes()) == 1
    for lost in (m2, m3):
        lost.start()
        lost.until(lambda lost=lost: is_worker(lost), "a worker of the new one")
        m1.vault("node", "promote", lost.name)
    m3.until(lambda: "of-the-new-one" in m3.vault("secret", "ls", code=None).out, "three again")
    m1.until(lambda: m1.state(worker) == "ready", "the worker is there")
    assert container(worker) == before
