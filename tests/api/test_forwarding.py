"""A request reaches the manager that leads from whichever manager it was sent to, and through a change of leaders."""

import asyncio
import base64
import json
from dataclasses import replace

import pytest

from tests.api.client import Answer, Daemon, run
from tests.api.fakes import check_driver
from tests.api.pair import FOLLOWER_ID, Line, fails_once, pair
from tests.api.test_services import add_task, create, spec
from tests.api.test_streams import frames, line
from vault.api import relay
from vault.api.app import endpoints_of
from vault.api.bodies import MAX_BODY_BYTES
from vault.api.context import Context, Reach
from vault.api.exec_sessions import Sessions
from vault.api.forwarded import answer_forwarded, serve_forwarded
from vault.model.errors import ManagerNotReady, NoLeader, NotLeading, OutcomeUnknown, WorkerNode
from vault.model.ids import Kind
from vault.rpc.messages_forward import ForwardedAnswer, ForwardedRequest, Outcome
from vault.store.changes import Delete
from vault.store.removals import Removals

NO_LEADER = (
    "The swarm does not have a leader. It's possible that too few managers are online. "
    "Make sure more than half of the managers are online."
)
UNKNOWN = "the outcome of this write is unknown: look at the object before you try again"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(relay, "LEADER_WAIT_S", 0.2)
    monkeypatch.setattr(relay, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(relay, "LEAST_PAUSE_S", 0.001)


def secret(name: str) -> dict[str, str]:
    return {"Name": name, "Data": base64.b64encode(b"value").decode()}


def names(daemon: Daemon) -> list[str]:
    return sorted(one.spec.name for one in daemon.manager.store().committed.secrets.values())


def remove(daemon: Daemon, kind: Kind) -> None:
    """Remove the only object of a kind that a client has made, as another client would."""
    store = daemon.manager.store()
    made = store.committed.by_name(kind, "a")
    assert made is not None
    store.write([Delete(kind, made.id, made.version.index)])


# Which requests are whose.


def test_each_endpoint_is_the_clusters_or_this_nodes() -> None:
    daemon = Daemon()
    context = Context(manager=daemon.manager, node=daemon.node, check_driver=check_driver, new_id=str, now_s=float)
    endpoints = endpoints_of(context, Sessions(daemon.node))
    node = {f"{one.method} {one.path}" for one in endpoints if one.reach is Reach.NODE}
    roots = {"containers", "exec", "images", "volumes", "distribution", "_ping", "version", "info"}
    assert node == {f"{one.method} {one.path}" for one in endpoints if one.path.split("/")[1] in roots} | {
        *("POST /swarm/init", "POST /swarm/join", "POST /swarm/leave", "POST /swarm/unlock"),
        "POST /vault/v1/swarm/restore",
    }
    assert {one.path for one in endpoints if one.reach is Reach.BOTH} == {"/events", "/networks", "/networks/{id}"}
    assert {one.path for one in endpoints if one.creates} == {
        *(f"/{kind}/create" for kind in ("secrets", "configs", "services", "networks")),
        "/vault/v1/stacks/{name}",
    }


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (
            WorkerNode(),
            "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. "
            "Please run this command on a manager node or promote the current node to a manager.",
        ),
        (
            ManagerNotReady(),
            "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster.",
        ),
        (NoLeader(), NO_LEADER),
    ],
)
def test_a_node_that_cannot_reach_a_leader_says_why(refusal: Exception, message: str) -> None:
    daemon = Daemon()
    daemon.manager.stand(refusal=refusal)  # type: ignore[arg-type]
    for method, url in (("GET", "/secrets"), ("POST", "/services/create"), ("GET", "/swarm"), ("GET", "/tasks")):
        answer = daemon.request(method, url, b"{}")
        assert (answer.status, answer.message) == (503, message)


def test_a_worker_shows_its_own_networks_and_containers() -> None:
    daemon = Daemon()
    daemon.manager.stand(refusal=WorkerNode())
    assert {one["Name"] for one in daemon.get("/networks").json()} == {"bridge", "host", "none"}
    assert daemon.get("/networks/bridge").json()["Name"] == "bridge"
    assert daemon.get("/containers/json").status == 200
    assert daemon.get("/info").status == 200
    assert daemon.post("/networks/create", {"Name": "x", "Driver": "overlay"}).status == 503


