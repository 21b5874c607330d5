"""`vault config`: create, inspect, ls, rm."""

from binascii import Error, a2b_base64, b2a_base64
from typing import Any

import click

from vault.cli import human, inspection
from vault.cli.client import Client
from vault.cli.command import Group, argument, command, option
from vault.cli.errors import ApiError, CommandError
from vault.cli.payload import read_payload
from vault.cli.removal import remove_each
from vault.cli.shared_options import asked, format_option, list_options, now_s, pass_client, pretty_option, show
from vault.cli.table import labels_text, natural_key
from vault.cli.values.kinds import LABEL
from vault.cli.values.scalars import pairs

LIMIT_BYTES = 1_024_000
HEADERS = {"ID": "ID", "Name": "NAME", "CreatedAt": "CREATED", "UpdatedAt": "UPDATED", "Labels": "LABELS"}
_HERE = "vault.cli.commands.config:"


@click.group(
    cls=Group,
    lazy={
        "create": (_HERE + "create", "Create a config from a file or STDIN"),
        "inspect": (_HERE + "inspect", "Display detailed information on one or more configs"),
        "ls": (_HERE + "ls", "List configs"),
        "rm": (_HERE + "rm", "Remove one or more configs"),
    },
    synonyms={"list": "ls", "remove": "rm"},
    help="Manage Swarm configs",
)
def config() -> None:
    """Configs."""


@command("[OPTIONS] CONFIG file|-", name="create", text="Create a config from a file or STDIN")
@argument("name")
@argument("file")
@option("-l", "--label", "labels", kind=LABEL, many=True, text="Config labels")
@option("--template-driver", text="Template driver")
@pass_client
def create(client: Client, name: str, file: str, labels: tuple[str, ...], template_driver: str | None) -> None:
    """Create a config and print its id."""
    try:
        data = read_payload("config", file, LIMIT_BYTES)
    except ApiError:
        raise
    except CommandError as error:
        raise CommandError(f'error reading content from "{file}": {error}') from None
    spec: dict[str, Any] = {"Name": name, "Labels": pairs(labels), "Data": b2a_base64(data, newline=False).decode()}
    if template_driver:
        spec["Templating"] = {"Name": template_driver}
    click.echo(client.post("/configs/create", spec)["ID"])


@command("[OPTIONS]", name="ls", text="List configs", aliases=("vault config ls", "vault config list"))
@list_options
@pass_client
def ls(client: Client, wanted: tuple[tuple[str, str], ...], form: str | None, quiet: bool) -> None:
    """List configs by name."""
    found = client.get("/configs", filters=asked(wanted))
    found.sort(key=lambda item: natural_key(item["Spec"]["Name"]))
    rows = [_row(item, now_s()) for item in found]
    show(rows, headers=HEADERS, columns=("ID", "Name", "CreatedAt", "UpdatedAt"), form=form, quiet=quiet)


def _row(item: dict[str, Any], now: float) -> dict[str, Any]:
    spec = item["Spec"]
    return {
        "ID": item["ID"],
        "Name": spec["Name"],
        "CreatedAt": human.ago(item["CreatedAt"], now),
        "UpdatedAt": human.ago(item["UpdatedAt"], now),
        "Labels": labels_text(spec.get("Labels")),
        "_labels": spec.get("Labels"),
    }


@command("[OPTIONS] CONFIG [CONFIG...]", name="inspect", text="Display detailed information on one or more configs")
@argument("references", many=True)
@format_option
@pretty_option
@pass_client
def inspect(client: Client, references: tuple[str, ...], form: str | None, pretty: bool) -> None:
    """Show configs, with their values."""

    def fetch(reference: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/configs/{reference}")
        return found

    inspection.show(references, form, fetch, _pretty if pretty else None, "config")


def _pretty(item: dict[str, Any]) -> str:
    spec = item["Spec"]
    try:
        data = a2b_base64(spec.get("Data") or "").decode(errors="replace")
    except Error:
        data = ""
    lines = [f"ID:\t\t\t{item['ID']}", f"Name:\t\t\t{spec['Name']}", *inspection.label_lines(spec.get("Labels"))]
    lines += [
        f"Created at:            \t{human.timestamp(item['CreatedAt'])}",
        f"Updated at:            \t{human.timestamp(item['UpdatedAt'])}",
    ]
    return "\n".join([*lines, "Data:", data])


@command(
    "CONFIG [CONFIG...]",
    name="rm",
    text="Remove one or more configs",
    aliases=("vault config rm", "vault config remove"),
)
@argument("references", many=True)
@pass_client
def rm(client: Client, references: tuple[str, ...]) -> None:
    """Remove configs; a service that still refers to one keeps it."""
    remove_each(references, lambda reference: client.delete(f"/configs/{reference}"))
