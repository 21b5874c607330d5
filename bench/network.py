"""Measure overlay networks of one manager and two workers.  `python -m bench.network --help` tells the options.

Both clusters are up for the whole run and take turns, round by round, as in `bench.cluster`.
"""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from bench.client import Failed
from bench.cluster_cases import Measured, measure
from bench.cluster_report import write
from bench.cluster_subjects import Cluster, Vault, docker, version
from bench.network_cases import CASES
from bench.network_report import BEGIN, END, section, shown
from bench.network_stage import IPVS
from bench.subjects import HERE
from vault.model.errors import VaultError

MANAGERS, WORKERS = 1, 2
NO_IPVS = (
    "This kernel has no IPVS, so Docker's virtual addresses and published ports do not work in it: `-` in its column."
)


@click.command()
@click.option("--only", default="", help="Only cases whose name holds this: traffic, names, start 1, start 10, …")
@click.option("--subjects", default="vault,docker", show_default=True, help="Which clusters, in this order.")
@click.option("--write/--no-write", "write_document", default=False, help="Put the table into docs/performance.md.")
def main(only: str, subjects: str, write_document: bool) -> None:
    """Measure vault, and Docker Swarm beside it where `dockerd` is on PATH or in $BENCH_DOCKER_DIR."""
    with tempfile.TemporaryDirectory(prefix="vb", dir="/tmp", ignore_cleanup_errors=True) as place:
        rival = docker(Path(place), MANAGERS, WORKERS) if "docker" in subjects else None
        if rival is None:
            click.echo("no Docker Engine at hand: only vault is measured", err=True)
        known: dict[str, Cluster | None] = {"vault": Vault(Path(place), MANAGERS, WORKERS), "docker": rival}
        clusters = [(cluster, Measured()) for name in subjects.split(",") if (cluster := known[name]) is not None]
        with ExitStack() as running:
            for cluster, _ in clusters:
                running.callback(cluster.stop)
                cluster.start()
            measure(clusters, CASES, only, lambda line: click.echo(line, err=True))
    measured = {cluster.name: figures for cluster, figures in clusters}
    ours = measured.get("vault") or measured["docker"]
    theirs = measured.get("docker") if "vault" in measured else None
    click.echo(shown(ours, theirs))
    if write_document:
        note = NO_IPVS if theirs and not IPVS.exists() else ""
        text = section(ours, theirs, version() if theirs else "none at hand", note)
        write(HERE / "docs" / "performance.md", text, BEGIN, END)


if __name__ == "__main__":
    try:
        main()
    except (Failed, VaultError) as error:
        sys.exit(f"bench: {error}")