# What a follower passes on.


def test_a_follower_answers_reads_and_writes_as_the_leader_does() -> None:
    leader, follower, asked = pair()
    made = follower.post("/v1.41/secrets/create", secret("password"))
    assert made.status == 201
    for url in ("/secrets", "/v1.40/secrets/password", "/secrets/none", "/swarm", "/nodes?filters=bad", "/tasks?x=%20"):
        here, there = follower.get(url), leader.get(url)
        assert (here.status, here.headers, here.body) == (there.status, there.headers, there.body)
    assert follower.delete("/secrets/password").status == 204
    assert names(leader) == []
    assert (asked.asked[0].path, asked.asked[0].api_version, asked.asked[0].caller) == (
        "/secrets/create",
        (1, 41),
        "socket",
    )


def test_the_version_a_client_speaks_goes_with_its_request() -> None:
    leader, follower, _ = pair()
    create(leader, spec())
    for version in ("v1.40", "v1.41"):
        here, there = follower.get(f"/{version}/services?status=1"), leader.get(f"/{version}/services?status=1")
        assert here.body == there.body
        assert ("ServiceStatus" in here.text) is (version == "v1.41")


def test_what_is_this_nodes_is_not_passed_on() -> None:
    _, follower, asked = pair()
    for url in ("/containers/json", "/images/json", "/volumes", "/info", "/version", "/_ping"):
        assert follower.get(url).status == 200
    assert asked.asked == []


def test_a_body_that_is_too_long_is_refused_as_the_leader_does_and_not_passed_on() -> None:
    leader, follower, asked = pair()
    for url in ("/services/create", "/secrets/create", "/configs/create"):
        big = b'{"Name": "' + b"x" * (MAX_BODY_BYTES + 1)
        here, there = follower.request("POST", url, big), leader.request("POST", url, big)
        assert (here.status, here.text) == (there.status, there.text)
        chunked = run(follower.call("POST", url, [big[:9], big[9:]], {"content-length": ""}))
        assert (chunked.status, chunked.text) == (there.status, there.text)
    assert max(len(one.body) for one in asked.asked) == 0


def test_self_means_the_node_that_was_asked() -> None:
    leader, follower, asked = pair()
    create(leader, spec())
    add_task(leader, next(iter(leader.manager.store().committed.services)), 1)
    assert len(leader.filtered("/tasks", {"node": ["self"]})) == 1
    answer = follower.get("/tasks?filters=" + json.dumps({"node": ["self"]}))
    assert (answer.status, answer.message) == (404, f"node {FOLLOWER_ID} not found")
    assert asked.asked[-1].node_id == FOLLOWER_ID


def test_an_answer_too_long_for_one_message_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower, asked = pair()
    for number in range(20):
        leader.post("/secrets/create", secret(f"s{number}"))
    monkeypatch.setattr("vault.api.forwarded.MAX_BODY_BYTES", 100)
    here, there = follower.get("/secrets"), leader.get("/secrets")
    assert (here.status, here.body, here.complete) == (200, there.body, True)
    assert len(asked.asked) == 2
    assert asked.open == 0


def test_a_message_that_is_logged_shows_no_body() -> None:
    request = ForwardedRequest(method="POST", path="/secrets/create", body=b"canary", api_version=(1, 50))
    assert "canary" not in f"{request!r} {request}"


def test_what_was_forwarded_is_never_forwarded_again() -> None:
    _, first, _ = pair()
    _, second, onward = pair()
    first.manager.stand(follows=Line(second))
    answer = first.post("/secrets/create", secret("password"))
    assert (answer.status, answer.message) == (503, NO_LEADER)
    assert onward.asked == []


def test_a_manager_that_lost_its_place_says_that_nothing_was_done() -> None:
    leader, _, _ = pair()
    request = ForwardedRequest(method="GET", path="/secrets", api_version=(1, 50))
    for refusal in (NoLeader(), WorkerNode(), ManagerNotReady()):
        leader.manager.stand(refusal=refusal)
        assert run(answer_forwarded(leader.app, request)).outcome is Outcome.NOTHING_DONE


