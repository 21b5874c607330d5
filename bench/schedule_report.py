"""Figures of the scheduler alone as a table, with what SwarmKit's authors once published of theirs.  Pure."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

BEGIN, END = "<!-- bench-schedule: begin -->", "<!-- bench-schedule: end -->"
LONGEST_S = 0.020  # No decision may hold the event loop for longer.
# Nodes and tasks -> seconds.  Source: the text of docker/swarmkit pull request 193 (2016), measured on a laptop.
PUBLISHED_S = {(1_000, 1_000): 0.189, (1_000, 10_000): 1.8, (1_000, 100_000): 22.6}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run of one case."""

    took_s: float  # Until all was decided, and applied to the snapshot.
    deciding_s: float  # Of that, in the scheduler.
    longest_s: float  # Decision.


Row = tuple[int, int, int, str, Sequence[Figures]]  # Nodes, tasks, services, what they ask for, runs.


def shown(rows: Sequence[Row]) -> str:
    """Return the figures as a table."""
    lines = [
        "| nodes | tasks | services | tasks ask for | until all is decided | tasks decided a second "
        "| longest decision | 20 ms | SwarmKit, 2016 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for nodes, tasks, services, words, runs in rows:
        rates = [tasks / run.deciding_s for run in runs]
        longest = [run.longest_s * 1e3 for run in runs]
        published = PUBLISHED_S.get((nodes, tasks)) if services > 1 and not words else None
        lines.append(
            f"| {nodes:,} | {tasks:,} | {services:,} | {words} | {_span([run.took_s for run in runs], '.3f')} s "
            f"| {_span(rates, ',.0f')} | {_span(longest, '.1f')} ms "
            f"| {'yes' if max(longest) <= LONGEST_S * 1e3 else '**no**'} | {f'{published:g} s' if published else ''} |"
        )
    return "\n".join(lines)


def _span(figures: Sequence[float], form: str) -> str:
    """Return the median, and the smallest and largest."""
    return f"{statistics.median(figures):{form}} ({min(figures):{form}}-{max(figures):{form}})"


def section(rows: Sequence[Row]) -> str:
    """Return the part of the document that a run writes."""
    when = datetime.now(UTC).date().isoformat()
    machine = f"{platform.machine()}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} processors"
    head = f"Run of {when}, {machine}, one process. Median (smallest-largest of the runs)."
    return f"{BEGIN}\n{head}\n\n{shown(rows)}\n{END}"
