"""What happened before somebody asked is told again, as Docker does: the last of it, between two times."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.requests import Request

from tests.api.client import Answer, Daemon, run
from tests.api.fakes import START_S, check_driver, counting_ids
from tests.api.pair import Line, over_wire, pair
from tests.api.test_container_events import event, turns
from vault.api.context import Context
from vault.api.event_stream import PAST, Events
from vault.api.events import REMEMBERED, Recent
from vault.api.streams import Streamed
from vault.model.errors import WorkerNode
from vault.model.secret import Secret, SecretSpec
from vault.rpc.messages_forward import ForwardedAnswer
from vault.store.changes import Put

START = int(START_S)


def told(daemon: Daemon, query: str, **filters: list[str]) -> list[tuple[str, str, str]]:
    """Return type, action and name of each event that a request is answered with."""
    answer = daemon.get(f"/events?{query}&filters={quote(json.dumps(filters))}")
    assert (answer.status, answer.complete) == (200, True)
    return [shown(one) for one in map(json.loads, answer.body.splitlines())]


def shown(one: dict[str, Any]) -> tuple[str, str, str]:
    return one["Type"], one["Action"], one["Actor"]["Attributes"]["name"]


def with_past(daemon: Daemon) -> Daemon:
    """Return a daemon whose swarm has got and lost a secret; commit n is at second n after the start."""
    look = daemon.manager.recent.look
    look(daemon.manager.store().committed, START_S)
    for change in (lambda: make(daemon, "a"), lambda: daemon.delete("/secrets/a"), lambda: make(daemon, "b")):
        change()
        look(daemon.manager.store().committed, START_S + daemon.manager.store().committed.index)
    return daemon


def make(daemon: Daemon, name: str) -> None:
    assert daemon.post("/secrets/create", {"Name": name, "Data": "eA=="}).status == 201


def until_now(daemon: Daemon) -> str:
    """Return a query for everything up to the last commit, which lies before the daemon's now."""
    daemon.clock_s = START_S + 1000
    return f"since=0&until={START + 100}"


def test_the_past_is_told_again_and_the_answer_ends_where_it_is_to_end() -> None:
    daemon = with_past(Daemon().with_swarm())
    assert told(daemon, until_now(daemon)) == [
        ("secret", "create", "a"),
        ("secret", "remove", "a"),
        ("secret", "create", "b"),
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("since={1}&until={3}", ["create a", "remove a", "create b"]),
        ("since={2}&until={3}", ["remove a", "create b"]),
        ("since={1}&until={2}", ["create a", "remove a"]),
        ("since={1}.000000001&until={2}.999999999", ["remove a"]),
        ("until={1}", ["create a"]),
        ("since={1}&until={3}&filters=%7B%22event%22%3A%5B%22remove%22%5D%7D", ["remove a"]),
    ],
)
def test_what_is_told_lies_between_two_times_and_passes_the_filters(query: str, names: list[str]) -> None:
    daemon = Daemon().with_swarm()
    base = daemon.manager.store().committed.index + START
    with_past(daemon)
    daemon.clock_s = START_S + 1000
    answer = daemon.get("/events?" + query.format(base, base + 1, base + 2, base + 3))
    heard = [json.loads(one) for one in answer.body.splitlines()]
    assert [f"{one['Action']} {one['Actor']['Attributes']['name']}" for one in heard] == names


def test_only_the_last_are_remembered() -> None:
    daemon = Daemon().with_swarm()
    daemon.manager.recent.look(daemon.manager.store().committed, START_S)
    for number in range(REMEMBERED + 2):
        make(daemon, f"s{number}")
        daemon.manager.recent.look(daemon.manager.store().committed, START_S)
    daemon.clock_s = START_S + 10_000
    names = [name for _, _, name in told(daemon, f"since=0&until={START + 5000}")]
    assert names == [f"s{number}" for number in range(2, REMEMBERED + 2)]


def test_a_leader_that_was_not_told_of_the_last_commit_yet_tells_it() -> None:
    daemon = with_past(Daemon().with_swarm())
    make(daemon, "late")
    assert told(daemon, until_now(daemon))[-1] == ("secret", "create", "late")


def test_between_what_is_told_again_and_what_comes_nothing_is_lost_or_told_twice() -> None:
    daemon = with_past(Daemon().with_swarm())
    answer = Answer()

    async def listen() -> None:
        listener = asyncio.create_task(daemon.call("GET", "/events?since=0", [b""], into=answer))
        await turns()
        for name in ("c", "d"):
            posted = json.dumps({"Name": name, "Data": "eA=="}).encode()
            await daemon.call("POST", "/secrets/create", [posted])
            await turns()
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

    run(listen())
    heard = [shown(json.loads(one))[1:] for one in answer.body.splitlines()]
    assert heard == [("create", "a"), ("remove", "a"), ("create", "b"), ("create", "c"), ("create", "d")]


