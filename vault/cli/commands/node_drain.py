"""`vault node drain`: let a node give up its tasks, and wait until they run elsewhere.  Docker has nothing like it."""

from collections.abc import Callable
from typing import Any

import click

from vault.cli.client import Client
from vault.cli.command import argument, command, option, switch
from vault.cli.commands.node import own_id
from vault.cli.draining import wait_until_drained
from vault.cli.errors import CommandError
from vault.cli.overtaken import until_not_overtaken
from vault.cli.shared_options import pass_client
from vault.cli.values.kinds import DURATION


@command("[OPTIONS] NODE [NODE...]", name="drain", text="Let nodes give up their tasks, which run elsewhere then")
@argument("references", many=True)
@option("--timeout", kind=DURATION, text="With --wait: give up after this time (ns|us|ms|s|m|h) (default 0 = never)")
@switch("-q", "--quiet", text="Do not print how far it is")
@switch("-w", "--wait", text="Wait until no task runs there and all of them run elsewhere")
@pass_client
def drain(client: Client, references: tuple[str, ...], timeout: int | None, quiet: bool, wait: bool) -> None:
    """Set the availability of nodes to drain; with `--wait`, end with 1 when a task has no other place, and say why."""
    check_timeout(timeout, wait=wait)
    nodes: dict[str, str] = {}
    for reference in references:
        nodes[reference] = edit_node(client, own_id(client, reference), _drained)
        click.echo(reference)
    if wait:
        wait_until_drained(client, nodes, timeout_ns=timeout or 0, quiet=quiet)


def check_timeout(timeout_ns: int | None, *, wait: bool) -> None:
    """Raise `CommandError` for a limit to a wait that is not asked for, or is none."""
    if timeout_ns is not None and not wait:
        raise CommandError("--timeout says how long to wait: it goes with --wait")
    if timeout_ns is not None and timeout_ns < 0:
        raise CommandError("--timeout must not be negative")


def _drained(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "Availability": "drain"}


def edit_node(client: Client, reference: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """Change a node's spec, again when somebody else's change came between; return the node's id."""

    def edit() -> str:
        found = client.get(f"/nodes/{reference}")
        identifier: str = found["ID"]
        spec = change(found["Spec"])
        if spec != found["Spec"]:
            client.post(f"/nodes/{identifier}/update", spec, version=found["Version"]["Index"])
        return identifier

    return until_not_overtaken(edit)
