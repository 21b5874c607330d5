"""Figures of overlay networks as a table, beside the aims, and where it stands in the documents.  Pure."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.cluster_cases import Measured
from bench.cluster_report import Aim, table

BEGIN, END = "<!-- bench-network: begin -->", "<!-- bench-network: end -->"


def _p99(figures: Sequence[float]) -> float:
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


_SOON = Aim("300 ms in the median, p99 under 1 s", lambda ours, _: statistics.median(ours) <= 300 and _p99(ours) < 1000)
_AS_HOST = Aim("at most 1.3 times", lambda ours, _: statistics.median(ours) <= 1.3)
AIMS = {
    "task running until reached by name on all nodes": _SOON,
    "task running until reached by VIP on all nodes": _SOON,
    "task killed until its address is gone on all nodes": Aim("a second", lambda ours, _: max(ours) <= 1000),
    "start of 1 replica, overlay / host network": _AS_HOST,
    "start of 10 replicas, overlay / host network": _AS_HOST,
    "start of 50 replicas, overlay / host network": _AS_HOST,
}


def unit(measure: str) -> str:
    """Return the unit of a measure."""
    if measure.startswith("requests"):
        return "/s"
    return "times" if measure.endswith("/ host network") else "ms"


def shown(ours: Measured, theirs: Measured | None) -> str:
    """Return the figures as a table."""
    return table(ours, theirs, AIMS, unit)


def section(ours: Measured, theirs: Measured | None, rival: str, note: str) -> str:
    """Return the part of the document that a run writes."""
    when = datetime.now(UTC).date().isoformat()
    machine = f"{platform.machine()}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} processors"
    head = f"Run of {when}, {machine}; rival: {rival}. Median (smallest-largest of the rounds). {note}".rstrip()
    return f"{BEGIN}\n{head}\n\n{shown(ours, theirs)}\n{END}"
