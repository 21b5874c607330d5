"""Figures of many nodes as a table, beside the aims.  Pure."""

import os
import platform
from datetime import UTC, datetime

from bench.cluster_cases import Measured
from bench.cluster_report import Aim, table
from bench.scale_run import Size

BEGIN, END = "<!-- bench-scale: begin -->", "<!-- bench-scale: end -->"


def _below(limit: float, words: str) -> Aim:
    return Aim(words, lambda ours, _: max(ours) <= limit)


AIMS = {
    "tasks assigned": _below(60, "60 s"),
    "task placed again after that, last of them": _below(10, "10 s"),
    "cores in use when nothing changes": _below(0.5, "half a core"),
    "memory when nothing changes": _below(600, "600 MB"),
}


def unit(measure: str) -> str:
    """Return the unit of a measure."""
    if measure.startswith("memory"):
        return "MB"
    return "cores" if measure.startswith("cores") else "s"


def shown(measured: Measured) -> str:
    """Return the figures as a table."""
    return table(measured, None, AIMS, unit)


def section(measured: Measured, size: Size) -> str:
    """Return the part of the document that a run writes."""
    when = datetime.now(UTC).date().isoformat()
    machine = f"{platform.machine()}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} processors"
    head = (
        f"Run of {when}, {machine}, which the simulated nodes share with the manager: {size.tasks:,} tasks of "
        f"{size.services} services on {size.nodes:,} nodes, {size.dying} of which die at one moment."
    )
    return f"{BEGIN}\n{head}\n\n{shown(measured)}\n{END}"
