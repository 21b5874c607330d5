"""Promotion, demotion and removal, by real managers: one after the other, from three managers down to one and back."""

import pytest

from tests.membership.knocking import copied
from tests.membership.swarm import Member, Swarm

pytestmark = [pytest.mark.machine, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def three(swarm: Swarm) -> Swarm:
    """Three managers."""
    swarm.make(managers=3)
    return swarm


def became(member: Member, *, manager: bool) -> None:
    """Return once a node is what it was made."""

    def is_so() -> bool:
        shown = member.info()
        return (shown["LocalNodeState"], shown["ControlAvailable"]) == ("active", manager)

    member.until(is_so, "a manager" if manager else "a worker")


def test_who_demotes_himself_through_another_manager_is_answered(three: Swarm) -> None:
    m1, m2, m3 = three.members.values()
    peer = copied(m3)
    assert peer.knock(m1)
    assert peer.knock(m2)
    assert "Manager m3 demoted" in m3.vault("node", "demote", "m3").out
    became(m3, manager=False)
    m3.until(lambda: not (m3.swarm_files / "peer.json").exists(), "no key of an etcd peer is left")
    m3.until(lambda: not list((m3.swarm_files / "store").glob("e*")), "neither an engine nor what names one is left")
    assert "Worker nodes can't be used to view" in m3.vault("node", "ls", code=1).err
    for member in (m1, m2):
        member.until(lambda member=member: not peer.knock(member), "a copy of its peer certificate is refused")
        assert copied(member).knock(member)


def test_what_was_demoted_is_promoted_again(three: Swarm) -> None:
    m1, m3 = three.members["m1"], three.members["m3"]
    m1.vault("node", "promote", "m3")
    became(m3, manager=True)
    three.until_ready(m1, managers=3, nodes=3)
    m3.vault("secret", "create", "through-m3", "-", stdin=b"x")


def test_a_role_that_changes_twice_at_once_comes_to_what_was_said_last(three: Swarm) -> None:
    m1, m3 = three.members["m1"], three.members["m3"]
    for _ in range(2):
        m1.vault("node", "demote", "m3")
        m1.vault("node", "promote", "m3")
    three.until_ready(m1, managers=3, nodes=3)
    became(m3, manager=True)
    m3.until(lambda: m3.vault("node", "ls", code=None).code == 0, "it takes requests")


def test_a_leader_that_is_demoted_leaves_the_lead_to_another(three: Swarm) -> None:
    leader = three.leader()
    leader.vault("node", "demote", leader.name)
    became(leader, manager=False)
    others = [member for member in three.members.values() if member is not leader]
    three.until_ready(others[0], managers=2, nodes=3)
    others[0].vault("secret", "create", "after-the-leader", "-", stdin=b"x")


def test_of_two_managers_the_leader_can_be_demoted_and_the_last_one_cannot(three: Swarm) -> None:
    leader = three.leader()
    other = next(one for one in three.members.values() if one is not leader and one.info()["ControlAvailable"])
    other.vault("node", "demote", leader.name)
    became(leader, manager=False)
    three.until_ready(other, managers=1, nodes=3)
    refused = other.vault("node", "demote", other.name, code=1).err
    assert "attempting to demote the last manager of the swarm" in refused
    assert other.etcd(), "the engine of several managers stays"
    other.vault("secret", "create", "of-one-manager", "-", stdin=b"x")


def test_a_node_that_is_removed_says_why_and_can_join_again(three: Swarm) -> None:
    manager = three.leader()
    gone = next(one for one in three.members.values() if one is not manager)
    for reference, sentence in (
        (manager.id, "It must be demoted to worker before removal"),
        (gone.id, f"node {gone.id} is not down and can't be removed"),
    ):
        assert sentence in manager.vault("node", "rm", reference, code=1).err
    manager.vault("node", "rm", "--force", gone.id)
    gone.until(lambda: gone.info()["LocalNodeState"] == "error", "it says that it was removed")
    assert "this node was removed from the swarm: leave it, and join again" in gone.vault("info").out
    gone.restart()
    gone.until(lambda: gone.info()["LocalNodeState"] == "error", "it says so again")
    gone.vault("swarm", "leave")
    assert gone.info()["LocalNodeState"] == "inactive"
    gone.join(manager, "manager")
    three.until_ready(manager, managers=2, nodes=3)
