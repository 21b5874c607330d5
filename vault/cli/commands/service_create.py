"""`vault service create`."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import click

from vault.cli.client import Client
from vault.cli.command import argument, command
from vault.cli.commands.service import warn
from vault.cli.errors import CommandError
from vault.cli.services.options import CREATE, apply
from vault.cli.services.registry_auth import auth_headers
from vault.cli.services.resolve import find_networks, find_references
from vault.cli.services.spec import new_spec
from vault.cli.shared_options import pass_client
from vault.cli.values.container import environment_lines, last_of_each, with_environment

MAX_ENV_FILE_BYTES = 4 * 1024 * 1024  # As of stack files.


@command("[OPTIONS] IMAGE [COMMAND] [ARG...]", name="create", text="Create a new service", interspersed=False)
@argument("image")
@argument("args", required=False, many=True)
@apply(CREATE)
@pass_client
def create(client: Client, /, image: str, args: tuple[str, ...], **given: Any) -> None:
    """Create a service, print its id, and wait for its tasks."""
    variables = variables_from(given["env_file"], given["env"], os.environ)
    spec = new_spec(given, image, args, env=variables, networks=find_networks(client, given["network"]))
    container = spec["TaskTemplate"]["ContainerSpec"]
    for kind, field in (("Secret", "secrets"), ("Config", "configs")):
        found = find_references(client, kind, given[field])
        if found:
            container[f"{kind}s"] = found
    answer = client.post("/services/create", spec, headers=auth_headers(given["with_registry_auth"], image))
    warn(answer)
    click.echo(answer["ID"])
    if not given["detach"]:
        from vault.cli.services.progress import wait_for

        wait_for(client, answer["ID"], before=None, quiet=given["quiet"])


def variables_from(files: Iterable[str], variables: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """Return the variables of `--env-file` and `--env`, later ones before earlier ones of that name."""
    found: list[str] = []
    for file in files:
        try:
            with open(file, "rb") as stream:
                content = stream.read(MAX_ENV_FILE_BYTES + 1)
        except OSError as error:
            raise CommandError(f"open {file}: {(error.strerror or str(error)).lower()}") from None
        if len(content) > MAX_ENV_FILE_BYTES:
            raise CommandError(f"invalid env file ({file}): it has more than {MAX_ENV_FILE_BYTES} bytes")
        found += environment_lines(file, content, environ)
    return last_of_each([*found, *with_environment(variables, environ)])
