"""Figures of a run as a table, and where that table stands in the documents."""

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.cases import Case

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


@dataclass
class Figures:
    """What one case gave for one server: the median of each round, and foreign load."""

    rounds: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)


def table(results: Sequence[tuple[Case, Mapping[str, Figures]]]) -> str:
    """Return the results as a table."""
    lines = [
        "| measure | vault | Docker Swarm | vault / Docker | aim | met | foreign cores |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, figures in results:
        ours, theirs = figures["vault"], figures.get("docker")
        ratio = ours.median / theirs.median if theirs and theirs.median else None
        lines.append(
            f"| {case.name} | {_shown(ours, case.unit)} | {_shown(theirs, case.unit) if theirs else '-'} "
            f"| {f'{ratio:.2f}' if ratio is not None else '-'} | {case.aim} | {_met(case, ours, ratio)} "
            f"| {max(ours.foreign):.1f} |"
        )
    return "\n".join(lines)


def _met(case: Case, ours: Figures, ratio: float | None) -> str:
    if case.aim.startswith("under") and case.unit == "ms":
        return "yes" if ours.median < float(case.aim.split()[1]) else "**no**"
    if ratio is None:
        return "?"
    return "yes" if (ratio <= case.goal if case.better == "lower" else ratio >= case.goal) else "**no**"


def _shown(figures: Figures, unit: str) -> str:
    digits = 2 if figures.median < 10 else 0
    text = f"{figures.median:,.{digits}f} {unit}"
    if len(figures.rounds) > 1:
        text += f" ({min(figures.rounds):,.{digits}f}-{max(figures.rounds):,.{digits}f})"
    return text


def section(results: Sequence[tuple[Case, Mapping[str, Figures]]], repeats: int, rival: str) -> str:
    """Return the part of the document that a run writes."""
    when = datetime.now(UTC).date().isoformat()
    machine = f"{platform.machine()}, Linux {platform.release().split('-')[0]}"
    head = (
        f"Run of {when}, {repeats} rounds interleaved, {machine}; rival: {rival}. "
        "Median (smallest - largest of the rounds)."
    )
    return f"{BEGIN}\n{head}\n\n{table(results)}\n{END}"


def write(path: Path, text: str) -> None:
    """Put a section in its place in a document."""
    old = path.read_text()
    before, rest = old.split(BEGIN, 1)
    path.write_text(before + text + rest.split(END, 1)[1])
