"""Measure one manager with a thousand nodes.  `python -m bench.scale --help` tells the options.

The manager is a real `vaultd`, a process of its own; the nodes are simulated in this one (`bench.scale_nodes`), each
with a certificate and a TLS stream of its own.  Both share the machine's processors.  The program fails when a task is
missing or doubled at the end of any step.
"""

import asyncio
import resource
import sys
import tempfile
from pathlib import Path

import click

from bench.client import Failed
from bench.cluster_cases import Measured
from bench.cluster_report import write
from bench.machine import wait_for_quiet
from bench.scale_report import BEGIN, END, section, shown
from bench.scale_run import Manager, Scale, Size
from bench.subjects import HERE, vault
from vault.model.errors import VaultError

FILES = 65_536  # Open at one time: a socket for each node, and more while they join.


@click.command()
@click.option("--nodes", default=1000, show_default=True, help="Simulated nodes.")
@click.option("--tasks", default=30_000, show_default=True, help="Tasks of all services together.")
@click.option("--services", default=30, show_default=True, help="Services.")
@click.option("--dying", default=100, show_default=True, help="Nodes that die at one moment; 0 leaves it out.")
@click.option("--steady", default=30.0, show_default=True, help="Seconds for which nothing changes; 0 leaves it out.")
@click.option("--large/--no-large", default=True, help="Create and remove one service of all tasks, too.")
@click.option("--rounds", default=1, show_default=True, help="Runs, each with a manager of its own.")
@click.option("--write/--no-write", "write_document", default=False, help="Put the table into docs/performance.md.")
def main(
    nodes: int, tasks: int, services: int, dying: int, steady: float, large: bool, rounds: int, write_document: bool
) -> None:
    """Measure one manager of many simulated nodes."""
    size = Size(nodes=nodes, tasks=tasks, services=services, dying=dying, steady_s=steady, large=large)
    measured = Measured()
    _many_files()
    for _ in range(rounds):
        _run(size, measured)
    click.echo(shown(measured))
    if write_document:
        write(HERE / "docs" / "performance.md", section(measured, size), BEGIN, END)


def _run(size: Size, measured: Measured) -> None:
    with tempfile.TemporaryDirectory(prefix="vb", dir="/tmp", ignore_cleanup_errors=True) as place:
        subject = vault(Path(place))
        try:
            subject.start()
            wait_for_quiet()
            asyncio.run(Scale(Manager(subject), size, measured, lambda line: click.echo(line, err=True)).run())
        finally:
            subject.stop()


def _many_files() -> None:
    """Allow as many open files as the run needs, for vaultd too, which inherits the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, FILES), hard))


if __name__ == "__main__":
    try:
        main()
    except (Failed, VaultError) as error:
        sys.exit(f"bench: {error}")
