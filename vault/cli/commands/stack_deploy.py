"""`vault stack deploy` and `vault stack config`: files are read and judged here, then carried out step by step."""

import os
from binascii import b2a_base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, assert_never

import click
import msgspec

from vault.cli.client import Client
from vault.cli.command import Kind, argument, command, option, switch
from vault.cli.commands.service_create import auth_headers
from vault.cli.errors import ApiError, CommandError
from vault.cli.shared_options import pass_client
from vault.cli.values.kinds import STRINGS
from vault.model.errors import VaultError
from vault.model.secret import Config, Secret
from vault.model.service import Service, ServiceSpec
from vault.stack.convert import NewConfig, NewSecret, convert
from vault.stack.existing import Existing, ExistingNetwork
from vault.stack.load import Stack, load
from vault.stack.plan import (
    CreateConfig,
    CreateNetwork,
    CreateSecret,
    CreateService,
    RemoveService,
    Step,
    UpdateConfig,
    UpdateSecret,
    UpdateService,
    plan,
)
from vault.stack.reader import read_file, read_sources
from vault.stack.references import with_ids
from vault.stack.render import render

DETACH_NOTICE = (
    "Since --detach=false was not specified, tasks will be created in the background.\n"
    "In a future release, --detach=false will become the default."
)
Model = TypeVar("Model", Secret, Config, Service)


def _resolve(text: str) -> str:
    if text not in ("always", "changed", "never"):
        raise ValueError("must be always, changed or never")
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
@switch("--prune", text="Prune services that are no longer referenced")
@switch("-q", "--quiet", text="Suppress progress output")
@option(
    "--resolve-image",
    kind=Kind("string", _resolve),
    default="always",
    shown='"always"',
    text='Whether a service whose image in the file is unchanged takes the file\'s image ("always") or keeps its own '
    '("changed", "never"); nodes find images themselves',
)
@switch("--with-registry-auth", text="Send registry authentication details to Swarm agents")
@pass_client
def deploy(client: Client, /, name: str, files: tuple[str, ...], detach: bool | None, **given: Any) -> None:
    """Bring the cluster to what the files say."""
    with stack_errors():
        stack = _load(files)
        deployment = convert(stack, name)
    for warning in deployment.warnings:
        click.echo(warning, err=True)
    if detach is None:
        click.echo(DETACH_NOTICE, err=True)
    if not client.get("/info")["Swarm"].get("ControlAvailable"):
        raise CommandError(
            'this node is not a swarm manager. Use "vault swarm init" or "vault swarm join" to connect this node to '
            "swarm and try again"
        )
    existing = look(client)
    with stack_errors():
        steps = plan(deployment, existing, prune=given["prune"], keep_images=given["resolve_image"] != "always")
    work = _Work(client, existing, with_auth=given["with_registry_auth"])
    for step in steps:
        work.take(step)
    if detach is False:
        _wait(client, work.services, quiet=given["quiet"])


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


def look(client: Client) -> Existing:
    """Return what the cluster holds."""
    networks = {
        item["Name"]: ExistingNetwork(id=item["Id"], scope=item["Scope"], labels=item.get("Labels") or {})
        for item in sorted(client.get("/networks"), key=lambda item: bool(item["Scope"] == "swarm"))
    }
    return Existing(
        networks=networks,
        secrets=_by_name(client, "/secrets", Secret),
        configs=_by_name(client, "/configs", Config),
        services=_by_name(client, "/services", Service),
    )


def _by_name(client: Client, path: str, model: type[Model]) -> dict[str, Model]:
    return {
        item["Spec"]["Name"]: msgspec.convert({**item, "Spec": without_value(item["Spec"])}, model)
        for item in client.get(path)
    }


def without_value(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec without the value of a config, which is not looked at."""
    return {name: value for name, value in spec.items() if name != "Data"}


class _Work:
    """Carries out steps, remembering the ids that later ones need."""

    def __init__(self, client: Client, existing: Existing, *, with_auth: bool) -> None:
        self.services: list[str] = []  # Names, in the order they were made.
        self._client = client
        self._with_auth = with_auth
        self._secrets = {name: secret.id for name, secret in existing.secrets.items()}
        self._configs = {name: found.id for name, found in existing.configs.items()}

    def take(self, step: Step) -> None:
        """Carry out one step.  Raises `CommandError` saying which object it failed for."""
        match step:
            case CreateNetwork():
                name = step.network.name
                click.echo(f"Creating network {name}")
                self._post(f"failed to create network {name}", "/networks/create", step.network.body())
            case CreateSecret():
                name = step.secret.spec.name
                click.echo(f"Creating secret {name}")
                answer = self._post(f"failed to create secret {name}", "/secrets/create", secret_body(step.secret))
                self._secrets[name] = answer["ID"]
            case CreateConfig():
                name = step.config.spec.name
                click.echo(f"Creating config {name}")
                answer = self._post(f"failed to create config {name}", "/configs/create", config_body(step.config))
                self._configs[name] = answer["ID"]
            case UpdateSecret():
                failure, path = f"failed to update secret {step.secret.spec.name}", f"/secrets/{step.id}/update"
                self._post(failure, path, secret_body(step.secret), version=step.version)
            case UpdateConfig():
                failure, path = f"failed to update config {step.config.spec.name}", f"/configs/{step.id}/update"
                self._post(failure, path, config_body(step.config), version=step.version)
            case RemoveService():
                click.echo(f"Removing service {step.name}")
                self._client.delete(f"/services/{step.id}")
            case CreateService():
                click.echo(f"Creating service {step.spec.name}")
                self._service(f"failed to create service {step.spec.name}", "/services/create", step.spec)
                self.services.append(step.spec.name)
            case UpdateService():
                click.echo(f"Updating service {step.spec.name} (id: {step.id})")
                path = f"/services/{step.id}/update"
                self._service(f"failed to update service {step.spec.name}", path, step.spec, version=step.version)
                self.services.append(step.spec.name)
            case _:
                assert_never(step)

    def _post(self, failure: str, path: str, body: dict[str, Any], version: int | None = None) -> Any:
        try:
            return self._client.post(path, body, version=version)
        except ApiError as error:
            raise CommandError(f"{failure}: {error}") from None

    def _service(self, failure: str, path: str, spec: ServiceSpec, version: int | None = None) -> Any:
        body = msgspec.to_builtins(with_ids(spec, self._secrets, self._configs))
        headers = auth_headers(self._with_auth, spec.task_template.container_spec.image)
        try:
            answer = self._client.post(path, body, headers=headers, version=version)
        except ApiError as error:
            raise CommandError(f"{failure}: {error}") from None
        for warning in (answer or {}).get("Warnings") or ():
            click.echo(f"service {spec.name}: {warning}", err=True)
        return answer


def secret_body(secret: NewSecret) -> dict[str, Any]:
    """Return the body that carries a secret to the daemon, its value in base64."""
    body: dict[str, Any] = msgspec.to_builtins(secret.spec)
    return {**body, "Data": b2a_base64(secret.value.reveal(), newline=False).decode()}


def config_body(new: NewConfig) -> dict[str, Any]:
    """Return the body that carries a config to the daemon, its value in base64."""
    body: dict[str, Any] = msgspec.to_builtins(new.spec)
    return {**body, "Data": b2a_base64(new.value, newline=False).decode()}


def _wait(client: Client, services: list[str], *, quiet: bool) -> None:
    from vault.cli.services.progress import wait_for_each

    wait_for_each(client, services, quiet=quiet)
