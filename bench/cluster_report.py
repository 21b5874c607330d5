"""Figures of clusters as a table, beside the aims, and where it stands in the documents.  Pure but for `write`."""

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.cluster_cases import Measured

BEGIN, END = "<!-- bench-cluster: begin -->", "<!-- bench-cluster: end -->"
Rule = Callable[[Sequence[float], Sequence[float] | None], bool | None]


@dataclass(frozen=True)
class Aim:
    """What is wanted of a measure, in words and as a rule on our figures and Docker's."""

    words: str
    met: Rule


def _ratio(factor: float, *, more: bool = False) -> Rule:
    def met(ours: Sequence[float], theirs: Sequence[float] | None) -> bool | None:
        if not theirs:
            return None
        ratio = statistics.median(ours) / statistics.median(theirs)
        return ratio >= factor if more else ratio <= factor

    return met


NO_SLOWER = Aim("no slower", _ratio(1.0))
AIMS = {
    "create through leader, 1 clients, p50": NO_SLOWER,
    "create through leader, 16 clients, p50": NO_SLOWER,
    "create through follower, 1 clients, p50": NO_SLOWER,
    "create through follower, 16 clients, p50": NO_SLOWER,
    "creates through leader, 16 clients": Aim("5 times as many", _ratio(5.0, more=True)),
    "creates through follower, 16 clients": Aim("5 times as many", _ratio(5.0, more=True)),
    "dead leader: first acknowledged write": Aim(
        "3 s in the median, never over 10", lambda ours, _: statistics.median(ours) <= 3 and max(ours) <= 10
    ),
    "dead worker: declared down, heartbeat 1 s": Aim("5 s", lambda ours, _: max(ours) <= 5),
    "dead worker: tasks run elsewhere, heartbeat 1 s": Aim("a second later", lambda ours, _: max(ours) <= 6),
    "dead worker: tasks run elsewhere": NO_SLOWER,
    "drain: tasks run elsewhere": NO_SLOWER,
    "memory of a manager": Aim("no more", _ratio(1.0)),
    "memory of a manager, with what runs containers": Aim("no more", _ratio(1.0)),
}


def unit(measure: str) -> str:
    """Return the unit of a measure."""
    if measure.endswith("p50"):
        return "ms"
    if measure.startswith("creates"):
        return "/s"
    return "MB" if measure.startswith("memory") else "s"


def table(
    ours: Measured, theirs: Measured | None, aims: Mapping[str, Aim] = AIMS, unit: Callable[[str], str] = unit
) -> str:
    """Return the figures as a table."""
    lines = ["| measure | vault | Docker Swarm | vault / Docker | aim | met |", "|---|---|---|---|---|---|"]
    for measure, figures in ours.figures.items():
        rival = theirs.figures.get(measure) if theirs else None
        ratio = f"{statistics.median(figures) / statistics.median(rival):.2f}" if rival else "-"
        aim = aims.get(measure)
        lines.append(
            f"| {measure.replace('1 clients', '1 client')} | {_shown(figures, unit(measure))} "
            f"| {_shown(rival, unit(measure)) if rival else '-'} | {ratio} "
            f"| {aim.words if aim else ''} | {_met(aim, figures, rival) if aim else ''} |"
        )
    return "\n".join(lines)


def _met(aim: Aim, ours: Sequence[float], theirs: Sequence[float] | None) -> str:
    return {True: "yes", False: "**no**", None: "?"}[aim.met(ours, theirs)]


def _shown(figures: Sequence[float], of: str) -> str:
    digits = {"/s": 0, "MB": 0, "ms": 2, "times": 2}.get(of, 1)
    low, high = min(figures), max(figures)
    return f"{statistics.median(figures):,.{digits}f} {of} ({low:,.{digits}f}-{high:,.{digits}f})"


def section(ours: Measured, theirs: Measured | None, rival: str) -> str:
    """Return the part of the document that a run writes."""
    when = datetime.now(UTC).date().isoformat()
    machine = f"{platform.machine()}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} processors"
    lost = f"{ours.lost} of {len(ours.acknowledged):,} acknowledged secrets lost by vault over the kills of leaders"
    if theirs:
        lost += f", {theirs.lost} of {len(theirs.acknowledged):,} by Docker Swarm"
    head = f"Run of {when}, {machine}; rival: {rival}. Median (smallest-largest of the rounds). {lost}."
    return f"{BEGIN}\n{head}\n\n{table(ours, theirs)}\n{END}"


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put a section in its place in a document."""
    before, _, rest = path.read_text().partition(begin)
    path.write_text(before + text + rest.partition(end)[2])
