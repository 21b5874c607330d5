"""The table of the cluster's figures: medians, ratios, whether aims are met, and its place in the document."""

from pathlib import Path

import pytest

from bench.cluster_cases import Measured
from bench.cluster_report import BEGIN, END, section, table, write

FIRST = "dead leader: first acknowledged write"
RATE = "creates through leader, 16 clients"


def measured(**figures: list[float]) -> Measured:
    return Measured(figures={FIRST: figures["first"], RATE: figures["rate"]})


def line(text: str, measure: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {measure}"))


@pytest.mark.parametrize(
    ("first", "met"), [([1.0, 2.0, 9.9], "yes"), ([3.5, 3.5, 1.0], "**no**"), ([1.0, 1.0, 10.5], "**no**")]
)
def test_a_fail_over_is_judged_by_its_median_and_its_longest(first: list[float], met: str) -> None:
    text = table(measured(first=first, rate=[1]), None)
    assert line(text, FIRST).endswith(f"| {met} |")


@pytest.mark.parametrize(("rate", "met"), [([1750.0], "yes"), ([1700.0], "**no**")])
def test_a_rate_is_judged_against_the_rival_of_the_same_run(rate: list[float], met: str) -> None:
    text = table(measured(first=[1], rate=rate), measured(first=[13], rate=[340, 350, 360]))
    assert line(text, RATE).endswith(f"| 5 times as many | {met} |")
    assert "350 /s (340-360)" in line(text, RATE)


def test_without_a_rival_a_ratio_is_not_judged() -> None:
    assert line(table(measured(first=[1], rate=[9]), None), RATE).endswith("| ? |")


def test_only_its_part_of_the_document_is_written(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    ours, theirs = measured(first=[1], rate=[9]), measured(first=[1], rate=[9])
    ours.acknowledged, theirs.acknowledged = [("name", "id")] * 4000, [("name", "id")] * 3000
    theirs.lost = 1
    write(document, section(ours, theirs, "Docker version 20"))
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "0 of 4,000 acknowledged secrets lost by vault" in text
    assert "1 of 3,000 by Docker Swarm" in text
    assert "old" not in text
