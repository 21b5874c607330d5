"""The campaign goes on where it stopped, says what it found, and changes only its part of the document."""

from pathlib import Path

import msgspec
import pytest

from tests.cluster.campaign.plan import left, plan
from tests.cluster.campaign.report import BEGIN, END, section, table, write
from tests.cluster.campaign.results import Results
from tests.cluster.load.background import Background
from tests.cluster.nemesis.every import FAULTS
from tests.cluster.nemesis.moves import MOVES
from tests.cluster.survive import Run

EVERY = [*FAULTS, *(move.name for move in MOVES)]
GOOD = Run(
    fault="leader killed", seed=5, commit="abcdef0123", operations=900, acknowledged=300, first_s=1.25, whole_s=2.0
)


def test_a_campaign_kills_the_leader_20_times_and_does_everything_else_more_than_once() -> None:
    planned = plan(EVERY, base=1)
    assert sum(one.fault == "leader killed" for one in planned) >= 20
    assert all(sum(one.fault == fault for one in planned) > 1 for fault in EVERY)
    assert len({one.seed for one in planned}) == len(planned), "each run has a seed of its own"


def test_a_campaign_that_ends_early_has_some_of_each() -> None:
    assert [one.fault for one in plan(EVERY, base=1)[: len(EVERY)]] == EVERY


def test_faults_have_names_of_their_own() -> None:
    assert len(set(EVERY)) == len(EVERY)
    assert len(FAULTS) > 30


def test_runs_that_were_made_are_not_made_again(tmp_path: Path) -> None:
    results = Results(tmp_path)
    planned = plan(["leader killed", "other"], base=5)
    results.add(GOOD)
    rest = left(planned, ((run.fault, run.seed) for run in results.read()))
    assert len(rest) == len(planned) - 1
    assert ("leader killed", 5) not in [(one.fault, one.seed) for one in rest]


def test_half_a_line_is_dropped_and_hurts_no_other(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add(GOOD)
    with (tmp_path / "runs.jsonl").open("ab") as file:
        file.write(b'\n{"fault":"leader ki')
    results.add(msgspec.structs.replace(GOOD, seed=6))
    assert [run.seed for run in results.read()] == [5, 6]


def test_two_campaigns_do_not_run_in_one_directory(tmp_path: Path) -> None:
    with Results(tmp_path).held() as first, Results(tmp_path).held() as second:
        assert (first, second) == (True, False)
    with Results(tmp_path).held() as again:
        assert again


def test_the_table_has_counts_times_and_what_was_not_survived() -> None:
    bad = msgspec.structs.replace(GOOD, seed=6, problems=("m-1 is not linearizable: no order\nmore",), first_s=3.25)
    shown = table([GOOD, bad], EVERY)
    assert "| leader killed | 2 | **1** | 1,800 | 600 | 2.2 (1.2-3.2) | 2.0 (2.0-2.0) |" in shown
    text = section([GOOD, bad], EVERY, day="2026-01-02", machine="a machine")
    assert "- leader killed: 5, 6" in text
    assert "- leader killed, seed 6: m-1 is not linearizable: no order\n" in text
    assert "abcdef0," in text
    assert "more" not in text.partition("What was found")[2]


def test_only_its_part_of_the_document_is_written(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        write(document, section([GOOD], EVERY, day="2026-01-02", machine="a machine"))
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("| leader killed |") == 1


def test_the_document_has_a_place_for_the_table() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "reliability.md").read_text()
    assert text.index(BEGIN) < text.index(END)


def test_a_load_that_fails_is_told() -> None:
    class Fails:
        async def run(self) -> None:
            raise ValueError("it fails")

        def stop(self) -> None:
            return

    with pytest.raises(ValueError, match="it fails"), Background(Fails()):
        pass
