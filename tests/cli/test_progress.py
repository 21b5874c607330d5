"""Waiting for a service: what is drawn, when the wait ends, and with which exit code."""

import io
import signal
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import FakeDaemon
from vault.cli.screen import Line, Screen
from vault.cli.services.convergence import RANK, picture
from vault.cli.services.verdict import UNKNOWN, Failed, Verdict

NODE = "hnli2tw5v5k3ngekr5hxjipfc"


def task(slot: int, state: str, desired: str = "running", *, node: str = NODE, error: str = "") -> dict[str, Any]:
    status = {"State": state, "Err": error}
    return {"ID": f"t{slot}", "Slot": slot, "NodeID": node, "DesiredState": desired, "Status": status}


def service(
    replicas: int | None = 2,
    *,
    restart: str = "any",
    monitor: int = 10**9,
    status: Any = None,
    previous: Any = None,
    **update: Any,
) -> dict[str, Any]:
    mode = {"Global": {}} if replicas is None else {"Replicated": {"Replicas": replicas}}
    spec = {
        "Mode": mode,
        "TaskTemplate": {"RestartPolicy": {"Condition": restart}},
        "UpdateConfig": {"Monitor": monitor, **update},
    }
    return {"ID": "s", "Spec": spec, "UpdateStatus": status, **({"PreviousSpec": previous} if previous else {})}


def look(*tasks: dict[str, Any], of: dict[str, Any] | None = None, rollback: bool = False) -> Any:
    return picture(of or service(), tasks, [NODE], rollback=rollback)


def test_a_bar_grows_with_the_state_and_ends_full() -> None:
    seen = look(task(1, "running"), task(2, "preparing"))
    assert [line.key for line in seen.lines] == ["overall progress", "1/2", "2/2"]
    assert seen.lines[0].text == "1 out of 2 tasks"
    assert seen.lines[1].text == "running   [" + "=" * 50 + ">] "
    assert seen.lines[2].text == "preparing [" + "=" * 33 + ">" + " " * 17 + "] "
    assert not seen.converged


OTHER = "zzz" + NODE[3:]


def test_a_global_service_has_a_line_for_each_node() -> None:
    seen = picture(service(None), [task(0, "running"), task(0, "starting", node=OTHER)], [NODE, OTHER], rollback=False)
    assert [line.key for line in seen.lines] == ["overall progress", "hnli2tw5v5k3", "zzzi2tw5v5k3"]
    assert seen.lines[0].text == "1 out of 2 tasks"


def test_a_global_service_is_waited_for_on_every_node_that_is_to_run_it() -> None:
    tasks = [task(0, "running")]
    assert not picture(service(None), tasks, [NODE, OTHER], expected=[NODE, OTHER], rollback=False).converged
    assert picture(service(None), tasks, [NODE, OTHER], expected=[NODE], rollback=False).converged


def test_a_node_that_gave_up_its_task_of_a_global_service_is_not_waited_for() -> None:
    tasks = [task(0, "running"), task(0, "shutdown", "shutdown", node=OTHER)]
    assert picture(service(None), tasks, [NODE, OTHER], expected=[NODE], rollback=False).converged
    assert picture(service(None), [task(0, "running", node=OTHER)], [OTHER], expected=[], rollback=False).there == 1


def test_a_global_service_that_no_node_is_to_run_is_there_at_once() -> None:
    clock = Clock()
    assert clock.see(of=service(None))
    assert clock.out.getvalue() == "overall progress: 0 out of 0 tasks\nverify: Service web converged\n"


def test_an_error_takes_the_place_of_the_bar_and_is_cut() -> None:
    seen = look(task(1, "pending", error="no suitable node\n" + "x" * 100))
    assert seen.lines[1].text == "no suitable node " + "x" * 57 + "…"
    assert not seen.lines[1].bar


def test_of_two_tasks_in_a_slot_the_one_that_stays_counts() -> None:
    assert look(task(1, "running", "shutdown"), task(1, "ready", "ready"), task(2, "running")).there == 1
    assert look(task(1, "running"), task(1, "running", "shutdown"), task(2, "running")).converged


