"""Run what is left of the campaign.  `python -m tests.cluster.campaign --help` tells the options."""

import os
import platform
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from tests.cluster.campaign import report
from tests.cluster.campaign.plan import Planned, left, plan
from tests.cluster.campaign.results import Results
from tests.cluster.nemesis import moves
from tests.cluster.nemesis.base import Fault
from tests.cluster.nemesis.every import FAULTS
from tests.cluster.reforming import Shared, place
from tests.cluster.survive import Run, Survival
from vault.lab.errors import LabError

HERE = Path(__file__).resolve().parents[3]
MOVES: dict[str, type[Fault]] = {move.name: move for move in moves.MOVES}
EVERY = {**FAULTS, **MOVES}
DOCUMENT = HERE / "docs" / "reliability.md"
NICER = 5


@click.command()
@click.option("--minutes", default=120.0, show_default=True, help="Begin no run after that time.")
@click.option("--seed", default=1_000_000, show_default=True, help="The first seed; others follow from it.")
@click.option("--factor", default=1.0, show_default=True, help="How many times the usual number of runs.")
@click.option("--only", default="", help="Only faults whose name holds this text.")
@click.option("--fresh", is_flag=True, help="Forget the runs that were made before.")
@click.option(
    "--write/--no-write", "write_document", default=True, show_default=True, help="Write docs/reliability.md."
)
@click.option("--directory", type=click.Path(path_type=Path), default=HERE / ".cache" / "faults", show_default=True)
def main(
    minutes: float, seed: int, factor: float, only: str, fresh: bool, write_document: bool, directory: Path
) -> None:
    """Break clusters in a lab, by seed, and judge what their clients saw.  Goes on where it was broken off."""
    signal.signal(signal.SIGTERM, _leave)
    os.nice(NICER)
    results = Results(directory)
    with results.held() as alone:
        if not alone:
            sys.exit(f"another campaign runs in {directory}: wait for it, or give another --directory")
        if fresh:
            (directory / "runs.jsonl").unlink(missing_ok=True)
        names = [name for name in EVERY if only in name]
        todo = left(plan(names, base=seed, factor=factor), ((run.fault, run.seed) for run in results.read()))
        click.echo(f"{len(todo)} runs are left", err=True)
        try:
            _run(todo, results, until=time.monotonic() + minutes * 60)
        finally:
            runs = results.read()
            if runs:
                click.echo(report.table(runs, list(EVERY)))
            if runs and write_document:
                machine = f"{platform.machine()}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} processors"
                day = datetime.now(UTC).date().isoformat()
                report.write(DOCUMENT, report.section(runs, list(EVERY), day=day, machine=machine))
    sys.exit(1 if any(not run.survived for run in runs) else 0)


def _run(todo: list[Planned], results: Results, *, until: float) -> None:
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    with place() as root:
        cluster = Shared(root, "c", managers=3, workers=2)
        pair = Shared(root, "p", managers=2, workers=0, join=False)
        try:
            for number, planned in enumerate(todo, 1):
                if time.monotonic() > until:
                    click.echo(f"time is up: {len(todo) - number + 1} runs are left", err=True)
                    return
                moving = planned.fault in MOVES
                run = _one(pair if moving else cluster, planned, results, commit)
                results.add(run)
                more = f"; {run.said}" if run.said else ""
                said = f"survived{more}" if run.survived else f"PROBLEM: {run.problems[0].splitlines()[0]}"
                click.echo(
                    f"[{number}/{len(todo)}] {run.fault}, seed {run.seed}: {said} ({run.took_s:.0f} s)", err=True
                )
        finally:
            cluster.close()
            pair.close()


def _one(shared: Shared, planned: Planned, results: Results, commit: str) -> Run:
    fault = EVERY[planned.fault]
    try:
        world = shared.world()
        if planned.fault in MOVES:
            moves.prepare(world)
        run = Survival(world, fault, planned.seed, commit=commit).run(keep=results.failed)
    except (LabError, AssertionError) as error:
        run = Run(fault=planned.fault, seed=planned.seed, commit=commit, problems=(f"no run: {error}",))
    if not run.survived:
        shared.spoil()
    return run


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # The lab is taken down on the way out.


if __name__ == "__main__":
    main()
