"""Jobs over HTTP: their modes, runs and counts, in Docker's shapes."""

from typing import Any

import pytest

from tests.api.client import Daemon
from tests.api.fakes import NODE_ID
from tests.api.test_services import create, spec, version_of
from vault.model.base import Version
from vault.model.node import Node, NodeStatus
from vault.model.task import State, Task, TaskStatus
from vault.store.changes import Put


def job(name: str = "batch", **mode: Any) -> dict[str, Any]:
    return spec(name) | {"Mode": mode or {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 5}}}


def update(daemon: Daemon, posted: dict[str, Any], *, query: str = "") -> None:
    answer = daemon.post(f"/services/batch/update?version={version_of(daemon, 'batch')}{query}", posted)
    assert answer.status == 200, answer.text


def add(daemon: Daemon, service_id: str, slot: int, state: State, *, run: int = 0, node_id: str = NODE_ID) -> None:
    store = daemon.manager.store()
    service = store.committed.services[service_id]
    task = Task(
        id=f"{len(store.committed.tasks)}".zfill(25),
        spec=service.spec.task_template,
        service_id=service_id,
        slot=slot,
        numbered=service.spec.mode.replicated_job is not None,
        node_id=node_id,
        spec_version=service.spec_version,
        job_iteration=Version(index=run),
        desired_state=State.COMPLETE,
        status=TaskStatus(state=state),
    )
    store.write((Put(task),))


@pytest.mark.parametrize(
    ("posted", "stored"),
    [
        ({}, {"MaxConcurrent": 1, "TotalCompletions": 1}),
        ({"MaxConcurrent": 3}, {"MaxConcurrent": 3, "TotalCompletions": 3}),
        ({"TotalCompletions": 4}, {"MaxConcurrent": 1, "TotalCompletions": 4}),
        ({"MaxConcurrent": 0, "TotalCompletions": 0}, {"MaxConcurrent": 0, "TotalCompletions": 0}),
    ],
)
def test_a_job_is_shown_with_its_numbers_and_its_first_run(posted: dict[str, int], stored: dict[str, int]) -> None:
    daemon = Daemon().with_swarm()
    create(daemon, job(ReplicatedJob=posted))
    shown = daemon.get("/services/batch").json()
    assert shown["Spec"]["Mode"] == {"ReplicatedJob": stored}
    assert shown["JobStatus"]["JobIteration"] == {"Index": 0}
    assert shown["JobStatus"]["LastExecution"] > "2000"
    create(daemon, spec())
    assert "JobStatus" not in daemon.get("/services/web").json()


def test_an_update_and_a_rollback_are_runs_of_their_own() -> None:
    daemon = Daemon().with_swarm()
    create(daemon, job())
    first = daemon.get("/services/batch").json()["JobStatus"]
    forced = job()
    forced["TaskTemplate"]["ForceUpdate"] = 1
    update(daemon, forced)
    second = daemon.get("/services/batch").json()["JobStatus"]
    assert second["JobIteration"] == {"Index": 1}
    assert second["LastExecution"] >= first["LastExecution"]
    update(daemon, forced, query="&rollback=previous")
    shown = daemon.get("/services/batch").json()
    assert shown["JobStatus"]["JobIteration"] == {"Index": 2}
    assert shown["Spec"]["TaskTemplate"]["ForceUpdate"] == 0
    assert "UpdateStatus" not in shown  # Nobody exchanges a job's tasks, so nobody would ever end an update.


@pytest.mark.parametrize(
    ("mode", "more", "status", "message"),
    [
        ({"ReplicatedJob": {"MaxConcurrent": -1}}, {}, 400, "Maximum concurrent jobs must not be negative"),
        ({"ReplicatedJob": {"TotalCompletions": -1}}, {}, 400, "Total completed jobs must not be negative"),
        (
            {"ReplicatedJob": {"MaxConcurrent": 0, "TotalCompletions": 1}},
            *({}, 400, "MaxConcurrent must be at least 1, or the job's tasks never run"),
        ),
        (
            {"ReplicatedJob": {"TotalCompletions": 10**7}},
            *({}, 400, "MaxConcurrent and TotalCompletions must be at most 1000000"),
        ),
        ({"GlobalJob": {}}, {"UpdateConfig": {}}, 400, "Jobs may not have an update config"),
        ({"ReplicatedJob": {}}, {"RollbackConfig": {}}, 400, "Jobs may not have a rollback config"),
    ],
)
def test_a_job_that_cannot_be_is_refused(mode: Any, more: dict[str, Any], status: int, message: str) -> None:
    answer = Daemon().with_swarm().post("/services/create", job(**mode) | more)
    assert (answer.status, answer.message) == (status, f"rpc error: code = InvalidArgument desc = {message}")


