"""`vault node rebalance`: give nodes their share of tasks.  Docker has nothing like it."""

import click

from vault.cli.client import Client
from vault.cli.command import argument, command, switch
from vault.cli.commands.node import own_id
from vault.cli.errors import CommandError
from vault.cli.rebalancing import move_lines, node_names, skipped_lines
from vault.cli.shared_options import pass_client


@command("[OPTIONS] NODE [NODE...] | --all", name="rebalance", text="Move tasks until nodes have their share of them")
@argument("references", required=False, many=True)
@switch("-a", "--all", "everywhere", text="Give all nodes even shares, not just some nodes theirs")
@switch("-d", "--detach", text="Exit immediately instead of waiting for the services to converge")
@switch("--plan", text="Print what would move, and move nothing")
@switch("-q", "--quiet", text="Suppress progress output")
@pass_client
def rebalance(
    client: Client, references: tuple[str, ...], everywhere: bool, detach: bool, plan: bool, quiet: bool
) -> None:
    """Move as few tasks as it takes, each service under its own update settings; wait until they run."""
    if bool(references) == everywhere:
        raise CommandError("name the nodes that are to get their share, or say --all")
    nodes = [own_id(client, reference) for reference in references]
    answer = client.post("/vault/v1/nodes/rebalance", {"Nodes": nodes}, dry_run="1" if plan else None)
    lines = [*move_lines(answer, node_names(client)), *skipped_lines(answer)]
    click.echo("\n".join(lines or ["no task moves: the shares are even as they are"]))
    if plan or detach:
        return
    from vault.cli.services.progress import wait_for_each

    names = {move["ServiceID"]: move["Name"].rpartition(".")[0] for move in answer["Moves"]}
    wait_for_each(client, sorted(names.values()), quiet=quiet)
