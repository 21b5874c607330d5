"""`vault swarm`: join-token, unlock, unlock-key."""

import sys

import click

from vault.cli.client import Client
from vault.cli.command import argument, command, switch
from vault.cli.commands.swarm import join_command, unlock_text
from vault.cli.errors import CommandError
from vault.cli.shared_options import pass_client

MAX_KEY_CHARACTERS = 1024


@command("[OPTIONS] (worker|manager)", name="join-token", text="Manage join tokens")
@argument("role")
@switch("-q", "--quiet", text="Only display token")
@switch("--rotate", text="Rotate join token")
@pass_client
def join_token(client: Client, role: str, quiet: bool, rotate: bool) -> None:
    """Print how a node joins in a role; with `--rotate` the token before it admits nobody any more."""
    if role not in ("worker", "manager"):
        raise CommandError(f"unknown role {role}")
    if rotate:
        found = client.get("/swarm")
        client.post(
            "/swarm/update",
            found["Spec"],
            version=found["Version"]["Index"],
            rotateWorkerToken="true" if role == "worker" else None,
            rotateManagerToken="true" if role == "manager" else None,
        )
        if not quiet:
            click.echo(f"Successfully rotated {role} join token.\n")
    if quiet:
        click.echo(client.get("/swarm")["JoinTokens"][role.capitalize()])
        return
    node = client.get("/info")["Swarm"]["NodeID"]
    click.echo(join_command(client, node, role), nl=False)


@command("", name="unlock", text="Unlock swarm")
@pass_client
def unlock(client: Client) -> None:
    """Give a manager that was restarted its unlock key, from the terminal or standard input."""
    match (client.get("/info").get("Swarm") or {}).get("LocalNodeState", "inactive"):
        case "inactive":
            raise CommandError("Error: This node is not part of a swarm")
        case "active":
            raise CommandError("Error: swarm is not locked")
    client.post("/swarm/unlock", {"UnlockKey": read_key("Enter unlock key: ")})


def read_key(prompt: str) -> str:
    """Return a line that nobody sees typed; off a terminal, the first line of standard input."""
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass(prompt, stream=sys.stderr).strip()
    return sys.stdin.readline(MAX_KEY_CHARACTERS).strip()


@command("[OPTIONS]", name="unlock-key", text="Manage the unlock key")
@switch("-q", "--quiet", text="Only display token")
@switch("--rotate", text="Rotate unlock key")
@pass_client
def unlock_key(client: Client, quiet: bool, rotate: bool) -> None:
    """Print the key that a restarted manager needs; with `--rotate` a new one."""
    if rotate:
        found = client.get("/swarm")
        if not (found["Spec"].get("EncryptionConfig") or {}).get("AutoLockManagers"):
            raise CommandError("cannot rotate because autolock is not turned on")
        client.post("/swarm/update", found["Spec"], version=found["Version"]["Index"], rotateManagerUnlockKey="true")
        if not quiet:
            click.echo("Successfully rotated manager unlock key.\n")
    key = client.get("/swarm/unlockkey").get("UnlockKey", "")
    if not key:
        raise CommandError("no unlock key is set")
    if quiet:
        click.echo(key)
    else:
        click.echo(unlock_text(key), nl=False)