def test_tasks_on_nodes_that_are_down_do_not_count() -> None:
    assert look(task(1, "running"), task(2, "running", node="down")).there == 1


def test_a_task_that_completed_and_is_not_restarted_has_converged() -> None:
    done = task(1, "complete", "shutdown")
    assert look(done, of=service(1, restart="none")).converged
    assert look(done, of=service(1, restart="on-failure")).converged
    assert not look(task(1, "complete"), of=service(1, restart="any")).converged, "it is about to be restarted"
    assert look(done, of=service(1, restart="any")).converged, "its attempts are used up"


def test_many_replicas_are_only_counted() -> None:
    assert len(look(of=service(21)).lines) == 1


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(sorted(RANK)), st.sampled_from(sorted(RANK))), max_size=12)
)
def test_never_more_tasks_are_there_than_slots_have_tasks(found: list[tuple[int, str, str]]) -> None:
    seen = look(*(task(slot, state, desired) for slot, state, desired in found), of=service(4))
    assert 0 <= seen.there <= len({slot for slot, _, _ in found})


class Clock:
    """One wait, told what is seen second by second."""

    def __init__(self, *, rollback: bool = False, before: Any = UNKNOWN) -> None:
        self.out = io.StringIO()
        self.screen = Screen(self.out)
        self.verdict = Verdict("web", before=before, rollback_wanted=rollback)
        self.now_s = 0.0

    def see(self, *tasks: dict[str, Any], of: dict[str, Any] | None = None, after_s: float = 0.0) -> bool:
        self.now_s += after_s
        found = of or service()
        for line in self.verdict.heed(found):
            self.screen.draw(line)
        seen = look(*tasks, of=found, rollback=self.verdict.rollback)
        for line in self.verdict.judge(seen, found, self.now_s):
            self.screen.draw(line)
        return self.verdict.over

    def fails(self, *tasks: dict[str, Any], of: dict[str, Any] | None = None, after_s: float = 0.0) -> str:
        """Return what is said of the failure that is seen now."""
        with pytest.raises(Failed) as caught:
            self.see(*tasks, of=of, after_s=after_s)
        return caught.value.sentence("")


READY = (task(1, "running"), task(2, "running"))


def test_a_service_must_stay_as_it_should_be_for_its_monitor_time() -> None:
    clock = Clock()
    assert not clock.see(of=service(monitor=2 * 10**9))
    assert not clock.see(*READY, of=service(monitor=2 * 10**9))
    assert not clock.see(*READY, of=service(monitor=2 * 10**9), after_s=1.1)
    assert clock.see(*READY, of=service(monitor=2 * 10**9), after_s=1)
    assert clock.out.getvalue() == (
        "overall progress: 0 out of 2 tasks\n"
        "1/2:  \n"
        "2/2:  \n"
        "overall progress: 2 out of 2 tasks\n"
        "verify: Waiting 2 seconds to verify that tasks are stable...\n"
        "verify: Waiting 1 seconds to verify that tasks are stable...\n"
        "verify: Service web converged\n"
    )


def test_a_task_that_fails_while_being_verified_starts_the_wait_again() -> None:
    clock = Clock()
    assert not clock.see(*READY)
    assert not clock.see(READY[0], task(2, "failed"), after_s=0.5)
    assert "verify: Detected task failure\n" in clock.out.getvalue()
    assert not clock.see(*READY, after_s=10)
    assert clock.see(*READY, after_s=1)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (
            "paused",
            "service update paused: because: see `vault service ps web`, then update the service again "
            "or take it back with `vault service rollback web`",
        ),
        (
            "rollback_paused",
            "service rollback paused: because: see `vault service ps web`, then update the service again",
        ),
    ],
)
def test_a_paused_update_is_an_error_that_says_what_to_do(state: str, error: str) -> None:
    assert Clock().fails(of=service(status={"State": state, "Message": "because"})) == error


