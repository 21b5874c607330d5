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
from vault.cli.errors import CommandError
from vault.cli.screen import Line, Screen
from vault.cli.services.convergence import RANK, picture
from vault.cli.services.progress import _Watch

NODE = "hnli2tw5v5k3ngekr5hxjipfc"


def task(slot: int, state: str, desired: str = "running", *, node: str = NODE, error: str = "") -> dict[str, Any]:
    status = {"State": state, "Err": error}
    return {"ID": f"t{slot}", "Slot": slot, "NodeID": node, "DesiredState": desired, "Status": status}


def service(
    replicas: int | None = 2, *, restart: str = "any", monitor: int = 10**9, status: Any = None
) -> dict[str, Any]:
    mode = {"Global": {}} if replicas is None else {"Replicated": {"Replicas": replicas}}
    spec = {
        "Mode": mode,
        "TaskTemplate": {"RestartPolicy": {"Condition": restart}},
        "UpdateConfig": {"Monitor": monitor},
    }
    return {"ID": "s", "Spec": spec, "UpdateStatus": status}


def look(*tasks: dict[str, Any], of: dict[str, Any] | None = None, rollback: bool = False) -> Any:
    return picture(of or service(), tasks, [NODE], rollback=rollback)


def test_a_bar_grows_with_the_state_and_ends_full() -> None:
    seen = look(task(1, "running"), task(2, "preparing"))
    assert [line.key for line in seen.lines] == ["overall progress", "1/2", "2/2"]
    assert seen.lines[0].text == "1 out of 2 tasks"
    assert seen.lines[1].text == "running   [" + "=" * 50 + ">] "
    assert seen.lines[2].text == "preparing [" + "=" * 33 + ">" + " " * 17 + "] "
    assert not seen.converged


def test_a_global_service_has_a_line_for_each_node() -> None:
    other = "zzz" + NODE[3:]
    seen = picture(service(None), [task(0, "running"), task(0, "starting", node=other)], [NODE, other], rollback=False)
    assert [line.key for line in seen.lines] == ["overall progress", "hnli2tw5v5k3", "zzzi2tw5v5k3"]
    assert seen.lines[0].text == "1 out of 2 tasks"


def test_a_global_service_without_tasks_is_waited_for() -> None:
    seen = look(of=service(None))
    assert seen.lines == (Line("overall progress", "waiting for new tasks"),)
    assert not seen.converged


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
    assert not look(done, of=service(1, restart="any")).converged


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

    def __init__(self, *, rollback: bool = False) -> None:
        self.out = io.StringIO()
        self.screen = Screen(self.out)
        self.watch = _Watch("web", rollback_wanted=rollback)
        self.now_s = 0.0

    def see(self, *tasks: dict[str, Any], of: dict[str, Any] | None = None, after_s: float = 0.0) -> bool:
        self.now_s += after_s
        found = of or service()
        self.watch.heed(found["UpdateStatus"] or {}, self.screen)
        seen = look(*tasks, of=found, rollback=self.watch.rollback)
        return self.watch.judge(seen, found, self.screen, self.now_s)


READY = (task(1, "running"), task(2, "running"))


def test_a_service_must_stay_as_it_should_be_for_its_monitor_time() -> None:
    clock = Clock()
    assert not clock.see()
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
    [("paused", "service update paused: because"), ("rollback_paused", "service rollback paused: because")],
)
def test_a_paused_update_is_an_error(state: str, error: str) -> None:
    with pytest.raises(CommandError) as caught:
        Clock().see(of=service(status={"State": state, "Message": "because"}))
    assert (str(caught.value), caught.value.exit_code) == (error, 1)


def test_an_update_that_was_rolled_back_is_an_error_once_the_service_is_well_again() -> None:
    clock = Clock()
    reason = "update rolled back due to failure or early termination of task x"
    assert not clock.see(of=service(status={"State": "rollback_started", "Message": reason}))
    done = service(status={"State": "rollback_completed", "Message": "rollback completed"})
    assert not clock.see(*READY, of=done)
    with pytest.raises(CommandError, match=f"service update rolled back: {reason}"):
        clock.see(*READY, of=done, after_s=2)
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


def test_an_update_that_goes_on_in_spite_of_failures_ends_the_wait() -> None:
    clock = Clock()
    assert not clock.see(of=service(status={"State": "updating"}))
    assert clock.see(task(1, "failed"), of=service(status={"State": "completed"}))


def test_tasks_that_failed_for_good_end_the_wait_with_their_reason() -> None:
    clock = Clock()
    dead = task(1, "failed", "shutdown", error="task: non-zero exit (3)")
    assert not clock.see(dead, of=service(1, restart="none"))
    with pytest.raises(CommandError) as caught:
        clock.see(dead, of=service(1, restart="none"), after_s=1)
    assert str(caught.value) == (
        "service web did not converge: task t1 ended (task: non-zero exit (3)) "
        "and its restart policy does not try again"
    )


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
