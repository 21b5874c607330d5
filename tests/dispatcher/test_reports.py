"""What a node may say of its tasks."""

from collections.abc import Callable

import pytest

from vault.dispatcher.reports import observed, said
from vault.model.ids import Kind
from vault.model.service import Service, ServiceSpec, TaskSpec
from vault.model.task import State, Task, TaskStatus
from vault.rpc.messages import Report
from vault.store.changes import Delete, Put
from vault.store.snapshot import Snapshot


def told(before: State, after: State, *, node: str = "n1") -> list[State]:
    task = Task(id="t1", spec=TaskSpec(), node_id="n1", status=TaskStatus(state=before))
    snap = Snapshot().apply((Put(task),), index=1, now_s=0.0)
    report = Report(statuses=(("t1", TaskStatus(state=after)), ("gone", TaskStatus())))
    changes = [put for task_id, status in said(report, now_s=0.0) for put in observed(snap, node, task_id, status)]
    puts = [change.obj for change in changes if isinstance(change, Put)]
    return [put.status.state for put in puts if isinstance(put, Task)]


def leaving(*, desired: State = State.REMOVE, services: tuple[str, ...] = ()) -> Snapshot:
    """A task of a service that is no more, unless that is among `services`."""
    task = Task(id="t1", spec=TaskSpec(), service_id="web", node_id="n1", status=running(), desired_state=desired)
    others = [Service(id=name, spec=ServiceSpec(name=name)) for name in services]
    return Snapshot().apply([Put(task), *map(Put, others)], index=1, now_s=0.0)


@pytest.mark.parametrize("state", [State.SHUTDOWN, State.COMPLETE, State.FAILED])
def test_a_task_that_was_to_go_with_its_service_leaves_when_it_has_ended(state: State) -> None:
    snap = leaving()
    (change,) = observed(snap, "n1", "t1", TaskStatus(state=state))
    assert change == Delete(Kind.TASK, "t1", 1)
    assert observed(snap, "n2", "t1", TaskStatus(state=state)) == (), "another node has no say in that"


@pytest.mark.parametrize(
    ("snap", "state"),
    [
        (leaving, State.RUNNING),
        (lambda: leaving(services=("web",)), State.SHUTDOWN),
        (lambda: leaving(desired=State.SHUTDOWN), State.SHUTDOWN),
    ],
    ids=["it runs", "its service is there, and has a slot to fill perhaps", "nobody asked it to go"],
)
def test_other_tasks_stay_as_they_are_seen(snap: Callable[[], Snapshot], state: State) -> None:
    (change,) = observed(snap(), "n1", "t1", TaskStatus(state=state, err="something new"))
    assert isinstance(change, Put)


def test_a_report_moves_a_task_forward_even_past_steps_it_leaves_out() -> None:
    assert told(State.ASSIGNED, State.RUNNING) == [State.RUNNING]
    assert told(State.READY, State.COMPLETE) == [State.COMPLETE]


@pytest.mark.parametrize("after", [State.ASSIGNED, State.READY, State.STARTING, State.NEW])
def test_a_report_never_moves_a_task_back(after: State) -> None:
    assert told(State.RUNNING, after) == []


def test_an_ended_task_stays_as_it_ended() -> None:
    assert told(State.COMPLETE, State.FAILED) == []
    assert told(State.SHUTDOWN, State.RUNNING) == []


def test_a_node_cannot_speak_of_the_tasks_of_another() -> None:
    assert told(State.ASSIGNED, State.RUNNING, node="n2") == []


@pytest.mark.parametrize("after", [State.PENDING, State.ASSIGNED, State.ORPHANED, State.REMOVE])
def test_a_node_cannot_make_the_steps_of_a_manager(after: State) -> None:
    assert told(State.NEW, after) == []
    assert told(State.RUNNING, after) == []


def test_a_node_cannot_speak_of_a_task_before_it_was_assigned() -> None:
    assert told(State.NEW, State.RUNNING) == []
    assert told(State.PENDING, State.FAILED) == []


def running(**fields: object) -> TaskStatus:
    return TaskStatus(state=State.RUNNING, **fields)  # type: ignore[arg-type]


def test_a_running_task_that_turns_unhealthy_is_news_and_stays_unhealthy() -> None:
    snap = Snapshot().apply((Put(Task(id="t1", spec=TaskSpec(), node_id="n1", status=running())),), index=1, now_s=0.0)
    assert observed(snap, "n1", "t1", running()) == ()
    for status, unhealthy in ((running(unhealthy=True), True), (running(err="another word"), True)):
        (put,) = observed(snap, "n1", "t1", status)
        assert isinstance(put, Put)
        snap = snap.apply((put,), index=snap.index + 1, now_s=0.0)
        assert snap.tasks["t1"].status.unhealthy is unhealthy
        assert not snap.tasks["t1"].status.serves
    assert observed(snap, "n1", "t1", running(unhealthy=True, err="another word")) == ()