# When leaders change.


def test_a_create_whose_answer_was_lost_is_done_once_and_answered_with_its_id() -> None:
    leader, follower, asked = pair()
    for kind, posted in (
        ("secrets", secret("a")),
        ("configs", secret("a")),
        ("services", spec()),
        ("services", {**spec(), "Name": ""}),
        ("networks", {"Name": "back", "Driver": "overlay"}),
    ):
        asked.asked.clear()
        asked.faults = ["lost", "lost"]
        before = leader.manager.store().committed.index
        answer = follower.post(f"/{kind}/create", posted)
        assert answer.status == 201, answer.text
        assert [one.new_id for one in asked.asked] == [asked.asked[0].new_id] * 3
        assert answer.json().get("ID", answer.json().get("Id")) == asked.asked[0].new_id
        assert leader.manager.store().committed.index - before <= 3  # One write; the fake counts empty ones.
        assert asked.asked[0].new_id in leader.manager.store().committed.objects[Kind(kind[:-1])]


@pytest.mark.parametrize("kind", ["secrets", "configs", "services", "networks"])
def test_a_create_whose_answer_was_lost_is_not_done_again_when_somebody_has_removed_it_since(kind: str) -> None:
    leader, follower, asked = pair()
    posted = {"services": {**spec(), "Name": "a"}, "networks": {"Name": "a", "Driver": "overlay"}}
    asked.faults = ["lost"]
    asked.meanwhile = lambda: remove(leader, Kind(kind[:-1]))
    answer = follower.post(f"/{kind}/create", posted.get(kind, secret("a")))
    assert (answer.status, next(iter(answer.json().values()))) == (201, asked.asked[0].new_id)
    assert [one.sent_since for one in asked.asked] == [None, 0]
    assert leader.get(f"/{kind}/a").status == 404


def test_a_create_whose_answer_was_lost_is_not_done_again_by_a_leader_that_cannot_tell_whether_it_was_removed() -> None:
    leader, follower, asked = pair()
    asked.faults = ["lost"]

    def loads_anew() -> None:
        store = leader.manager.store()
        remove(leader, Kind.SECRET)
        store.committed = replace(store.committed, removals=Removals.from_now(store.committed.index))

    asked.meanwhile = loads_anew
    answer = follower.post("/secrets/create", secret("a"))
    assert (answer.status, answer.message) == (503, UNKNOWN)
    assert names(leader) == []
    assert len(asked.asked) == 2


def test_another_object_of_that_name_still_conflicts() -> None:
    leader, follower, asked = pair()
    leader.post("/secrets/create", secret("a"))
    asked.faults = ["lost before"]
    answer = follower.post("/secrets/create", secret("a"))
    assert (answer.status, answer.message) == (409, "rpc error: code = AlreadyExists desc = secret a already exists")


def test_a_create_goes_on_at_the_next_leader() -> None:
    old, follower, first = pair()
    new, _, second = pair()
    first.faults = ["lost before"]
    first.meanwhile = lambda: follower.manager.stand(follows=second)
    assert follower.post("/secrets/create", secret("a")).status == 201
    assert (names(old), names(new)) == ([], ["a"])
    assert first.asked[0].new_id == second.asked[0].new_id != ""


def test_a_create_goes_on_here_when_this_manager_takes_the_lead() -> None:
    _, follower, asked = pair()
    asked.faults = ["lost before"]
    successor = Daemon().with_swarm()

    def take_over() -> None:
        follower.manager.memory = successor.manager.memory
        follower.manager.stand()

    asked.meanwhile = take_over
    made = follower.post("/secrets/create", secret("a"))
    assert (made.status, made.json()["ID"]) == (201, asked.asked[0].new_id)
    assert names(follower) == ["a"]


def test_another_write_whose_answer_was_lost_says_so() -> None:
    leader, follower, asked = pair()
    follower.post("/secrets/create", secret("a"))
    asked.faults = ["lost"]
    answer = follower.delete("/secrets/a")
    assert (answer.status, answer.message) == (503, UNKNOWN)
    assert len(asked.asked) == 2
    assert names(leader) == []


