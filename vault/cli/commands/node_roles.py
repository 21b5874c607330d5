"""`vault node`: promote, demote, rm."""

import click

from vault.cli.client import Client
from vault.cli.command import argument, command, switch
from vault.cli.commands.swarm import warn_of_managers
from vault.cli.errors import ApiError
from vault.cli.overtaken import until_not_overtaken
from vault.cli.removal import remove_each
from vault.cli.shared_options import pass_client


@command("NODE [NODE...]", name="promote", text="Promote one or more nodes to manager in the swarm")
@argument("references", many=True)
@pass_client
def promote(client: Client, references: tuple[str, ...]) -> None:
    """Make nodes managers, in order, up to the first that is refused."""
    _give_role(client, references, "manager", "Node {} promoted to a manager in the swarm.")


@command("NODE [NODE...]", name="demote", text="Demote one or more nodes from manager in the swarm")
@argument("references", many=True)
@pass_client
def demote(client: Client, references: tuple[str, ...]) -> None:
    """Make nodes workers, in order, up to the first that is refused."""
    _give_role(client, references, "worker", "Manager {} demoted in the swarm.")


@command(
    "[OPTIONS] NODE [NODE...]",
    name="rm",
    text="Remove one or more nodes from the swarm",
    aliases=("vault node rm", "vault node remove"),
)
@argument("references", many=True)
@switch("-f", "--force", text="Force remove a node from the swarm")
@pass_client
def rm(client: Client, references: tuple[str, ...], force: bool) -> None:
    """Remove nodes that are down, or any worker by force."""
    remove_each(references, lambda reference: client.delete(f"/nodes/{reference}", force="1" if force else None))


def _give_role(client: Client, references: tuple[str, ...], role: str, done: str) -> None:
    def give() -> str:
        found = client.get(f"/nodes/{reference}")
        if found["Spec"].get("Role") == role:
            return f"Node {found['ID']} is already a {role}."
        spec = {**found["Spec"], "Role": role}
        client.post(f"/nodes/{found['ID']}/update", spec, version=found["Version"]["Index"])
        return done.format(reference)

    changed = False
    for reference in references:
        said = until_not_overtaken(give)
        click.echo(said)
        changed = changed or said == done.format(reference)
    if changed:
        try:
            warn_of_managers(client.get("/info").get("Swarm") or {})
        except ApiError:
            return  # The roles are changed; the advice can wait.
