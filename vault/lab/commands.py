"""`vault lab`: up, down, status, exec; what is done to single nodes is in `node_commands`."""

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any, TypeVar

import click

from vault.cli.command import Group, argument, command, option, switch
from vault.cli.errors import CommandError, Exit
from vault.cli.shared_options import show
from vault.cli.table import FORMAT_HELP
from vault.cli.values.kinds import BYTES, UINT
from vault.lab import errors
from vault.lab.lab import Lab
from vault.lab.plan import DEFAULT_NAME, OUTSIDE
from vault.model.errors import VaultError

Function = TypeVar("Function", bound=Callable[..., Any])
HEADERS = {
    "Node": "NODE",
    "Address": "ADDRESS",
    "Vaultd": "VAULTD",
    "Etcd": "ETCD",
    "State": "STATE",
    "PID": "PID",
    "Host": "HOST",
    "DataRoot": "DATA ROOT",
    "RunRoot": "RUN ROOT",
    "Log": "LOG",
}
COLUMNS = ("Node", "Address", "Vaultd", "Etcd", "State", "PID")
_HERE = "vault.lab.commands:"
_NODES = "vault.lab.node_commands:"


@click.group(
    cls=Group,
    lazy={
        "clock": (_NODES + "clock", "Set the clock of a node's vaultd wrong"),
        "cut": (_NODES + "cut", "Cut a node off from others"),
        "down": (_HERE + "down", "End a cluster and leave nothing of it"),
        "exec": (_HERE + "execute", "Run a command inside a node, or outside all of them"),
        "heal": (_NODES + "heal", "Undo what cut and slow did"),
        "kill": (_NODES + "kill", "Kill a node's vaultd, its etcd, or all of it"),
        "pause": (_NODES + "pause", "Stop a node's vaultd, its etcd, or all of it, until it is resumed"),
        "resume": (_NODES + "resume", "Let go on what was paused"),
        "slow": (_NODES + "slow", "Slow a node's network or processor"),
        "start": (_NODES + "start", "Start a node's vaultd"),
        "status": (_HERE + "status", "Show what the nodes are doing"),
        "stop": (_NODES + "stop", "End a node's vaultd as an operator would"),
        "up": (_HERE + "up", "Start a cluster on this machine"),
    },
    help="Run a cluster on this machine, to try things and to break them",
)
def lab() -> None:
    """Clusters on this machine."""


def lab_command(function: Function) -> Callable[..., Any]:
    """Give a command `--name` and the lab of that name as first argument; say errors as a command does."""

    @wraps(function)
    def called(*, lab_name: str, **given: Any) -> Any:
        if os.geteuid() != 0:
            raise CommandError("vault lab makes namespaces and mounts: run it as root")
        try:
            return function(Lab(lab_name), **given)
        except VaultError as error:
            raise CommandError(f"vault lab: {error.message}") from None

    return option("--name", "lab_name", default=DEFAULT_NAME, shown=f'"{DEFAULT_NAME}"', text="Name of the lab")(called)


@command("[OPTIONS]", name="up", text="Start a cluster on this machine")
@option("--managers", kind=UINT, default=3, shown="3", text="Number of managers")
@option("--workers", kind=UINT, default=2, shown="2", text="Number of workers")
@option("--disk", kind=BYTES, default=0, text="Give each node a file system of its own of this size, such as 64M")
@switch("--no-join", text="Start the nodes only; make no swarm of them")
@option("--log-level", default="info", shown='"info"', text='What vaultd logs ("debug", "info", "warning", "error")')
@lab_command
def up(made: Lab, *, managers: int, workers: int, disk: int, no_join: bool, log_level: str) -> None:
    """Make a lab; when it is broken off, undo what was made."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    made.up(
        managers=managers,
        workers=workers,
        disk_bytes=disk,
        join=not no_join,
        log_level=log_level,
        say=click.echo,
    )
    name = made.site.name
    first = "vault node ls" if not no_join else "vault swarm init"
    click.echo(f"\nThe lab is up.  Try:  {errors.command('exec', name)} manager1 -- {first}")
    click.echo(f"See its nodes:        {errors.command('status', name)}")
    click.echo(f"End it:               {errors.command('down', name)}")


@command("[OPTIONS]", name="down", text="End a cluster and leave nothing of it")
@lab_command
def down(ended: Lab) -> None:
    """End a lab; none there is no error, so that it may be repeated."""
    if ended.down():
        click.echo(f"The lab {ended.site.name!r} is gone.")
    else:
        click.echo(f"There was no lab named {ended.site.name!r}.")


@command("[OPTIONS]", name="status", text="Show what the nodes are doing")
@option("--format", "form", text=FORMAT_HELP)
@lab_command
def status(shown: Lab, *, form: str | None) -> None:
    """Show a table of the nodes."""
    from vault.lab.status import status as look

    rows = look(shown)
    if not shown.state.ready:
        ending = errors.command("down", shown.site.name)
        click.echo(f"The lab is not ready: `vault lab up` is at work, or was killed; `{ending}` ends it.", err=True)
    show(
        [
            {
                "Node": row.node.name,
                "Address": row.node.address,
                "Vaultd": row.vaultd,
                "Etcd": row.etcd,
                "State": ", ".join(row.states) or "-",
                "PID": row.pid or "-",
                "Host": row.node.host,
                "DataRoot": str(row.node.data_root),
                "RunRoot": str(row.node.run_root),
                "Log": str(row.node.log),
            }
            for row in rows
        ],
        headers=HEADERS,
        columns=COLUMNS,
        form=form,
        quiet=False,
    )


@command(
    "[OPTIONS] NODE|outside [--] COMMAND [ARG...]",
    name="exec",
    text="Run a command inside a node, or outside all of them",
    interspersed=False,
)
@argument("node")
@argument("words", many=True)
@lab_command
def execute(entered: Lab, *, node: str, words: tuple[str, ...]) -> None:
    """Become the command; plain `vault` in it talks to the node.  `outside` is on their network, and none of them."""
    from vault.lab.entering import become, become_outside

    wanted = words[1:] if words and words[0] == "--" else words
    if not wanted:
        raise CommandError(f"say what to run: {errors.command('exec', entered.site.name)} {node} -- COMMAND")
    sys.stdout.flush()
    if node == OUTSIDE:
        code, reason = become_outside(entered.outside(), wanted)
    else:
        code, reason = become(entered.living(node), wanted)
    click.echo(reason, err=True)
    raise Exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
