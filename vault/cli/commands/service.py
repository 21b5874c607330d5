"""`vault service`: ls, ps, inspect, rm, scale, rollback; create and update have modules of their own."""

from typing import Any

import click

from vault.cli import inspection
from vault.cli.client import Client
from vault.cli.command import Group, argument, command, option, switch
from vault.cli.errors import ApiError, CommandError, joined
from vault.cli.removal import remove_each
from vault.cli.services.editing import edit
from vault.cli.services.listing import COLUMNS, HEADERS, service_rows
from vault.cli.shared_options import (
    asked,
    detach_option,
    format_option,
    list_options,
    no_trunc_option,
    pass_client,
    pretty_option,
    show,
)
from vault.cli.values.kinds import FILTER
from vault.cli.values.scalars import decimal_unsigned
from vault.cli.wire import filters

_HERE = "vault.cli.commands.service:"
_BESIDE = "vault.cli.commands."


@click.group(
    cls=Group,
    lazy={
        "create": (_BESIDE + "service_create:create", "Create a new service"),
        "inspect": (_HERE + "inspect", "Display detailed information on one or more services"),
        "logs": (_BESIDE + "service_logs:logs", "Fetch the logs of a service or task"),
        "ls": (_HERE + "ls", "List services"),
        "ps": (_HERE + "ps", "List the tasks of one or more services"),
        "rm": (_HERE + "rm", "Remove one or more services"),
        "rollback": (_HERE + "rollback", "Revert changes to a service's configuration"),
        "scale": (_HERE + "scale", "Scale one or multiple replicated services"),
        "update": (_BESIDE + "service_update:update", "Update a service"),
    },
    synonyms={"list": "ls", "remove": "rm"},
    help="Manage Swarm services",
)
def service() -> None:
    """Services."""


@command("[OPTIONS]", name="ls", text="List services", aliases=("vault service ls", "vault service list"))
@list_options
@pass_client
def ls(client: Client, wanted: tuple[tuple[str, str], ...], form: str | None, quiet: bool) -> None:
    """List services by name."""
    found = client.get("/services", filters=asked(wanted), status=None if quiet else True)
    show(service_rows(found), headers=HEADERS, columns=COLUMNS, form=form, quiet=quiet)


@command("[OPTIONS] SERVICE [SERVICE...]", name="ps", text="List the tasks of one or more services")
@argument("references", many=True)
@option("-f", "--filter", "wanted", kind=FILTER, many=True, text="Filter output based on conditions provided")
@option("--format", "form", text="Pretty-print tasks using a Go template")
@switch("--no-resolve", text="Do not map IDs to Names")
@no_trunc_option
@switch("-q", "--quiet", text="Only display task IDs")
@pass_client
def ps(client: Client, /, references: tuple[str, ...], wanted: tuple[tuple[str, str], ...], **style: Any) -> None:
    """List tasks, the newest of a slot first."""
    from vault.cli.services.tasks import node_filters, print_tasks

    ids, missing = _find(client, references)
    if not ids:
        raise CommandError("\n".join(missing))
    asked_for = [("service", identifier) for identifier in ids] + node_filters(client, wanted)
    print_tasks(client, client.get("/tasks", filters=filters(asked_for)), **style)
    if missing:
        raise CommandError("\n".join(missing))


def _find(client: Client, references: tuple[str, ...]) -> tuple[list[str], list[str]]:
    by_id = client.get("/services", filters=filters(("id", reference) for reference in references))
    by_name = client.get("/services", filters=filters(("name", reference) for reference in references))
    ids: list[str] = []
    missing: list[str] = []
    for reference in references:
        whole = [item["ID"] for item in by_id if item["ID"] == reference]
        named = [item["ID"] for item in by_name if item["Spec"]["Name"] == reference]
        begun = [item["ID"] for item in by_id if item["ID"].startswith(reference)]
        if not whole and not named and len(begun) > 1:
            raise CommandError(f"multiple services found with provided prefix: {reference}")
        matches = whole or named or begun
        if matches:
            ids.append(matches[0])
        else:
            missing.append(f"no such service: {reference}")
    return ids, missing