def test_two_modes_are_one_too_many_and_a_mode_never_changes() -> None:
    daemon = Daemon().with_swarm()
    assert daemon.post("/services/create", job(GlobalJob={}, Global={})).message == "must specify only one service mode"
    create(daemon, job())
    answer = daemon.post(f"/services/batch/update?version={version_of(daemon, 'batch')}", job(GlobalJob={}))
    assert answer.message == "rpc error: code = Unimplemented desc = service mode change is not allowed"


def test_services_are_filtered_by_mode() -> None:
    daemon = Daemon().with_swarm()
    modes = {
        "replicated": "Replicated",
        "global": "Global",
        "replicated-job": "ReplicatedJob",
        "global-job": "GlobalJob",
    }
    for name, field in modes.items():
        create(daemon, spec(name) | {"Mode": {field: {}}})
    for name in modes:
        assert [one["Spec"]["Name"] for one in daemon.filtered("/services", {"mode": [name]})] == [name]


def test_the_counts_of_a_job_of_slots_are_those_of_its_present_run() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, job())
    add(daemon, service_id, 0, State.COMPLETE)
    update(daemon, job())
    for slot, state in enumerate((State.COMPLETE, State.COMPLETE, State.RUNNING, State.FAILED)):
        add(daemon, service_id, slot, state, run=1)
    (shown,) = daemon.get("/services?status=true").json()
    assert shown["ServiceStatus"] == {"RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 2}


def test_the_counts_of_a_job_of_nodes_are_of_what_is_left_and_what_is_done() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, job(GlobalJob={}))
    for n, state in enumerate((State.COMPLETE, State.COMPLETE, State.RUNNING, State.ASSIGNED)):
        daemon.manager.store().write((Put(Node(id=f"n{n}", status=NodeStatus(state="ready"))),))
        add(daemon, service_id, 0, state, node_id=f"n{n}")
    (shown,) = daemon.get("/services?status=true").json()
    assert shown["ServiceStatus"] == {"RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 2}


def test_tasks_say_their_run_and_only_those_of_the_present_one_are_up_to_date() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, job())
    add(daemon, service_id, 0, State.COMPLETE)
    update(daemon, job())
    add(daemon, service_id, 0, State.RUNNING, run=1)
    assert [task["JobIteration"] for task in daemon.get("/tasks").json()] == [{"Index": 0}, {"Index": 1}]
    (fresh,) = daemon.filtered("/tasks", {"service": ["batch"], "_up-to-date": ["true"]})
    assert (fresh["JobIteration"], fresh["DesiredState"], fresh.get("Slot", 0)) == ({"Index": 1}, "complete", 0)
    assert len(daemon.filtered("/tasks", {"desired-state": ["complete"]})) == 2


def test_a_client_older_than_jobs_sees_none_and_makes_none() -> None:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, job())
    add(daemon, service_id, 0, State.RUNNING)
    shown = daemon.get("/v1.40/services/batch").json()
    assert (shown["Spec"]["Mode"], "JobStatus" in shown) == ({}, False)
    assert "JobIteration" not in daemon.get("/v1.40/tasks").json()[0]
    refused = daemon.post("/v1.40/services/create", job("other"))
    assert (refused.status, refused.message) == (400, "jobs need API version 1.41: use a newer client")
    # What it was shown, posted back, would make another service of it.
    answer = daemon.post(f"/v1.40/services/batch/update?version={shown['Version']['Index']}", shown["Spec"])
    assert answer.message == "rpc error: code = Unimplemented desc = service mode change is not allowed"