def test_a_write_that_was_not_taken_up_is_sent_again() -> None:
    leader, follower, asked = pair()
    follower.post("/secrets/create", secret("a"))
    asked.faults = ["unreached", "unreached"]
    assert follower.delete("/secrets/a").status == 204
    assert names(leader) == []


def test_a_read_is_sent_again_when_its_answer_was_lost() -> None:
    _, follower, asked = pair()
    asked.faults = ["lost", "unreached", "lost before"]
    assert follower.get("/secrets").json() == []
    assert len(asked.asked) == 4


def test_a_manager_that_hangs_is_given_up_when_another_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.api.patience.LOOK_S", 0.01)
    monkeypatch.setattr("vault.api.patience.GRACE_S", 0.01)
    _, follower, first = pair()
    new, _, second = pair()
    first.faults = ["hangs", "hangs"]
    first.meanwhile = lambda: follower.manager.stand(follows=second)
    assert follower.post("/secrets/create", secret("a")).status == 201
    assert names(new) == ["a"]
    follower.manager.stand(follows=first)
    answer = follower.delete("/secrets/a")
    assert (answer.status, answer.message) == (503, UNKNOWN)


def test_a_request_waits_for_a_leader_and_no_longer_than_its_limit() -> None:
    leader, follower, asked = pair()
    follower.manager.stand(refusal=NoLeader())

    async def ask() -> Answer:
        asking = asyncio.create_task(follower.call("POST", "/secrets/create", [json.dumps(secret("a")).encode()]))
        await asyncio.sleep(0)
        follower.manager.stand(follows=asked)
        return await asking

    assert run(ask()).status == 201
    assert names(leader) == ["a"]
    follower.manager.stand(refusal=NoLeader())
    answer = follower.post("/secrets/create", secret("b"))
    assert (answer.status, answer.message) == (503, NO_LEADER)


def test_a_client_that_goes_while_there_is_no_leader_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LEADER_WAIT_S", 60)
    _, follower, asked = pair()
    follower.manager.stand(refusal=NoLeader())
    answer = run(follower.call("POST", "/secrets/create", [b"{}"], hang_up=True))
    assert answer.status == 0
    assert asked.asked == []


# The leader's own part.


def test_a_read_waits_for_the_barrier_and_a_write_that_is_accepted_does_not() -> None:
    leader, follower, _ = pair()
    waited = []

    async def barrier() -> None:
        waited.append("read")

    leader.manager.barrier = barrier
    assert leader.post("/secrets/create", secret("a")).status == 201
    assert waited == []
    assert leader.get("/secrets/a").status == 200
    assert follower.get("/secrets/a").status == 200
    assert len(waited) == 2


def test_a_refusal_is_believed_only_while_nobody_else_leads() -> None:
    old, _, _ = pair()
    new, _, line_to_new = pair()
    old.post("/secrets/create", secret("a"))
    old.manager.barrier = fails_once(NotLeading(), lambda: old.manager.stand(follows=line_to_new))
    assert old.post("/secrets/create", secret("a")).status == 201
    assert names(new) == ["a"]


def test_a_leader_that_is_superseded_in_the_middle_sends_the_request_on() -> None:
    old, _, _ = pair()
    new, _, line_to_new = pair()

    async def superseded(build: object) -> int:
        old.manager.stand(follows=line_to_new)
        raise NotLeading

    old.manager.store().submit = superseded  # type: ignore[method-assign, assignment]
    assert old.post("/secrets/create", secret("a")).status == 201
    assert names(new) == ["a"]


def test_a_leader_that_is_superseded_while_it_serves_another_says_that_nothing_was_done() -> None:
    leader, follower, asked = pair()
    follower.post("/secrets/create", secret("a"))
    plain, left = leader.manager.store().submit, [NotLeading()]

    async def superseded(build: object) -> int:
        if left:
            raise left.pop()
        return await plain(build)  # type: ignore[arg-type]

    leader.manager.store().submit = superseded  # type: ignore[method-assign]
    assert follower.delete("/secrets/a").status == 204
    assert len(asked.asked) == 3