def test_the_error_of_the_task_to_blame_is_told_once() -> None:
    with pytest.raises(Failed) as caught:
        Clock().see(of=service(status={"State": "paused", "Message": f"early termination of task {'x' * 25}"}))
    assert caught.value.task_id == "x" * 25
    assert f"task {'x' * 25} (task: non-zero exit (7)): see" in caught.value.sentence("task: non-zero exit (7)")
    assert Failed("web.1 is pending (no node)").sentence("no node") == "web.1 is pending (no node)"


def test_an_update_that_was_rolled_back_is_an_error_once_the_service_is_well_again() -> None:
    clock = Clock()
    reason = "update rolled back due to failure or early termination of task x"
    assert not clock.see(of=service(status={"State": "rollback_started", "Message": reason}))
    done = service(status={"State": "rollback_completed", "Message": "rollback completed"})
    assert not clock.see(*READY, of=done)
    assert clock.fails(*READY, of=done, after_s=2) == (
        f"service update rolled back: {reason}: the former spec is in force again: "
        "mend the cause, then update the service again"
    )
    assert clock.out.getvalue() == (
        f"rollback: {reason}\n"
        "overall progress: rolling back update: 0 out of 2 tasks\n"
        "1/2:  \n"
        "2/2:  \n"
        "overall progress: rolling back update: 2 out of 2 tasks\n"
        "verify: Waiting 1 seconds to verify that tasks are stable...\n"
        "verify: Service web converged\n"
        "rollback: rollback completed\n"
    )


def test_a_rollback_that_was_asked_for_is_a_success() -> None:
    clock = Clock(rollback=True)
    status = {"State": "rollback_started", "Message": "manually requested rollback"}
    assert not clock.see(*READY, of=service(status=status))
    assert clock.see(*READY, of=service(status={"State": "rollback_completed"}), after_s=2)


def test_an_update_that_went_on_in_spite_of_failures_is_no_success_until_all_runs() -> None:
    clock = Clock()
    assert not clock.see(of=service(status={"State": "updating"}))
    done = service(status={"State": "completed"})
    again = task(2, "ready", "ready", error="task: non-zero exit (3)")
    assert not clock.see(READY[0], again, of=done)
    assert clock.fails(READY[0], again, of=done, after_s=1) == (
        "the update of service web went on in spite of failures, as it was told to: 1 of 2 tasks run, "
        "task t2 is ready (task: non-zero exit (3)): see `vault service ps web`"
    )
    clock = Clock()
    assert not clock.see(READY[0], again, of=done)
    assert not clock.see(*READY, of=done, after_s=0.9)
    assert clock.see(*READY, of=done, after_s=1.1)


def test_a_service_that_runs_is_no_success_while_its_update_goes_on() -> None:
    clock = Clock()
    updating = service(status={"State": "updating"})
    assert not clock.see(*READY, of=updating)
    assert not clock.see(*READY, of=updating, after_s=30)
    assert clock.see(*READY, of=service(status={"State": "completed"}), after_s=1)


def test_a_service_without_replicas_is_there_at_once() -> None:
    assert Clock().see(of=service(0))


def test_tasks_that_failed_for_good_end_the_wait_with_their_reason() -> None:
    clock = Clock()
    dead = task(1, "failed", "shutdown", error="task: non-zero exit (3)")
    assert not clock.see(dead, of=service(1, restart="none"))
    assert clock.fails(dead, of=service(1, restart="none"), after_s=1) == (
        "service web did not converge: task t1 ended (task: non-zero exit (3)) "
        "and its restart policy does not try again"
    )


