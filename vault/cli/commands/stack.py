"""`vault stack`: ls, ps, services, rm; deploy and config have a module of their own."""

import time
from http import HTTPStatus
from typing import Any

import click

from vault.cli.client import Client
from vault.cli.command import Group, argument, command, option, switch
from vault.cli.errors import ApiError, CommandError, joined
from vault.cli.services.listing import COLUMNS, HEADERS, service_rows
from vault.cli.shared_options import list_options, no_trunc_option, pass_client, show
from vault.cli.stacks.shown import lines_of
from vault.cli.table import FORMAT_HELP, natural_key
from vault.cli.wire import filters

LABEL = "com.docker.stack.namespace"
POLL_S = 0.1
_HERE = "vault.cli.commands.stack:"
_FILES = "vault.cli.commands.stack_deploy:"


@click.group(
    cls=Group,
    lazy={
        "config": (_FILES + "config", "Outputs the final config file, after doing merges and interpolations"),
        "deploy": (_FILES + "deploy", "Deploy a new stack or update an existing stack"),
        "ls": (_HERE + "ls", "List stacks"),
        "ps": (_HERE + "ps", "List the tasks in the stack"),
        "rm": (_HERE + "rm", "Remove one or more stacks"),
        "services": (_HERE + "services", "List the services in the stack"),
    },
    synonyms={"list": "ls", "remove": "rm", "down": "rm", "up": "deploy"},
    help="Manage Swarm stacks",
)
def stack() -> None:
    """Stacks."""


def stack_filter(name: str) -> list[tuple[str, str]]:
    """Return the filter that finds a stack's objects.  Raises `CommandError` for a name that is none."""
    if not name.strip(" \t\r\n\v\f\"'"):
        raise CommandError(f'invalid stack name: "{name}"')
    return [("label", f"{LABEL}={name}")]


def stack_path(name: str) -> str:
    """Return where the API has a stack.  Raises `CommandError` for a name that is none."""
    stack_filter(name)
    if "/" in name:
        raise CommandError(f'invalid stack name: "{name}"')
    return f"/vault/v1/stacks/{name}"


@command("[OPTIONS]", name="ls", text="List stacks", aliases=("vault stack ls", "vault stack list"))
@option("--format", "form", text=FORMAT_HELP)
@pass_client
def ls(client: Client, form: str | None) -> None:
    """List stacks by name."""
    counts: dict[str, int] = {}
    for item in client.get("/services", filters=filters([("label", LABEL)])):
        name = item["Spec"]["Labels"][LABEL]
        counts[name] = counts.get(name, 0) + 1
    rows = [{"Name": name, "Services": str(counts[name])} for name in sorted(counts, key=natural_key)]
    headers = {"Name": "NAME", "Services": "SERVICES"}
    show(rows, headers=headers, columns=("Name", "Services"), form=form, quiet=False)


@command("[OPTIONS] STACK", name="ps", text="List the tasks in the stack")
@argument("name")
@list_options
@switch("--no-resolve", text="Do not map IDs to Names")
@no_trunc_option
@pass_client
def ps(client: Client, /, name: str, wanted: tuple[tuple[str, str], ...], **style: Any) -> None:
    """List a stack's tasks, the newest of a slot first."""
    from vault.cli.services.tasks import node_filters, print_tasks

    tasks = client.get("/tasks", filters=filters([*stack_filter(name), *node_filters(client, wanted)]))
    if not tasks:
        raise CommandError(f"nothing found in stack: {name}")
    print_tasks(client, tasks, **style)


@command("[OPTIONS] STACK", name="services", text="List the services in the stack")
@argument("name")
@list_options
@pass_client
def services(client: Client, name: str, wanted: tuple[tuple[str, str], ...], form: str | None, quiet: bool) -> None:
    """List a stack's services."""
    found = client.get("/services", filters=filters([*stack_filter(name), *wanted]), status=None if quiet else True)
    if not found:
        click.echo(f"Nothing found in stack: {name}", err=True)
        return
    show(service_rows(found), headers=HEADERS, columns=COLUMNS, form=form, quiet=quiet)


@command(
    "[OPTIONS] STACK [STACK...]",
    name="rm",
    text="Remove one or more stacks",
    aliases=("vault stack rm", "vault stack remove", "vault stack down"),
)
@argument("names", many=True)
@switch("-d", "--detach", default=True, shown="true", text="Do not wait for stack removal")
@pass_client
def rm(client: Client, names: tuple[str, ...], detach: bool) -> None:
    """Remove stacks, each in one step."""
    paths = {name: stack_path(name) for name in names}
    errors: list[CommandError] = []
    for name, path in paths.items():
        try:
            _remove(client, name, path)
        except ApiError as error:
            errors.append(CommandError(f"failed to remove stack {name}: {error.message}"))
            continue
        if not detach:
            wait_for_tasks(client, name)
    joined(errors)


def _remove(client: Client, name: str, path: str) -> None:
    """Remove a stack, all of it or nothing, and say what was removed."""
    try:
        answer = client.delete(path)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        click.echo(f"Nothing found in stack: {name}", err=True)
        return
    for line in lines_of(answer["changes"]):
        click.echo(line)


def wait_for_tasks(client: Client, name: str) -> None:
    """Wait until a stack has no task left; Ctrl-C ends the wait, not the removal."""
    query = filters(stack_filter(name))
    try:
        while client.get("/tasks", filters=query):
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        click.echo("Operation continuing in background.")