@pytest.mark.parametrize("through", ["leader", "follower"])
def test_a_commit_of_unknown_outcome_is_done_again_only_for_creates(through: str) -> None:
    leader, follower, _ = pair()
    asked = leader if through == "leader" else follower
    asked.post("/secrets/create", secret("a"))
    store = leader.manager.store()
    plain = store.submit
    left = ["create"]

    async def unknown(build: object) -> int:
        index = await plain(build)  # type: ignore[arg-type]
        if left:
            left.pop()
            raise OutcomeUnknown
        return index

    store.submit = unknown  # type: ignore[method-assign]
    assert asked.post("/secrets/create", secret("b")).status == 201
    left.append("remove")
    answer = asked.delete("/secrets/a")
    assert (answer.status, answer.message) == (503, UNKNOWN)
    assert names(leader) == ["b"]


def test_a_bug_at_the_leader_is_told_without_its_text() -> None:
    leader, follower, _ = pair()

    async def broken(build: object) -> int:
        raise RuntimeError("canary-of-a-secret")

    leader.manager.store().submit = broken  # type: ignore[method-assign, assignment]
    answer = follower.post("/secrets/create", secret("a"))
    assert (answer.status, answer.message) == (500, "internal error: the daemon's log says more")


# Streams.


def test_logs_come_through_a_follower_in_the_same_frames() -> None:
    leader, follower, asked = pair()
    service_id = create(leader, spec())
    task = add_task(leader, service_id, 1)
    leader.manager.logs[task.id] = [line("first"), line("last", 10)]
    here = follower.get("/services/web/logs?stdout=1")
    there = leader.get("/services/web/logs?stdout=1")
    assert frames(here.body) == [(1, b"first\n"), (1, b"last\n")]
    assert (here.headers, here.body, here.complete) == (there.headers, there.body, True)
    assert follower.get("/services/none/logs?stdout=1").status == 404
    assert asked.open == 0


def test_events_come_through_a_follower_as_they_happen_and_end_with_the_client() -> None:
    leader, follower, asked = pair()
    answer = Answer()

    async def watch() -> None:
        watching = asyncio.create_task(follower.call("GET", "/events", [b""], into=answer))
        while answer.status == 0:
            await asyncio.sleep(0)
        assert asked.open == 1
        await leader.call("POST", "/secrets/create", [json.dumps(secret("a")).encode()])
        while not answer.body:
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    run(watch())
    assert json.loads(answer.body)["Actor"]["Attributes"] == {"name": "a"}
    assert asked.open == 0
    gone = run(follower.call("GET", "/events", [b""], hang_up=True))
    assert not gone.complete
    assert asked.open == 0


def test_a_stream_ends_at_the_leader_when_the_one_who_asked_has_gone() -> None:
    leader, _, _ = pair()
    parts: list[ForwardedAnswer] = []

    async def send(part: ForwardedAnswer) -> None:
        parts.append(part)

    async def gone() -> None:
        raise NoLeader  # As a call that has ended raises.

    request = ForwardedRequest(method="GET", path="/events", api_version=(1, 50))

    async def serve() -> None:
        async with asyncio.timeout(5):
            await serve_forwarded(leader.app, request, send, gone)

    run(serve())
    assert [part.more for part in parts] == [True]  # It did not end as if all had been said.


def test_a_stream_that_nobody_takes_up_is_closed() -> None:
    leader, follower, asked = pair()
    leader.manager.stand(refusal=NoLeader())
    answer = follower.get("/events")
    assert (answer.status, answer.message) == (503, NO_LEADER)
    assert len(asked.asked) > 1
    assert asked.open == 0


def test_a_stream_that_breaks_off_at_the_leader_does_not_look_complete() -> None:
    leader, follower, _ = pair()
    service_id = create(leader, spec())
    add_task(leader, service_id, 1)

    async def breaks(task: object, query: object):  # type: ignore[no-untyped-def]
        yield line("first")
        raise NotLeading

    leader.manager.task_logs = breaks  # type: ignore[method-assign, assignment]
    answer = follower.get("/services/web/logs?stdout=1&follow=1")
    assert frames(answer.body) in ([], [(1, b"first\n")])
    assert not answer.complete