def test_a_deadline_ends_a_wait_that_no_update_of_the_cluster_ends() -> None:
    new = service(1, Deadline=60 * 10**9)
    waits = task(1, "pending", error="no suitable node (insufficient resources on 1 node)")
    clock = Clock(before=None)
    assert not clock.see(waits, of=new)
    assert not clock.see(waits, of=new, after_s=60)
    assert clock.fails(waits, of=new, after_s=0.1) == (
        "service web did not converge within 1m0s: 0 of 1 tasks run, task t1 is pending "
        "(no suitable node (insufficient resources on 1 node)): it goes on in the background: "
        "see `vault service ps web`"
    )
    failed = task(1, "failed", "shutdown", error="task: non-zero exit (3)")
    clock = Clock(before=None)
    assert not clock.see(failed, task(1, "ready", "ready"), of=new)
    assert clock.fails(failed, task(1, "ready", "ready"), of=new, after_s=61) == (
        "service web did not converge within 1m0s: 0 of 1 tasks run, task t1 is ready; the last one that failed said: "
        "task: non-zero exit (3): it goes on in the background: see `vault service ps web`"
    )
    clock = Clock()
    updating = service(1, Deadline=60 * 10**9, status={"State": "updating"})
    assert not clock.see(waits, of=updating, after_s=100), "here the cluster keeps the time"


def spec(replicas: int) -> Any:
    return service(replicas)["Spec"]


def test_a_change_that_another_overtook_says_so() -> None:
    overtaken = (
        "this change of service web was overtaken by a newer one before it was complete: "
        "see `vault service inspect --pretty web` for how that goes"
    )
    clock = Clock(before=spec(1))
    assert not clock.see(of=service(2, previous=spec(1)))
    assert clock.fails(*READY, of=service(3, previous=spec(2))) == overtaken
    at_once = Clock(before=spec(1))
    assert at_once.fails(of=service(3, previous=spec(2))) == overtaken
    assert Clock(before=None).fails(of=service(3, previous=spec(2))) == overtaken


def test_what_the_cluster_took_back_is_no_change_by_somebody_else() -> None:
    went_back = service(1, status={"State": "rollback_started", "Message": "update rolled back due to x"})
    clock = Clock(before=spec(1))
    assert not clock.see(of=service(2, previous=spec(1)))
    assert not clock.see(READY[0], of=went_back)
    late = Clock(before=spec(1))
    assert not late.see(READY[0], of=went_back)
    done = service(1, status={"State": "rollback_completed"})
    for one in (clock, late):
        assert one.fails(READY[0], of=done, after_s=1).startswith("service update rolled back: update rolled back due")


def test_a_rollback_somebody_asks_for_swaps_the_specs() -> None:
    clock = Clock(rollback=True, before=spec(2))
    status = {"State": "rollback_completed"}
    assert not clock.see(READY[0], of=service(1, previous=spec(2), status=status))
    assert clock.see(READY[0], of=service(1, previous=spec(2), status=status), after_s=1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_line_takes_the_place_of_its_former_self() -> None:
    out = Terminal()
    screen = Screen(out)
    for line in (Line("a", "1"), Line("b", "1"), Line("a", "2"), Line("a", "2")):
        screen.draw(line)
    assert out.getvalue() == "a: 1\nb: 1\n\x1b[2A\x1b[2K\ra: 2\r\x1b[2B"


def test_a_narrow_terminal_shows_states_without_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    Screen(out).draw(Line("1/1", "running   [==>] ", bar=True))
    assert out.getvalue() == "1/1: running   \n"


def test_quiet_draws_nothing() -> None:
    out = io.StringIO()
    screen = Screen(out, quiet=True)
    screen.draw(Line("a", "1"))
    screen.say("x")
    assert out.getvalue() == ""


def test_ctrl_c_leaves_the_service_alone_and_says_how_to_look(daemon: FakeDaemon) -> None:
    daemon.on("POST", "/services/create", {"ID": "sid"}, status=201)
    daemon.on("GET", "/services/sid", service(1))
    daemon.on("GET", "/tasks", [])
    daemon.on("GET", "/nodes", [])
    program = "from vault.cli.main import main; main()"
    words = ["-H", f"unix://{daemon.socket}", "service", "create", "busybox"]
    child = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert [child.stdout.readline() for _ in range(3)] == ["sid\n", "overall progress: 0 out of 1 tasks\n", "1/1:  \n"]
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=10)
    assert (child.returncode, rest) == (
        0,
        "Operation continuing in background.\nUse `vault service ps sid` to check progress.\n",
    )
