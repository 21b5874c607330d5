"""`vault doctor`: look at this machine, and say what is missing and what to do."""

import asyncio
import os
from pathlib import Path

import click

from vault.cli.client import Client
from vault.cli.command import Group, command
from vault.cli.errors import CommandError, Exit
from vault.cli.shared_options import pass_client

_HERE = "vault.cli.commands.doctor:"


@click.group(
    cls=Group,
    lazy={"network": (_HERE + "network", "Look at what overlay networks and published ports need")},
    help="Look at this machine, and say what is missing",
)
def doctor() -> None:
    """Checks of this machine."""


@command("", name="network", text="Look at what overlay networks and published ports need")
@pass_client
def network(client: Client) -> None:
    """Print what was found on this node; end with 1 when overlay networks cannot work here."""
    from vault.network.doctor.examination import examine
    from vault.network.doctor.rules import Verdict, report
    from vault.network.wireguard.probe import probe_of

    if os.geteuid() != 0:
        raise CommandError("vault doctor network tries what the kernel can: run it as root on the node")
    if not client.host.startswith("unix://"):
        raise CommandError("vault doctor network looks at the machine it runs on: run it on the node itself")
    run_root = Path(client.host.removeprefix("unix://")).parent
    findings = examine(run_root, asyncio.run(probe_of(run_root)))
    click.echo(report(findings), nl=False)
    if any(found.verdict is Verdict.MISSING for found in findings):
        raise Exit(1)
