"""/vault/v1/swarm/data-key: what is said of the data key, and a new one on demand, through any manager."""

import pytest

from tests.api.client import Daemon
from tests.api.pair import fails_once, pair
from vault.api import relay
from vault.model.errors import NotLeading

URL = "/vault/v1/swarm/data-key"
FIRST = {"Term": 1, "CreatedAt": "2026-11-22T20:18:24Z", "Records": 7, "OlderRecords": 0, "OlderKeys": 0}
ROTATED = {**FIRST, "Term": 2, "OlderRecords": 7, "OlderKeys": 1}


def test_a_rotation_answers_what_is_left_to_do_and_looking_rotates_nothing() -> None:
    daemon = Daemon().with_swarm()
    assert [daemon.get(URL).json() for _ in range(2)] == [FIRST, FIRST]
    answer = daemon.post(f"{URL}/rotate")
    assert (answer.status, answer.json()) == (200, ROTATED)
    assert daemon.get(f"/v1.41{URL}").json() == ROTATED


def test_the_manager_that_leads_answers_wherever_it_is_asked() -> None:
    leader, follower, line = pair()
    assert follower.get(URL).json() == FIRST
    assert follower.post(f"{URL}/rotate").json() == ROTATED
    assert leader.manager.store().sealed.term == 2
    assert [request.path for request in line.asked] == [URL, f"{URL}/rotate"]


def test_a_rotation_whose_answer_was_lost_is_not_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LEADER_WAIT_S", 0.2)
    leader, follower, line = pair()
    line.faults = ["lost"]
    answer = follower.post(f"{URL}/rotate")
    assert (answer.status, answer.message) == (
        503,
        "the outcome of this write is unknown: look at the object before you try again",
    )
    assert leader.manager.store().sealed.term == 2
    assert len(line.asked) == 1


def test_what_a_leader_of_before_says_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LEAST_PAUSE_S", 0.001)
    leader, _, line = pair()
    before = Daemon(first_id=0x2000).with_swarm()
    before.manager.barrier = fails_once(NotLeading(), lambda: before.manager.stand(follows=line))
    leader.post(f"{URL}/rotate")
    assert before.get(URL).json() == ROTATED


def test_a_rotation_that_finds_no_room_is_refused_with_what_to_do() -> None:
    daemon = Daemon().with_swarm()
    daemon.post(f"{URL}/rotate")
    answer = daemon.post(f"{URL}/rotate")
    assert (answer.status, answer.message) == (
        409,
        "the swarm keeps 2 data keys already: wait until its records are sealed under the newest, and rotate it then",
    )


@pytest.mark.parametrize(("method", "url"), [("GET", URL), ("POST", f"{URL}/rotate")])
def test_a_node_outside_a_swarm_has_no_data_key(method: str, url: str) -> None:
    answer = Daemon().request(method, url)
    assert answer.status == 503
    assert answer.message.startswith("This node is not a swarm manager.")


def test_the_document_describes_both_without_a_key() -> None:
    document = Daemon().get("/openapi.json").json()
    for url, method in ((URL, "get"), (f"{URL}/rotate", "post")):
        schema = document["paths"][url][method]["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/DataKeyStatus"}
    shown = document["components"]["schemas"]["DataKeyStatus"]["properties"]
    assert set(shown) == set(FIRST)
