"""What a node does next for a task, told as a table."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from vault.agent.executors.port import Exit, Phase
from vault.agent.step import Action, Local, adopted, ending, next_action
from vault.model.service import TaskSpec
from vault.model.task import State, Task

EXIT = Exit(code=7, finished_at=datetime(2026, 1, 1, tzinfo=UTC))


def local(state: State, desired: State, phase: Phase | None = None, *, dropped: bool = False) -> Local:
    task = Task(id="t1", spec=TaskSpec(), desired_state=desired)
    exit_ = EXIT if phase is Phase.EXITED else None
    return Local(task=task, state=state, phase=phase, exit=exit_, dropped=dropped)


@pytest.mark.parametrize(
    ("state", "desired", "phase", "action"),
    [
        (State.ASSIGNED, State.RUNNING, None, Action.PREPARE),
        (State.ASSIGNED, State.READY, None, Action.PREPARE),
        (State.READY, State.READY, Phase.PREPARED, Action.HOLD),
        (State.READY, State.RUNNING, Phase.PREPARED, Action.START),
        (State.RUNNING, State.RUNNING, Phase.RUNNING, Action.WATCH),
        (State.RUNNING, State.RUNNING, Phase.EXITED, Action.END),
        (State.RUNNING, State.RUNNING, None, Action.END),
        (State.RUNNING, State.SHUTDOWN, Phase.RUNNING, Action.STOP),
        (State.RUNNING, State.REMOVE, Phase.RUNNING, Action.STOP),
        (State.READY, State.SHUTDOWN, Phase.PREPARED, Action.DISCARD),
        (State.ASSIGNED, State.REMOVE, None, Action.DISCARD),
        (State.STARTING, State.SHUTDOWN, Phase.PREPARED, Action.END),
        (State.SHUTDOWN, State.SHUTDOWN, Phase.EXITED, Action.HOLD),
        (State.REJECTED, State.RUNNING, None, Action.HOLD),
        (State.COMPLETE, State.REMOVE, Phase.EXITED, Action.HOLD),
    ],
)
def test_the_next_action_follows_from_what_is_wanted_and_what_is_there(
    state: State, desired: State, phase: Phase | None, action: Action
) -> None:
    assert next_action(local(state, desired, phase)) is action


def test_a_dropped_task_is_stopped_and_then_forgotten() -> None:
    running = local(State.RUNNING, State.RUNNING, Phase.RUNNING, dropped=True)
    assert next_action(running) is Action.STOP
    assert next_action(replace(running, phase=Phase.EXITED, exit=EXIT)) is Action.FORGET
    assert next_action(local(State.ASSIGNED, State.RUNNING, dropped=True)) is Action.FORGET


def test_a_task_that_was_asked_to_end_is_shut_down_whatever_its_exit_code() -> None:
    end = ending(local(State.RUNNING, State.SHUTDOWN, Phase.EXITED))
    assert (end.state, end.err, end.exit_code) == (State.SHUTDOWN, "", 7)


def test_a_task_that_ended_by_itself_tells_its_exit_code() -> None:
    end = ending(local(State.RUNNING, State.RUNNING, Phase.EXITED))
    assert (end.state, end.err) == (State.FAILED, "task: non-zero exit (7)")
    finished = replace(local(State.RUNNING, State.RUNNING, Phase.EXITED), exit=replace(EXIT, code=0))
    assert ending(finished).state is State.COMPLETE


def test_a_task_whose_container_is_gone_has_failed_so_that_it_is_replaced() -> None:
    assert ending(local(State.RUNNING, State.RUNNING)).state is State.FAILED


def test_what_was_prepared_by_an_earlier_vaultd_is_prepared_again() -> None:
    again = adopted(local(State.READY, State.RUNNING), Phase.PREPARED, None)
    assert next_action(again) is Action.PREPARE
    assert next_action(adopted(local(State.RUNNING, State.RUNNING), Phase.RUNNING, None)) is Action.WATCH


def test_a_container_of_a_task_that_the_managers_gave_up_is_stopped() -> None:
    for desired in (State.RUNNING, State.SHUTDOWN):
        assert next_action(local(State.ORPHANED, desired, Phase.RUNNING)) is Action.STOP
