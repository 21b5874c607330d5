"""The bench of the scheduler alone: what it checks, and the table it writes."""

import pytest
from msgspec.structs import replace

from bench.client import Failed
from bench.schedule import CASES, STRICT, Case, check, run, world
from bench.schedule_report import Figures, section, shown
from vault.model.task import State, TaskStatus
from vault.store.changes import Put

SMALL = Case(nodes=8, tasks=16, services=4)


@pytest.mark.parametrize(
    "case", [SMALL, *(Case(nodes=8, tasks=8, services=4, spec=case.spec, fit=case.fit) for case in CASES[-4:])]
)
def test_a_case_is_run_until_all_is_decided(case: Case) -> None:
    figures = run(case)
    assert 0 < figures.longest_s <= figures.deciding_s <= figures.took_s


def test_a_task_that_is_left_out_fails_the_run() -> None:
    with pytest.raises(Failed, match="a task was not placed"):
        check(SMALL, world(SMALL))


def test_a_service_that_is_not_spread_fails_the_run() -> None:
    snap = world(SMALL)
    heaped = [replace(task, node_id="n000001", status=TaskStatus(state=State.ASSIGNED)) for task in snap.tasks.values()]
    with pytest.raises(Failed, match="not spread"):
        check(SMALL, snap.apply(map(Put, heaped), index=2, now_s=0.0))


def test_a_quarter_of_the_nodes_is_all_that_a_constraint_leaves() -> None:
    run(Case(nodes=8, tasks=16, services=4, spec=STRICT))


def test_figures_stand_beside_those_that_were_published_where_the_case_is_the_same() -> None:
    fast = Figures(took_s=0.05, deciding_s=0.04, longest_s=0.012)
    slow = Figures(took_s=0.07, deciding_s=0.05, longest_s=0.021)
    text = shown([(1_000, 1_000, 10, "", [fast, slow, fast]), (1_000, 1_000, 10, "zones", [fast])])
    assert text.splitlines()[2:] == [
        "| 1,000 | 1,000 | 10 |  | 0.050 (0.050-0.070) s | 25,000 (20,000-25,000) | 12.0 (12.0-21.0) ms | **no** "
        "| 0.189 s |",
        "| 1,000 | 1,000 | 10 | zones | 0.050 (0.050-0.050) s | 25,000 (25,000-25,000) | 12.0 (12.0-12.0) ms | yes "
        "|  |",
    ]
    assert text in section([(1_000, 1_000, 10, "", [fast, slow, fast]), (1_000, 1_000, 10, "zones", [fast])])
