"""What decisions about large services cost, as a table.  Pure."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

BEGIN, END = "<!-- bench-control: begin -->", "<!-- bench-control: end -->"
AIM_S = 0.020


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a part of the life of services cost; seconds of processor time."""

    decisions: int
    total_s: float
    longest_s: float


Row = tuple[int, int, int, str, Figures]  # Nodes, tasks, services, and what was done.


def shown(rows: Sequence[Row]) -> str:
    """Return the figures as a table."""
    lines = [
        "| nodes | tasks | services | they are | decisions | all of them | longest | 20 ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for nodes, tasks, services, what, one in rows:
        met = "yes" if one.longest_s <= AIM_S else "**no**"
        lines.append(
            f"| {nodes:,} | {tasks:,} | {services:,} | {what} | {one.decisions:,} | {one.total_s:.2f} s "
            f"| {one.longest_s * 1000:.1f} ms | {met} |"
        )
    return "\n".join(lines)


def section(rows: Sequence[Row]) -> str:
    """Return the part of the document that a run writes."""
    when = datetime.now(UTC).date().isoformat()
    machine = f"{platform.machine()}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} processors"
    return f"{BEGIN}\nRun of {when}, {machine}, one process; processor time.\n\n{shown(rows)}\n{END}"
