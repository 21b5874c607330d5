"""Rebalances over HTTP: what would move, what is begun, and who stays."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.api.client import Daemon
from tests.api.fakes import NODE_ID
from tests.api.test_services import create, spec
from vault.model.node import Node, NodeDescription, NodeSpec, NodeStatus
from vault.model.task import State, Task, TaskStatus
from vault.store.changes import Put

OTHER = "o" * 25


def crowded(tasks: int = 4, **node: Any) -> Daemon:
    """Return a daemon whose service runs on one node, and a node that came later."""
    daemon = Daemon().with_swarm()
    store = daemon.manager.store()
    first = store.committed.nodes[NODE_ID]
    fields = {"spec": NodeSpec(), "status": NodeStatus(state="ready"), **node}
    other = Node(id=OTHER, description=NodeDescription(hostname="other"), **fields)
    store.write((Put(replace(first, status=NodeStatus(state="ready"))), Put(other)))
    service_id = create(daemon, spec())
    service = store.committed.services[service_id]
    made = [
        Task(
            id=f"t{slot}".zfill(25),
            spec=service.spec.task_template,
            service_id=service_id,
            service_name="web",
            slot=slot,
            node_id=NODE_ID,
            spec_version=service.spec_version,
            status=TaskStatus(state=State.RUNNING),
        )
        for slot in range(1, tasks + 1)
    ]
    store.write([Put(task) for task in made])
    return daemon


def moves(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(move["Name"], move["From"], move["To"]) for move in answer["Moves"]]


HALF = [("web.4", NODE_ID, OTHER), ("web.3", NODE_ID, OTHER)]


@pytest.mark.parametrize(
    ("path", "posted"),
    [
        ("/vault/v1/services/web/rebalance", None),
        ("/vault/v1/nodes/rebalance", {}),
        ("/vault/v1/nodes/rebalance", {"Nodes": ["other"]}),
    ],
)
def test_a_dry_run_says_what_would_move_and_then_it_is_begun(path: str, posted: Any) -> None:
    daemon = crowded()
    planned = daemon.post(f"{path}?dry_run=1", posted)
    assert (planned.status, moves(planned.json()), planned.json()["Skipped"]) == (200, HALF, [])
    assert "UpdateStatus" not in daemon.get("/services/web").json()
    begun = daemon.post(path, posted)
    assert (begun.status, begun.json()) == (200, planned.json())
    status = daemon.get("/services/web").json()["UpdateStatus"]
    assert (status["State"], status["Message"]) == ("updating", "rebalance in progress")
    assert "Moves" not in status


def test_a_service_that_is_being_rebalanced_is_not_begun_again() -> None:
    daemon = crowded()
    daemon.post("/vault/v1/services/web/rebalance")
    again = daemon.post("/vault/v1/services/web/rebalance")
    prefix = "rpc error: code = FailedPrecondition desc = "
    reason = "it is being rebalanced already"
    assert (again.status, again.message) == (400, f"{prefix}service web cannot be rebalanced: {reason}")
    both = daemon.post("/vault/v1/nodes/rebalance", {}).json()
    assert both == {"Moves": [], "Skipped": [{"Service": "web", "Reason": reason}]}


def test_a_service_whose_update_has_yet_to_begin_is_not_rebalanced() -> None:
    daemon = crowded()
    shown = daemon.get("/services/web").json()
    shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "other"
    daemon.post(f"/services/web/update?version={shown['Version']['Index']}", shown["Spec"])
    answer = daemon.post("/vault/v1/services/web/rebalance")
    assert (answer.status, answer.message.endswith("web cannot be rebalanced: it is being updated")) == (400, True)


def test_what_is_even_is_left_alone() -> None:
    daemon = crowded(tasks=1)
    before = daemon.manager.store().committed.index
    assert daemon.post("/vault/v1/services/web/rebalance").json() == {"Moves": [], "Skipped": []}
    assert daemon.manager.store().committed.index == before


@pytest.mark.parametrize(
    ("node", "state"),
    [({"spec": NodeSpec(availability="drain")}, "drain"), ({"status": NodeStatus(state="down")}, "down")],
)
def test_a_node_that_takes_no_tasks_cannot_get_its_share(node: dict[str, Any], state: str) -> None:
    answer = crowded(**node).post("/vault/v1/nodes/rebalance", {"Nodes": ["other"]})
    prefix = "rpc error: code = FailedPrecondition desc = "
    assert (answer.status, answer.message) == (400, f"{prefix}node other takes no tasks: it is {state}")


def test_what_is_not_there_is_not_found() -> None:
    daemon = crowded()
    assert daemon.post("/vault/v1/services/nosuch/rebalance").status == 404
    assert daemon.post("/vault/v1/nodes/rebalance", {"Nodes": ["nosuch"]}).status == 404