def test_without_a_time_nothing_is_told_again() -> None:
    daemon = with_past(Daemon().with_swarm())
    daemon.node.past = [event("start")]
    answer = Answer()

    async def listen() -> None:
        listener = asyncio.create_task(daemon.call("GET", "/events", [b""], into=answer))
        await turns()
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

    run(listen())
    assert answer.body == b""


def test_a_nodes_own_past_stands_among_that_of_the_swarm_by_its_times() -> None:
    daemon = Daemon().with_swarm()
    base = daemon.manager.store().committed.index
    with_past(daemon)
    daemon.node.past = [event("start", base + 0.5), event("die", base + 2.5)]
    actions = [action for _, action, _ in told(daemon, until_now(daemon))]
    assert actions == ["start", "create", "remove", "die", "create"]
    assert [action for _, action, _ in told(daemon, until_now(daemon), type=["container"])] == ["start", "die"]


def in_pieces(line: Line, size: int, kept: tuple[bytes, ...] = (PAST,)) -> None:
    """Let the leader's answers come in pieces that end anywhere, with some of our headers."""
    whole = line.stream

    async def cut(request: Any):  # type: ignore[no-untyped-def]
        async for part in whole(request):
            pieces = [part.body[at : at + size] for at in range(0, len(part.body), size)] or [b""]
            headers = tuple(one for one in part.headers if one[0] in (b"content-type", *kept))
            for piece in pieces[:-1]:
                yield over_wire(ForwardedAnswer(status=part.status, headers=headers, body=piece, more=True))
            yield ForwardedAnswer(status=part.status, headers=headers, body=pieces[-1], more=part.more)

    line.stream = cut  # type: ignore[method-assign]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_follower_tells_the_leaders_past_with_its_own(size: int) -> None:
    leader, follower, line = pair()
    base = leader.manager.store().committed.index
    with_past(leader)
    in_pieces(line, size)
    leader.node.past = [event("start", base + 0.25)]
    follower.node.past = [event("start", base + 0.5), event("die", base + 2.5)]
    leader.clock_s = START_S + 1000
    answer = follower.get(f"/events?since=0&until={START + 100}")
    heard = [shown(json.loads(one))[1] for one in answer.body.splitlines()]
    assert heard == ["start", "create", "remove", "die", "create"]
    assert answer.complete
    assert PAST.decode() not in answer.headers


def test_a_leader_that_remembers_nothing_holds_nobody_up() -> None:
    """As one of an older version, which sends no header either."""
    leader, follower, line = pair()
    follower.node.past = [event("start", 1)]
    leader.clock_s = START_S + 1000
    in_pieces(line, 100_000, kept=())
    assert told(follower, f"since=0&until={START + 100}") == [("container", "start", "web.1.t1")]


def test_a_worker_tells_its_own_past() -> None:
    daemon = Daemon()
    daemon.manager.stand(refusal=WorkerNode())
    daemon.node.past = [event("start", 1), event("die", 3)]
    daemon.clock_s = START_S + 1000
    assert [action for _, action, _ in told(daemon, f"since={START + 2}&until={START + 100}")] == ["die"]


def test_times_in_the_wrong_order_are_refused_in_dockers_words() -> None:
    answer = Daemon().with_swarm().get("/events?since=10&until=3")
    assert (answer.status, answer.message) == (400, "`since` time (10) cannot be after `until` time (3)")


def test_of_what_was_there_before_the_first_look_nothing_is_told() -> None:
    daemon = Daemon().with_swarm()
    make(daemon, "a")
    recent = Recent()
    recent.look(daemon.manager.store().committed, START_S)
    assert not recent.events


def test_what_changes_while_the_past_is_told_is_not_told_when_the_end_has_passed() -> None:
    daemon = with_past(Daemon().with_swarm())
    context = Context(
        manager=daemon.manager,
        node=daemon.node,
        check_driver=check_driver,
        new_id=counting_ids(),
        now_s=lambda: START_S + 1000,
    )
    query = f"since={START}&until={START + 100}".encode()
    pieces: list[bytes] = []

    async def write(piece: bytes) -> None:
        pieces.append(piece)
        daemon.manager.store().write((Put(Secret(id="late", spec=SecretSpec(name="late"))),))

    async def ask() -> None:
        answer = await Events(context).events(Request({"type": "http", "query_string": query, "headers": []}))
        assert isinstance(answer, Streamed)
        await answer.produce(write)

    run(ask())
    assert len(pieces) == 1
    assert b"late" not in pieces[0]
