"""Credentials for a registry reach the workers that pull, and no other: every node is searched, memory and all."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator

import pytest

from tests.cluster.search.node import Places, held
from tests.images.registries import ALICE, Private, private_registry
from tests.membership.swarm import FOREVER, Member, Swarm

pytestmark = [pytest.mark.machine, pytest.mark.timeout(180)]


@pytest.fixture
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    with private_registry(tmp_path_factory.mktemp("private"), "team/app") as made:
        yield made


def found(member: Member) -> list[str]:
    """Return where a node holds the password, in whatever form."""
    assert member.process is not None
    places = Places(name=member.name, roots=(member.root,), pids=(member.process.pid,))
    pair = ":".join(ALICE).encode()
    return [str(hit) for hit in held(places, {"password": ALICE[1].encode(), "pair": pair})]


def test_only_the_worker_that_pulls_is_given_the_credentials(fresh: Swarm, private: Private) -> None:
    """The client asks a manager that follows; the second worker is to pull the same image for another service."""
    leader, follower, other, _, second = fresh.make(managers=3, workers=2)
    auth = {"username": ALICE[0], "password": ALICE[1], "serveraddress": private.address}
    container = {"Image": private.image, "Command": list(FOREVER)}
    spec = {
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": container, "Placement": {"Constraints": ["node.hostname==w1"]}},
    }
    header = {"X-Registry-Auth": urlsafe_b64encode(json.dumps(auth).encode()).decode()}
    status, said = follower.api("POST", "/services/create", spec, headers=header)
    assert status == 201, said
    leader.until(lambda: leader.tasks("web"), "it runs")
    elsewhere = ("--constraint", "node.hostname==w2", "--restart-delay", "100ms", private.image)
    leader.vault("service", "create", "-d", "-q", "--name", "own", *elsewhere, *FOREVER)
    leader.until(lambda: leader.tasks("own", state="rejected"), "nobody gave this one credentials")
    assert found(second) == [], "nor those of the other service"
    assert found(other) == [], "it keeps sealed records alone"
    hits = {member.name: found(member) for member in fresh.members.values()}
    assert any(hits.values()), "the search finds what some had in their hands: freed memory is not wiped"
    assert not [hit for found_there in hits.values() for hit in found_there if " in memory of " not in hit]
