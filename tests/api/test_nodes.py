"""Nodes over HTTP: how far a drain is, which Docker does not tell, and tasks by node."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from tests.api.client import Daemon
from tests.api.fakes import NODE_ID, START_S
from tests.api.test_services import create, spec
from vault.model.task import State, Task, TaskStatus
from vault.store.changes import Put

PATH = f"/vault/v1/nodes/{NODE_ID}/drain"


def drained(daemon: Daemon) -> None:
    found = daemon.get(f"/nodes/{NODE_ID}").json()
    posted = found["Spec"] | {"Availability": "drain"}
    answer = daemon.post(f"/nodes/{NODE_ID}/update?version={found['Version']['Index']}", posted)
    assert answer.status == 200, answer.text


def add(daemon: Daemon, service_id: str, task_id: str, **fields: object) -> Task:
    store = daemon.manager.store()
    service = store.committed.services[service_id]
    task = Task(
        id=task_id.zfill(25), spec=service.spec.task_template, service_id=service_id, slot=1, service_name="web",
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip
    store.write((Put(task),))
    return store.committed.tasks[task.id]


def test_a_drain_is_shown_from_its_beginning_to_its_end() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, spec())
    old = add(daemon, service_id, "1", node_id=NODE_ID, status=TaskStatus(state=State.RUNNING))
    drained(daemon)
    assert "DrainedAt" not in daemon.get(f"/nodes/{NODE_ID}").text
    one = {"ID": old.id, "Name": "web.1", "ServiceID": service_id, "NodeID": NODE_ID, "State": "running"}
    assert daemon.get(PATH).json() == {"Availability": "drain", "Leaving": [one], "Awaited": []}
    asked = datetime.fromtimestamp(START_S, UTC) + timedelta(seconds=9)
    status = TaskStatus(state=State.SHUTDOWN)
    gone = replace(old, desired_state=State.SHUTDOWN, stop_asked_at=asked, status=status)
    daemon.manager.store().write((Put(gone),))
    new = add(daemon, service_id, "2", status=TaskStatus(state=State.PENDING, err="no suitable node"))
    waits = {"ID": new.id, "Name": "web.1", "ServiceID": service_id, "State": "pending"}
    waits |= {"Reason": "no suitable node", "Hopeless": True}
    assert daemon.get(PATH).json() == {"Availability": "drain", "Leaving": [], "Awaited": [waits]}
    daemon.manager.store().write((Put(replace(new, node_id="other", status=TaskStatus(state=State.RUNNING))),))
    assert daemon.get(PATH).json() == {"Availability": "drain", "Leaving": [], "Awaited": []}


def test_the_drain_of_a_node_that_is_not_there_is_not_found() -> None:
    answer = Daemon().with_swarm().get("/vault/v1/nodes/nosuch/drain")
    assert (answer.status, answer.message) == (404, "node nosuch not found")


def test_tasks_are_found_by_their_node() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, spec())
    here = add(daemon, service_id, "1", node_id=NODE_ID)
    add(daemon, service_id, "2", node_id="elsewhere")
    assert [task["ID"] for task in daemon.filtered("/tasks", {"node": [NODE_ID]})] == [here.id]
    both = {"node": [NODE_ID], "service": ["web"]}
    assert [task["ID"] for task in daemon.filtered("/tasks", both)] == [here.id]
