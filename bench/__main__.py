"""Run the cases.  `python -m bench --help` tells the options; bounded in count and time, on private servers only."""

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from bench.cases import CASES, Case
from bench.client import Failed
from bench.machine import wait_for_quiet, watched
from bench.report import Figures, section, table, write
from bench.subjects import HERE, Subject, docker, vault


@click.command()
@click.option("--repeats", default=5, show_default=True, help="Rounds of each case for each server.")
@click.option("--only", default="", help="Only cases whose name holds this text.")
@click.option("--write/--no-write", "write_document", default=False, help="Put the table into docs/performance.md.")
@click.option("--without-docker", is_flag=True, help="Measure only vault, even where a Docker Engine is at hand.")
def main(repeats: int, only: str, write_document: bool, without_docker: bool) -> None:
    """Measure vault, and Docker Swarm beside it where `dockerd` is on PATH or in $BENCH_DOCKER_DIR."""
    cases = [case for case in CASES if only in case.name]
    with tempfile.TemporaryDirectory(prefix="vb-", dir="/tmp", ignore_cleanup_errors=True) as place:
        rival = None if without_docker else docker(Path(place) / "docker")
        subjects = [vault(Path(place) / "v"), *([rival] if rival else [])]
        if rival is None:
            click.echo("no Docker Engine at hand: only vault is measured", err=True)
        try:
            for subject in subjects:
                subject.start()
            results = [(case, measure(case, subjects, repeats)) for case in cases]
            version = _version(rival) if rival else "none at hand"
        finally:
            for subject in subjects:
                subject.stop()
    click.echo(table(results))
    if write_document:
        write(HERE / "docs" / "performance.md", section(results, repeats, version))


def measure(case: Case, subjects: list[Subject], repeats: int) -> dict[str, Figures]:
    """Return a case's figures for each server; their rounds take turns."""
    figures = {subject.name: Figures() for subject in subjects}
    for number in range(repeats):
        for subject in subjects:
            wait_for_quiet()
            with watched(subject.pid) as foreign:
                values = sorted(case.run(subject))
            figures[subject.name].rounds.append(values[len(values) // 2])
            figures[subject.name].foreign.append(foreign.cores)
        shown = ", ".join(f"{name} {one.rounds[-1]:.2f}" for name, one in figures.items())
        click.echo(f"{case.name} [{number + 1}/{repeats}]: {shown} {case.unit}", err=True)
    return figures


def _version(subject: Subject) -> str:
    words = [*subject.cli[:1], "--version"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"bench: {error}")