@command("[OPTIONS] SERVICE [SERVICE...]", name="inspect", text="Display detailed information on one or more services")
@argument("references", many=True)
@format_option
@pretty_option
@pass_client
def inspect(client: Client, references: tuple[str, ...], form: str | None, pretty: bool) -> None:
    """Show services, with the defaults that are in force."""

    def fetch(reference: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = client.get(f"/services/{reference}", insertDefaults=True)
        except ApiError as error:
            if error.status != 404:
                raise
            raise inspection.NotFound("service", reference) from None
        return found

    def human(item: dict[str, Any]) -> str:
        from vault.cli.services.pretty import pretty_service

        def names(identifier: str) -> str:
            name: str = client.get(f"/networks/{identifier}")["Name"]
            return name

        return pretty_service(item, names)

    inspection.show(references, form, fetch, human if pretty else None, "service")


@command(
    "SERVICE [SERVICE...]",
    name="rm",
    text="Remove one or more services",
    aliases=("vault service rm", "vault service remove"),
)
@argument("references", many=True)
@pass_client
def rm(client: Client, references: tuple[str, ...]) -> None:
    """Remove services and, in the background, their tasks."""
    remove_each(references, lambda reference: client.delete(f"/services/{reference}"))


@command("SERVICE=REPLICAS [SERVICE=REPLICAS...]", name="scale", text="Scale one or multiple replicated services")
@argument("scales", many=True)
@detach_option
@pass_client
@click.pass_context
def scale(ctx: click.Context, client: Client, scales: tuple[str, ...], detach: bool) -> None:
    """Change numbers of replicas, then wait for all."""
    for text in scales:
        name, _, count = text.partition("=")
        if not name or not count:
            path = ctx.command_path
            raise CommandError(
                f"invalid scale specifier '{text}'.\nSee '{path} --help'.\n\n"
                f"Usage:  {path} {scale.usage}\n\n{scale.help}"
            )
    errors: list[CommandError] = []
    scaled: dict[str, dict[str, Any]] = {}  # Name -> the spec before.
    for text in scales:
        name, _, count = text.partition("=")
        try:
            scaled[name] = _scale_one(client, name, count)
        except CommandError as error:
            errors.append(CommandError(f"{name}: {error}"))
    if not detach:
        from vault.cli.services.progress import wait_for

        for name, before in scaled.items():
            try:
                if not wait_for(client, name, before=before):
                    break
            except CommandError as error:
                errors.append(CommandError(f"{name}: {error}"))
    joined(errors)


def _scale_one(client: Client, name: str, count: str) -> dict[str, Any]:
    try:
        replicas = decimal_unsigned(count)
    except ValueError as error:
        raise CommandError(f"invalid replicas value {count}: {error}") from None

    def post(found: dict[str, Any]) -> Any:
        spec = {**found["Spec"], "Mode": _scaled(found["Spec"].get("Mode") or {}, replicas)}
        return client.post(f"/services/{found['ID']}/update", spec, version=found["Version"]["Index"])

    edited = edit(client, name, post)
    warn(edited.answer)
    click.echo(f"{name} scaled to {replicas}")
    return edited.before


def _scaled(mode: dict[str, Any], replicas: int) -> dict[str, Any]:
    for name, number in (("Replicated", "Replicas"), ("ReplicatedJob", "TotalCompletions")):
        if mode.get(name) is not None:
            return {name: {**mode[name], number: replicas}}
    raise CommandError("scale can only be used with replicated or replicated-job mode")


@command("[OPTIONS] SERVICE", name="rollback", text="Revert changes to a service's configuration")
@argument("reference")
@detach_option
@switch("-q", "--quiet", text="Suppress progress output")
@pass_client
def rollback(client: Client, reference: str, detach: bool, quiet: bool) -> None:
    """Go back to the former spec."""
    roll_back(client, reference, detach=detach, quiet=quiet)


def roll_back(client: Client, reference: str, *, detach: bool, quiet: bool) -> None:
    """Go back to the former spec of a service, and wait unless told not to."""
    found = client.get(f"/services/{reference}")
    answer = client.post(
        f"/services/{found['ID']}/update", found["Spec"], version=found["Version"]["Index"], rollback="previous"
    )
    warn(answer)
    click.echo(reference)
    if not detach:
        from vault.cli.services.progress import wait_for

        wait_for(client, reference, before=found["Spec"], quiet=quiet, rollback=True)


def warn(answer: dict[str, Any] | None) -> None:
    """Print the warnings of an answer on standard error."""
    for warning in (answer or {}).get("Warnings") or ():
        click.echo(warning, err=True)
