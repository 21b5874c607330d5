"""What is kept until a manager has it, and whom to ask next."""

from datetime import UTC, datetime
from random import Random

from vault.agent.managers import Backoff, Candidates
from vault.agent.outbox import Outbox
from vault.model.task import State, TaskStatus
from vault.rpc.messages import STATUSES_MAX, ManagerAddress

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def states(outbox: Outbox) -> dict[str, State]:
    report = outbox.take(NOW)
    return {} if report is None else {task_id: status.state for task_id, status in report.statuses}


def test_one_report_is_under_way_at_a_time_and_the_newest_status_counts() -> None:
    outbox = Outbox()
    assert outbox.take(NOW) is None
    outbox.put("t1", TaskStatus(state=State.ACCEPTED))
    assert states(outbox) == {"t1": State.ACCEPTED}
    outbox.put("t1", TaskStatus(state=State.PREPARING))
    outbox.put("t1", TaskStatus(state=State.READY))
    assert outbox.take(NOW) is None
    outbox.acknowledge(1)
    assert states(outbox) == {"t1": State.READY}
    outbox.acknowledge(2)
    assert (outbox.take(NOW), len(outbox)) == (None, 0)


def test_what_was_not_acknowledged_is_said_again_unless_something_newer_is_there() -> None:
    outbox = Outbox()
    outbox.put("t1", TaskStatus(state=State.READY))
    outbox.put("t2", TaskStatus(state=State.READY))
    states(outbox)
    outbox.put("t1", TaskStatus(state=State.RUNNING))
    outbox.rewind()
    assert states(outbox) == {"t1": State.RUNNING, "t2": State.READY}


def test_an_acknowledgement_of_another_report_forgets_nothing() -> None:
    outbox = Outbox()
    outbox.put("t1", TaskStatus(state=State.READY))
    states(outbox)
    outbox.rewind()
    states(outbox)
    outbox.acknowledge(1)  # Of the session before.
    assert len(outbox) == 1


def test_a_report_is_bounded_and_the_rest_comes_next() -> None:
    outbox = Outbox()
    for number in range(STATUSES_MAX + 5):
        outbox.put(f"t{number}", TaskStatus())
    assert len(states(outbox)) == STATUSES_MAX
    outbox.acknowledge(1)
    assert len(states(outbox)) == 5


def addresses(*names: str) -> list[ManagerAddress]:
    return [ManagerAddress(node_id=name, addr=name) for name in names]


def test_the_leader_is_tried_first_then_the_others_in_any_order() -> None:
    candidates = Candidates(addresses("a", "b", "c", "d"), Random(1))
    rounds = [candidates.round() for _ in range(50)]
    assert {order[0] for order in rounds} == {"a"}
    assert {order[1] for order in rounds} == {"b", "c", "d"}
    assert all(sorted(order) == ["a", "b", "c", "d"] for order in rounds)


def test_a_hint_comes_first_once_and_silent_ones_last_until_they_answer() -> None:
    candidates = Candidates(addresses("a", "b"), Random(1))
    candidates.hint("elsewhere")
    assert candidates.round()[0] == "elsewhere"
    assert candidates.round() == ["a", "b"]
    candidates.unanswered("a")
    assert candidates.round() == ["b", "a"]
    candidates.answered("a")
    assert candidates.round() == ["a", "b"]


def test_an_empty_list_of_managers_is_not_learned() -> None:
    candidates = Candidates(addresses("a"), Random(1))
    assert candidates.know([], leader="b") == tuple(addresses("a"))
    assert candidates.know(addresses("a", "b"), leader="b") == tuple(addresses("b", "a"))


def test_pauses_double_up_to_a_bound_and_begin_again() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.pause_s() for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert backoff.pause_s(electing=True) == 0.5
    backoff.reset()
    assert backoff.pause_s() == 0.1
    assert Backoff(lambda: 0.0).pause_s() == 0.05
