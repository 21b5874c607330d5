"""Joining and leaving: what is refused is refused in one sentence, and changes nothing on either side."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.membership.swarm import Member, Swarm

pytestmark = [pytest.mark.machine, pytest.mark.timeout(120)]
TOKEN_ASKED = "A valid join token is necessary to join this cluster"
TOO_FAR_S = 50_000


@pytest.fixture(scope="module")
def first(swarm: Swarm) -> Member:
    """A manager alone."""
    return swarm.member("m1").init()


@pytest.fixture(scope="module")
def joiner(swarm: Swarm, first: Member) -> Member:
    """A node that is in no swarm, and comes into none here."""
    return swarm.member("joiner")


def asked(joiner: Member, address: str, token: str) -> tuple[int, str]:
    """Ask to join; return status and text."""
    wanted = {
        "RemoteAddrs": [address], "JoinToken": token, "AdvertiseAddr": joiner.address,
        "ListenAddr": f"{joiner.address}:2377",
    }  # fmt: skip
    status, said = joiner.api("POST", "/swarm/join", wanted)
    return status, said["message"]


def reached(manager: Member) -> int:
    """Return how many managers are to be reached."""
    return sum(one.get("ManagerStatus", {}).get("Reachability") == "reachable" for one in manager.nodes())


def altered(token: str, part: int) -> str:
    """Return a token with one of its parts drawn anew."""
    parts = token.split("-")
    parts[part] = "0" * len(parts[part])
    return "-".join(parts)


def test_what_may_not_join_is_told_why_and_nothing_changes(first: Member, joiner: Member) -> None:
    good, refused = first.token("worker"), joiner.address
    old = good
    first.vault("swarm", "join-token", "--rotate", "-q", "worker")
    good = first.token("worker")
    assert good != old
    at = f"{first.address}:2377"
    plain = socket.create_server((refused, 2999))
    try:
        for address, token, status, words in (
            (at, "foo", 400, TOKEN_ASKED),
            (at, "", 400, TOKEN_ASKED),
            (at, altered(good, 3), 400, TOKEN_ASKED),
            (at, old, 400, TOKEN_ASKED),
            (at, altered(good, 2), 400, "remote CA does not match fingerprint"),
            (f"{refused}:2377", good, 503, "connection refused: give the address of a manager"),
            (f"{refused}:2999", good, 503, "did not answer in time: give the address of a manager"),
            ("foo:bar", good, 400, 'invalid remote address "foo:bar": use HOST:PORT of a manager'),
            (f"{first.address}:99999", good, 400, "use HOST:PORT of a manager"),
            ("no-such-host.invalid:2377", good, 503, "its name is not known"),
        ):
            said = asked(joiner, address, token)
            assert said[0] == status, (address, token, said)
            assert words in said[1]
            assert "\n" not in said[1]
    finally:
        plain.close()
    assert joiner.info()["LocalNodeState"] == "inactive"
    assert not joiner.swarm_files.exists()
    assert [one["ID"] for one in first.nodes()] == [first.id]


def test_a_manager_is_not_taken_where_another_one_answers(first: Member, joiner: Member) -> None:
    token = first.token("manager")
    wanted = {
        "RemoteAddrs": [first.address], "JoinToken": token, "AdvertiseAddr": first.address,
        "ListenAddr": f"{joiner.address}:2377",
    }  # fmt: skip
    status, said = joiner.api("POST", "/swarm/join", wanted)
    assert status == 409
    assert f"manager {first.id} of this swarm answers at {first.address} already" in said["message"]
    assert joiner.info()["LocalNodeState"] == "inactive"
    assert len(first.nodes()) == 1
    assert not first.logged("moving_to_etcd")


@pytest.mark.parametrize(("clock_s", "words"), [(-TOO_FAR_S, "behind"), (100 * 86_400, "ahead of")])
def test_a_clock_that_is_too_far_off_is_named(first: Member, joiner: Member, clock_s: int, words: str) -> None:
    joiner.stop()
    joiner.start(clock_s=clock_s)
    status, said = asked(joiner, first.address, first.token("worker"))
    assert status == 400
    assert f"{words} the manager's, too far for certificates to work: set the clock and try again" in said
    assert len(first.nodes()) == 1
    joiner.restart()


def test_releases_that_speak_no_common_version_say_so_in_one_sentence_and_nothing_is_left(
    swarm: Swarm, first: Member
) -> None:
    newer = swarm.member("newer", speaks=2)
    before = sorted(newer.data.rglob("*"))
    at = f"{first.address}:2377"
    for role in ("worker", "manager"):
        assert newer.join(first, role, code=1).err == (
            f"Error response from daemon: cannot reach {at}: it speaks version 1 of the control protocol, "
            f"this node version 2: upgrade {at}\n"
        )
    assert newer.info()["LocalNodeState"] == "inactive"
    assert sorted(newer.data.rglob("*")) == before
    assert len(first.nodes()) == 1
    assert not first.logged("moving_to_etcd")
    assert not newer.logged("Traceback")


def test_a_node_is_in_one_swarm_and_leaves_it_before_the_next(swarm: Swarm, first: Member) -> None:
    worker = swarm.member("w1")
    assert "joined a swarm as a worker" in worker.join(first).out
    first.until(lambda: first.state(worker) == "ready", "the worker is ready")
    in_one = 'already part of a swarm. Use "vault swarm leave" to leave this swarm'
    assert in_one in worker.join(first, code=1).err
    assert in_one in worker.vault("swarm", "init", code=1).err
    assert len(first.nodes()) == 2
    assert "Worker nodes can't be used to view" in worker.vault("secret", "ls", code=1).err
    at_a_worker = asked(swarm.member("joiner"), worker.address, first.token("worker"))
    assert at_a_worker[0] == 503
    before = worker.id
    worker.vault("swarm", "leave")
    assert "This node is not part of a swarm" in worker.vault("swarm", "leave", code=1).err
    assert not worker.swarm_files.exists()
    worker.join(first)
    assert worker.id != before
    assert first.node(before)["Status"]["State"] in ("ready", "down")  # It is removed by hand, as in Docker.


def test_a_node_that_leaves_with_force_gives_up_its_role_first(swarm: Swarm, first: Member) -> None:
    second, third = swarm.member("m2"), swarm.member("m3")
    token = first.token("manager")
    with ThreadPoolExecutor() as pool:  # At one moment, by one token, into a swarm whose store has to move for them.
        list(pool.map(lambda one: one.join(first, "manager", token=token), (second, third)))
    first.until(lambda: reached(first) == 3, "three managers")
    refused = second.vault("swarm", "leave", code=1).err
    assert "participating as a manager" in refused
    assert second.info()["ControlAvailable"]
    left = second.id
    second.vault("swarm", "leave", "--force")
    shown = first.node(left)
    assert (shown["Spec"]["Role"], shown.get("ManagerStatus")) == ("worker", None)
    first.vault("secret", "create", "two-are-left", "-", stdin=b"x")
    leader = swarm.leader()
    other = third if leader is first else first
    leader.vault("swarm", "leave", "--force")
    began = time.monotonic()
    other.until(lambda: other.vault("secret", "ls", code=None).code == 0, "the last one leads")
    assert time.monotonic() - began < 30
    assert "Removing the last manager erases all current state" in other.vault("swarm", "leave", code=1).err
