"""The table of `docs/reliability.md`: counts, times and seeds of every fault.  Pure but for `write`."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.survive import Run

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
SEEDS_SHOWN = 24


def table(runs: Sequence[Run], order: Sequence[str]) -> str:
    """Return the runs as a table, a fault a line."""
    lines = [
        "| fault | runs | survived | operations | creates acknowledged | first write after it, s | whole again, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault in [*order, *sorted({run.fault for run in runs} - set(order))]:
        here = [run for run in runs if run.fault == fault]
        if here:
            lines.append(
                f"| {fault} | {len(here)} | {_survived(here)} | {sum(run.operations for run in here):,} "
                f"| {sum(run.acknowledged for run in here):,} | {_times([run.first_s for run in here])} "
                f"| {_times([run.whole_s for run in here])} |"
            )
    return "\n".join(lines)


def _survived(runs: Sequence[Run]) -> str:
    good = sum(run.survived for run in runs)
    return "all" if good == len(runs) else f"**{good}**"


def _times(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{statistics.median(known):.1f} ({min(known):.1f}-{max(known):.1f})"


def seeds(runs: Sequence[Run], order: Sequence[str]) -> str:
    """Return the seeds of each fault, and every problem."""
    lines = []
    for fault in order:
        here = sorted({run.seed for run in runs if run.fault == fault})
        if here:
            more = f" and {len(here) - SEEDS_SHOWN} more" if len(here) > SEEDS_SHOWN else ""
            lines.append(f"- {fault}: {', '.join(map(str, here[:SEEDS_SHOWN]))}{more}")
    bad = [run for run in runs if not run.survived]
    if bad:
        lines += ["", "What was found:", ""]
        lines += [f"- {run.fault}, seed {run.seed}: {run.problems[0].splitlines()[0]}" for run in bad]
    return "\n".join(lines)


def section(runs: Sequence[Run], order: Sequence[str], *, day: str, machine: str) -> str:
    """Return the part of the document that a campaign writes.

    day: of the last run.  machine: kernel and processors, in words.
    """
    unknown, there = sum(run.unknown for run in runs), sum(run.unknown_there for run in runs)
    commits = sorted({run.commit[:7] for run in runs if run.commit})
    head = (
        f"{len(runs)} runs until {day} at {', '.join(commits) or 'no commit'}, on {machine}: "
        f"{sum(run.operations for run in runs):,} operations judged, "
        f"{sum(run.acknowledged for run in runs):,} acknowledged creates looked for on every manager, "
        f"{sum(not run.survived for run in runs)} runs with a problem. "
        f"Of {unknown:,} creates without an answer {there:,} were there afterwards, which is allowed. "
        "Times: median (smallest-largest)."
    )
    return f"{BEGIN}\n{head}\n\n{table(runs, order)}\n\nSeeds:\n\n{seeds(runs, order)}\n{END}"


def write(path: Path, text: str) -> None:
    """Put a section in its place in a document."""
    before, _, rest = path.read_text().partition(BEGIN)
    path.write_text(before + text + rest.partition(END)[2])
