"""`vault stack deploy` and `vault stack config`.

Files and environment are read here; the manager that leads judges the stack, and deploys it as a whole or not at all.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from vault.cli.client import Client
from vault.cli.command import Kind, argument, command, option, switch
from vault.cli.commands.stack import stack_path
from vault.cli.errors import ApiError, CommandError
from vault.cli.services.registry_auth import stack_headers
from vault.cli.shared_options import pass_client
from vault.cli.stacks.request import request_of
from vault.cli.stacks.shown import lines_of, plan_text, services_in
from vault.cli.values.kinds import STRINGS
from vault.model.errors import VaultError
from vault.stack.load import Stack, load
from vault.stack.reader import read_file, read_sources
from vault.stack.render import render

JUDGED = frozenset((400, 403, 404, 409, 413, 501))  # The answer is about the stack, not about the daemon.
DETACH_NOTICE = (
    "Since --detach=false was not specified, tasks will be created in the background.\n"
    "In a future release, --detach=false will become the default."
)


def _json(text: str) -> str:
    if text != "json":
        raise ValueError("must be json")
    return text


def _resolve(text: str) -> str:
    if text not in ("always", "changed", "never"):
        raise CommandError(f"invalid option {text} for flag --resolve-image: use always, changed or never")
    return text


COMPOSE_FILE = option(
    "-c", "--compose-file", "files", kind=STRINGS, many=True, text='Path to a Compose file, or "-" to read from stdin'
)


@command(
    "[OPTIONS] STACK",
    name="deploy",
    text="Deploy a new stack or update an existing stack",
    aliases=("vault stack deploy", "vault stack up"),
)
@argument("name")
@COMPOSE_FILE
@switch(
    "-d",
    "--detach",
    default=None,
    shown="true",
    text="Exit immediately instead of waiting for the stack services to converge",
)
@option(
    "--base-revision",
    text="Fail unless the stack is still at this revision, as --plan printed it (0: unless there is no such stack)",
)
@switch("--plan", text="Print what would be created, changed and removed, and change nothing")
@option("--format", "form", kind=Kind("string", _json), text="How to print a plan: 'json'; for reading if left out")
@switch(
    "--prune",
    text="Prune services that are no longer referenced, and the stack's secrets and configs that nothing uses any more",
)
@switch("-q", "--quiet", text="Suppress progress output")
@option(
    "--resolve-image",
    kind=Kind("string", _resolve),
    default="always",
    shown='"always"',
    text='Whether a service whose image in the file is unchanged takes the file\'s image ("always") or keeps its own '
    '("changed", "never"); nodes find images themselves',
)
@switch(
    "--rotate-changed",
    text="Make a new secret or config of a file whose bytes changed, and roll the services that use it",
)
@switch("--with-registry-auth", text="Send registry authentication details to Swarm agents")
@pass_client
def deploy(client: Client, /, name: str, files: tuple[str, ...], detach: bool | None, **given: Any) -> None:
    """Bring the cluster to what the files say, as a whole or not at all."""
    path = stack_path(name)
    if given["form"] and not given["plan"]:
        raise CommandError("--format says how to print a plan: add --plan")
    with stack_errors():
        stack = _load(files)
        wishes = {wish: given[wish] for wish in ("prune", "resolve_image", "rotate_changed")}
        body = request_of(stack, dry_run=given["plan"], base_revision=given["base_revision"] or "", **wishes)
    headers = stack_headers(given["with_registry_auth"], (one.image for one in stack.document.services.values()))
    for warning in stack.warnings:
        click.echo(warning, err=True)
    if detach is None and not given["plan"]:
        click.echo(DETACH_NOTICE, err=True)
    if not client.get("/info")["Swarm"].get("ControlAvailable"):
        raise CommandError(
            'this node is not a swarm manager. Use "vault swarm init" or "vault swarm join" to connect this node to '
            "swarm and try again"
        )
    answer = _post(client, path, body, headers)
    if given["plan"]:
        click.echo(_json_text(answer) if given["form"] else plan_text(answer), nl=False)
        return
    for line in lines_of(answer["changes"]):
        click.echo(line)
    if detach is False:
        _wait(client, services_in(answer["changes"]), quiet=given["quiet"])


def _post(client: Client, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    """Return the daemon's answer; what it has against the stack is said as a stack file's fault is."""
    try:
        return client.post(path, body, headers=headers)
    except ApiError as error:
        raise CommandError(error.message) if error.status in JUDGED else error from None


def _json_text(answer: dict[str, Any]) -> str:
    return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"


@command("[OPTIONS]", name="config", text="Outputs the final config file, after doing merges and interpolations")
@COMPOSE_FILE
@switch("--skip-interpolation", text="Skip interpolation and output only merged config")
def config(files: tuple[str, ...], skip_interpolation: bool) -> None:
    """Print the files as one."""
    with stack_errors():
        stack = _load(files, interpolated=not skip_interpolation)
        text = render(stack.document)
    for warning in stack.warnings:
        click.echo(warning, err=True)
    click.echo(text, nl=False)


def _load(files: tuple[str, ...], *, interpolated: bool = True) -> Stack:
    paths = [path for text in files for path in text.split(",")]
    return load(read_sources(paths), os.environ, read_file, interpolated=interpolated)


@contextmanager
def stack_errors() -> Iterator[None]:
    """Turn what is wrong with a stack into the failure of this command."""
    try:
        yield
    except VaultError as error:
        raise CommandError(error.message) from None


def _wait(client: Client, services: list[str], *, quiet: bool) -> None:
    from vault.cli.services.progress import wait_for_each

    wait_for_each(client, services, quiet=quiet)
