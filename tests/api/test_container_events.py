"""What a node tells of its own containers, beside what the leader tells of the cluster."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.client import Answer, Daemon, run
from tests.api.pair import pair
from tests.api.test_streams import CONTAINER, START
from vault.api.ports import ContainerEvent
from vault.model.errors import NotAManager, WorkerNode


def event(action: str, after_s: float = 5, **details: str) -> ContainerEvent:
    return ContainerEvent(
        action=action,
        at=START + timedelta(seconds=after_s),
        container_id=CONTAINER.id,
        name=CONTAINER.name,
        image=CONTAINER.image,
        labels=CONTAINER.labels,
        details=details,
    )


def heard(daemon: Daemon, happens: Callable[[], Awaitable[None]], **filters: list[str]) -> list[dict[str, Any]]:
    """Return what a listener hears while something happens."""
    answer = Answer()

    async def listen() -> None:
        url = f"/events?filters={quote(json.dumps(filters))}"
        listener = asyncio.create_task(daemon.call("GET", url, [b""], into=answer))
        await turns()
        await happens()
        await turns()
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

    run(listen())
    return [json.loads(one) for one in answer.body.splitlines()]


async def turns() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


def secret(daemon: Daemon, name: str) -> Awaitable[object]:
    return daemon.call("POST", "/secrets/create", [json.dumps({"Name": name, "Data": "eA=="}).encode()])


def test_a_change_of_health_is_told_in_dockers_shape() -> None:
    daemon = Daemon().with_swarm()

    async def happens() -> None:
        daemon.node.happened.put_nowait(event("health_status: healthy"))

    (told,) = heard(daemon, happens)
    assert told == {
        "Type": "container",
        "Action": "health_status: healthy",
        "Actor": {
            "ID": CONTAINER.id,
            "Attributes": {"com.docker.swarm.task.id": "t1", "image": "busybox:latest", "name": "web.1.t1"},
        },
        "scope": "local",
        "time": int(START.timestamp()) + 5,
        "timeNano": (int(START.timestamp()) + 5) * 10**9,
    }


@pytest.mark.parametrize(
    ("filters", "actions"),
    [
        ({"event": ["health_status"]}, ["health_status: healthy", "health_status: unhealthy"]),
        ({"event": ["health_status: unhealthy"]}, ["health_status: unhealthy"]),
        ({"event": ["die"]}, ["die"]),
        ({"container": ["web.1.t1"], "event": ["start"]}, ["start"]),
        ({"container": ["other"]}, []),
        ({"image": ["busybox:latest"], "event": ["die"]}, ["die"]),
        ({"label": ["com.docker.swarm.task.id=t2"]}, []),
        ({"type": ["secret"]}, ["create"]),
        ({"scope": ["swarm"]}, ["create"]),
    ],
)
def test_events_of_containers_are_filtered_like_others(filters: dict[str, list[str]], actions: list[str]) -> None:
    daemon = Daemon().with_swarm()

    async def happens() -> None:
        for action in ("start", "health_status: healthy", "health_status: unhealthy", "die"):
            daemon.node.happened.put_nowait(event(action))
        await secret(daemon, "s")

    assert [one["Action"] for one in heard(daemon, happens, **filters)] == actions


def test_a_follower_tells_of_the_cluster_what_the_leader_tells_and_of_containers_its_own() -> None:
    leader, follower, _ = pair()

    async def happens() -> None:
        leader.node.happened.put_nowait(event("start"))
        follower.node.happened.put_nowait(event("die", exitCode="3"))
        await secret(leader, "s")

    told = [(one["Type"], one["Action"]) for one in heard(follower, happens)]
    assert sorted(told) == [("container", "die"), ("secret", "create")]


@pytest.mark.parametrize("refusal", [WorkerNode(), NotAManager()])
def test_a_node_that_is_no_manager_tells_of_its_own_containers(refusal: NotAManager) -> None:
    daemon = Daemon()
    daemon.manager.stand(refusal=refusal)

    async def happens() -> None:
        daemon.node.happened.put_nowait(event("die", exitCode="3"))

    (told,) = heard(daemon, happens)
    assert (told["Action"], told["Actor"]["Attributes"]["exitCode"]) == ("die", "3")
    ended = daemon.get(f"/events?until={int(START.timestamp()) - 1}")
    assert (ended.status, ended.body, ended.complete) == (200, b"", True)


def test_a_filter_that_is_wrong_is_refused_before_anything_is_told() -> None:
    assert Daemon().with_swarm().get('/events?filters={"bogus":["x"]}').status == 400
