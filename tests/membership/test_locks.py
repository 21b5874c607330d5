"""Autolock on three managers: what a restart needs, what a rotation changes, and where no key is left behind."""

import pytest

from tests.membership.swarm import Member, Swarm

pytestmark = [pytest.mark.machine, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def three(swarm: Swarm) -> Swarm:
    """Three managers with autolock."""
    swarm.make(managers=3, options=["--autolock"])
    return swarm


def key_of(manager: Member) -> str:
    """The unlock key of now."""
    return manager.vault("swarm", "unlock-key", "-q").out.strip()


def unlock(member: Member, key: str, *, code: int = 0) -> str:
    """Give a key; return what is said about it."""
    said = member.vault("swarm", "unlock", stdin=key.encode() + b"\n", code=code)
    return said.err


def works(member: Member) -> None:
    """Return once it takes requests."""
    member.until(lambda: member.vault("node", "ls", code=None).code == 0, f"{member.name} takes requests")


def keeps_its_key(member: Member) -> bool:
    """Whether the key file is under the key beside it; for a moment before, the operator's may still open it."""
    path = member.swarm_files / "unlock.key"
    return path.exists() and all(word.startswith("SWMKEY-") for word in path.read_text().split())


def test_a_restarted_manager_is_locked_and_says_so_to_everybody(three: Swarm) -> None:
    m1, m2 = three.members["m1"], three.members["m2"]
    assert not any((member.swarm_files / "unlock.key").exists() for member in three.members.values())
    m2.kill()
    m2.start()
    assert m2.info()["LocalNodeState"] == "locked"
    status, said = m2.api("GET", "/secrets")
    assert status == 503
    assert "Swarm is encrypted and needs to be unlocked before it can be used." in said["message"]
    m2.until(lambda: not m2.etcd(), "it takes no part in the engine", timeout_s=10)
    assert "Please unlock it first or use `--force`" in m2.vault("swarm", "leave", code=1).err
    for key, status in (("foo", 400), ("SWMKEY-1-short", 400), ("SWMKEY-1-" + "A" * 43, 401)):
        assert m2.api("POST", "/swarm/unlock", {"UnlockKey": key})[0] == status
    assert m2.info()["LocalNodeState"] == "locked"
    unlock(m2, key_of(m1))
    works(m2)
    assert "swarm is not locked" in unlock(m2, key_of(m1), code=1)


def test_a_manager_that_was_off_while_the_key_was_rotated_wants_the_old_one(three: Swarm) -> None:
    m1, m3 = three.members["m1"], three.members["m3"]
    old = key_of(m1)
    m3.kill()
    m1.vault("swarm", "unlock-key", "--rotate")
    new = key_of(m1)
    assert new != old
    m3.start()
    assert "give the key of before" in unlock(m3, new, code=1)
    unlock(m3, old)
    works(m3)
    m3.until(lambda: m3.logged("session_begun"), "it follows")
    m3.restart()
    assert "invalid key provided" in unlock(m3, old, code=1)
    unlock(m3, new)
    works(m3)


def test_a_worker_needs_no_key_and_a_manager_again_does(three: Swarm) -> None:
    m1, m3 = three.members["m1"], three.members["m3"]
    m1.vault("node", "demote", "m3")
    m3.until(lambda: (m3.info()["LocalNodeState"], m3.info()["ControlAvailable"]) == ("active", False), "a worker")
    m3.restart()
    assert m3.info()["LocalNodeState"] == "active"
    m1.vault("node", "promote", "m3")
    works(m3)
    assert not (m3.swarm_files / "unlock.key").exists()


def test_all_locked_at_once_come_back_one_after_the_other_and_without_autolock_by_themselves(three: Swarm) -> None:
    members = list(three.members.values())
    three.until_ready(members[0], managers=3, nodes=3)
    key = key_of(members[0])
    for member in members:
        member.kill()
    for member in members:
        member.start()
    for member in members:
        unlock(member, key)
    three.until_ready(members[0], managers=3, nodes=3)
    members[0].vault("swarm", "update", "--autolock=false")
    for member in members:
        member.until(lambda member=member: keeps_its_key(member), "the key is kept")  # type: ignore[misc]
    for member in members:
        member.kill()
    for member in members:
        member.start(answers=False)
    for member in members:
        member.until(member.answers, "it answers")
    three.until_ready(members[0], managers=3, nodes=3)
