"""The table of networks: units, aims, and what a rival cannot do here."""

from pathlib import Path

import pytest

from bench.cluster_cases import Measured
from bench.cluster_report import write
from bench.network_report import BEGIN, END, section, shown

NAME = "task running until reached by name on all nodes"
START = "start of 10 replicas, overlay / host network"
MESH = "requests, 16 connections: mesh, other node"


def line(text: str, measure: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {measure}"))


@pytest.mark.parametrize(
    ("figures", "met"),
    [([250.0] * 29 + [900.0], "yes"), ([250.0] * 29 + [1100.0], "**no**"), ([350.0] * 30, "**no**")],
)
def test_names_are_judged_by_their_median_and_their_99th_percentile(figures: list[float], met: str) -> None:
    assert line(shown(Measured(figures={NAME: figures}), None), NAME).endswith(f"| {met} |")


@pytest.mark.parametrize(("ratio", "met"), [(1.3, "yes"), (1.31, "**no**")])
def test_a_start_on_overlay_is_judged_against_our_own_on_the_host_network(ratio: float, met: str) -> None:
    text = shown(Measured(figures={START: [ratio]}), Measured(figures={START: [9.0]}))
    assert line(text, START).endswith(f"| at most 1.3 times | {met} |")
    assert f"{ratio:.2f} times" in line(text, START)


def test_what_the_rival_cannot_do_in_this_kernel_has_no_figure(tmp_path: Path) -> None:
    ours, theirs = Measured(figures={MESH: [20_000.0, 21_000.0, 22_000.0]}), Measured()
    assert line(shown(ours, theirs), MESH) == f"| {MESH} | 21,000 /s (20,000-22,000) | - | - |  |  |"
    document = tmp_path / "d.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(document, section(ours, theirs, "Docker version 20", "No IPVS."), BEGIN, END)
    text = document.read_text()
    assert text.startswith(f"before\n{BEGIN}\nRun of ")
    assert "(smallest-largest of the rounds). No IPVS.\n" in text
    assert text.endswith(f"{END}\nafter\n")
