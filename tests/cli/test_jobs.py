"""Jobs on the command line: options, lists, progress and exit codes, as Docker's where it has them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import FakeDaemon, Vault
from tests.cli.test_service import WEB, sent, service, swarm
from vault.cli.services.convergence import RANK, Picture
from vault.cli.services.job_progress import job_picture
from vault.cli.services.verdict import Failed, Verdict

__all__ = ["swarm"]
NODES = ("hnli2tw5v5k3ngekr5hxjipfc", "zzzi2tw5v5k3ngekr5hxjipfc")
FAILED = "task: non-zero exit (3)"


def job(at_a_time: int = 2, total: int = 3, *, run: int = 1, nodes: bool = False) -> dict[str, Any]:
    mode = {"GlobalJob": {}} if nodes else {"ReplicatedJob": {"MaxConcurrent": at_a_time, "TotalCompletions": total}}
    found = service(JobStatus={"JobIteration": {"Index": run}, "LastExecution": "2026-11-22T20:18:30.0Z"})
    return found | {"Spec": found["Spec"] | {"Mode": mode}}


def task(
    slot: int, state: str, desired: str = "complete", *, run: int = 1, node: str = NODES[0], error: str = ""
) -> dict[str, Any]:
    found = {"ID": f"t{slot}", "NodeID": node, "ServiceID": WEB, "JobIteration": {"Index": run}}
    found |= {"DesiredState": desired, "Status": {"State": state, "Err": error}}
    return found | ({"Slot": slot} if slot else {})


def shown(seen: Picture) -> list[str]:
    return [f"{line.key}: {line.text.partition(' [')[0]}" for line in seen.lines]


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        ([], {}),
        (["--replicas", "5"], {"MaxConcurrent": 5, "TotalCompletions": 5}),
        (["--replicas", "5", "--max-concurrent", "2"], {"MaxConcurrent": 2, "TotalCompletions": 5}),
        (["--max-concurrent", "2"], {"MaxConcurrent": 2}),
    ],
)
def test_create_posts_a_job_as_docker_does(
    swarm: FakeDaemon, vault: Vault, words: list[str], mode: dict[str, int]
) -> None:
    assert vault("service", "create", "-d", "--mode", "replicated-job", *words, "busybox").code == 0
    assert sent(swarm)["Mode"] == {"ReplicatedJob": mode}
    vault("service", "create", "-d", "--mode", "global-job", "busybox")
    assert sent(swarm)["Mode"] == {"GlobalJob": {}}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["global-job", "--replicas", "2"], "replicas can only be used with replicated or replicated-job mode\n"),
        (["global-job", "--max-concurrent", "2"], "max-concurrent can only be used with replicated-job mode\n"),
        (["global", "--max-concurrent", "2"], "max-concurrent can only be used with replicated-job mode\n"),
        (["replicated", "--max-concurrent", "2"], "max-concurrent can only be used with replicated-job mode\n"),
        (["replicated-job", "--update-delay", "1s"], "update and rollback configuration is not supported for jobs\n"),
        (["global-job", "--rollback-monitor", "1s"], "update and rollback configuration is not supported for jobs\n"),
    ],
)
def test_create_refuses_what_a_mode_cannot_have(swarm: FakeDaemon, vault: Vault, words: list[str], error: str) -> None:
    result = vault("service", "create", "-d", "--mode", *words, "busybox")
    assert (result.code, result.err) == (1, error)


def test_update_changes_a_job_s_numbers_and_scale_its_completions(swarm: FakeDaemon, vault: Vault) -> None:
    swarm.on("GET", "/services/web", job())
    for words, mode in (
        (["update", "-d", "--max-concurrent", "1"], {"MaxConcurrent": 1, "TotalCompletions": 3}),
        (["update", "-d", "--replicas", "9"], {"MaxConcurrent": 2, "TotalCompletions": 9}),
    ):
        assert vault("service", *words, "web").code == 0
        assert sent(swarm)["Mode"] == {"ReplicatedJob": mode}
    assert vault("service", "scale", "-d", "web=7").out == "web scaled to 7\n"
    assert sent(swarm)["Mode"] == {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 7}}
    refused = vault("service", "update", "-d", "--update-order", "stop-first", "web")
    assert (refused.code, refused.err) == (1, "update and rollback configuration is not supported for jobs\n")


def test_only_services_with_a_number_of_tasks_are_scaled(swarm: FakeDaemon, vault: Vault) -> None:
    refusal = "can only be used with replicated or replicated-job mode"
    swarm.on("GET", "/services/nodes", job(nodes=True))
    swarm.on("GET", "/services/web", job())
    scaled = vault("service", "scale", "-d", "nodes=2", "web=4")
    assert (scaled.code, scaled.out, scaled.err) == (1, "web scaled to 4\n", f"nodes: scale {refusal}\n")
    assert vault("service", "update", "-d", "--replicas", "2", "nodes").err == f"replicas {refusal}\n"
    concurrent = vault("service", "update", "-d", "--max-concurrent", "2", "nodes").err
    assert concurrent == "max-concurrent can only be used with replicated-job mode\n"


def test_ls_counts_what_runs_and_what_has_completed(daemon: FakeDaemon, vault: Vault) -> None:
    status = {"RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 1}
    slots, nodes = job() | {"ServiceStatus": status}, job(nodes=True) | {"ServiceStatus": status}
    nodes["Spec"] = nodes["Spec"] | {"Name": "zap"}
    daemon.on("GET", "/services", [slots, nodes])
    assert vault("service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}").out == (
        "web replicated job 1/2 (1/3 completed)\nzap global job 1/2 (1/3 completed)\n"
    )


def test_ps_names_slot_0_of_a_job_by_its_number_and_a_node_s_task_by_its_node(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/nodes/" + NODES[0], {"Spec": {}, "Description": {"Hostname": "vm"}})
    for found, names in ((job(), ["web.0", "web.1"]), (job(nodes=True), [f"web.{NODES[0]}"])):
        daemon.on("GET", "/services", [found])
        daemon.on("GET", f"/services/{WEB}", found)
        tasks = [task(slot, "complete") for slot in range(len(names))]
        for one in tasks:
            one |= {"CreatedAt": "2026-11-22T20:18:30.0Z", "Spec": {"ContainerSpec": {"Image": "busybox"}}}
            one["Status"]["Timestamp"] = "2026-11-22T20:18:30.0Z"
        daemon.on("GET", "/tasks", tasks)
        lines = vault("service", "ps", "--format", "{{.Name}} {{.DesiredState}}", "web").out.splitlines()
        assert lines == [f"{name} Complete" for name in names]


def test_inspect_pretty_says_what_a_job_is_and_when_it_ran(
    daemon: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault.cli.services.pretty.now_s", lambda: 1795378724.5)
    daemon.on("GET", "/services/web", job(run=4))
    lines = vault("service", "inspect", "--pretty", "web").out.splitlines()
    at = lines.index("Service Mode:\tReplicated Job")
    assert lines[at + 1 : at + 5] == [
        " Max Concurrent:\t2",
        " Total Completions:\t3",
        " Iteration:\t4",
        " Last Execution:\t14 seconds ago",
    ]
    daemon.on("GET", "/services/web", job(nodes=True))
    assert "Service Mode:\tGlobal Job\n" in vault("service", "inspect", "--pretty", "web").out


def test_a_job_of_slots_has_a_line_for_the_whole_for_what_is_active_and_for_each_slot() -> None:
    seen = job_picture(
        job(2, 12), [task(0, "complete"), task(1, "running"), task(2, "failed", "shutdown", error=FAILED)]
    )
    assert shown(seen)[:6] == [
        "job progress:  1 out of 12 complete",
        "active tasks: 1 out of 2 tasks",
        "1/12: complete ",
        "2/12: running  ",
        f"3/12: {FAILED}",
        "4/12:  ",
    ]
    assert seen.lines[2].text == "complete  [" + "=" * 50 + ">] "
    assert seen.lines[3].text == "running   [" + "=" * 45 + ">" + " " * 5 + "] "
    assert seen.lines[0].text == " 1 out of 12 complete [" + "=" * 4 + ">" + " " * 46 + "] "
    assert not seen.converged


def test_the_tasks_that_may_be_active_grow_fewer_towards_the_end() -> None:
    seen = job_picture(job(2, 3), [task(0, "complete"), task(1, "complete"), task(2, "running")])
    assert shown(seen)[1] == "active tasks: 1 out of 1 tasks"


def test_tasks_of_earlier_runs_do_not_count() -> None:
    seen = job_picture(job(1, 1, run=2), [task(0, "complete", run=1), task(0, "running", run=2)])
    assert (seen.there, seen.wanted) == (0, 1)
    assert job_picture(job(1, 1, run=0), [task(0, "complete", run=0)]).converged


def test_a_second_try_counts_in_place_of_the_failed_one() -> None:
    tries = [task(0, "failed", "shutdown", error=FAILED), task(0, "running")]
    seen = job_picture(job(1, 1), tries)
    assert (shown(seen)[2], seen.hopeless) == ("1/1: running  ", False)


def test_a_job_of_nodes_has_a_line_for_each() -> None:
    seen = job_picture(job(nodes=True), [task(0, "complete"), task(0, "running", node=NODES[1])])
    assert shown(seen) == ["job progress: 1 out of 2 complete", f"{NODES[0]}: complete ", f"{NODES[1]}: running  "]
    waiting = job_picture(job(nodes=True), [])
    assert job_picture(job(nodes=True), [], expected=[]).converged, "no node is to run it"
    assert (shown(waiting), waiting.converged) == (["job progress: waiting for tasks"], False)


def test_a_node_that_had_to_give_its_task_up_is_not_waited_for() -> None:
    seen = job_picture(job(nodes=True), [task(0, "complete"), task(0, "shutdown", "shutdown", node=NODES[1])])
    assert seen.converged


def test_many_slots_are_only_counted() -> None:
    assert len(job_picture(job(2, 21), []).lines) == 2


STATES = st.sampled_from(sorted(RANK))


@given(st.lists(st.tuples(st.integers(0, 4), STATES, STATES, st.integers(0, 2)), max_size=12), st.booleans())
def test_any_tasks_make_a_picture_in_which_no_more_is_done_than_there_is(
    found: list[tuple[int, str, str, int]], nodes: bool
) -> None:
    seen = job_picture(job(2, 5, nodes=nodes), [task(slot, a, b, run=run) for slot, a, b, run in found])
    assert 0 <= seen.there + len(seen.given_up) <= (seen.wanted or 5)


class Wait:
    """One wait for a job."""

    def __init__(self) -> None:
        self.verdict = Verdict("batch", rollback_wanted=False)

    def see(self, found: dict[str, Any], *tasks: dict[str, Any]) -> bool:
        list(self.verdict.judge(job_picture(found, tasks), found, 0.0))
        return self.verdict.over


def test_a_job_is_done_as_soon_as_all_has_completed() -> None:
    wait = Wait()
    assert not wait.see(job(1, 2), task(0, "running"))
    assert wait.see(job(1, 2), task(0, "complete"), task(1, "complete"))
    assert wait.verdict.last_words == "job complete"


def test_a_job_of_none_is_done_at_once() -> None:
    assert Wait().see(job(0, 0))


def test_a_job_that_cannot_complete_any_more_is_an_error_once_the_rest_is_done() -> None:
    wait, lost = Wait(), task(0, "failed", "shutdown", error=FAILED)
    assert not wait.see(job(1, 2), lost, task(1, "running"))
    with pytest.raises(Failed) as caught:
        wait.see(job(1, 2), lost, task(1, "complete"))
    assert caught.value.sentence("") == (
        f"job batch did not complete: task t0 ended ({FAILED}) and its restart policy does not try again"
    )
