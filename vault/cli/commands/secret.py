"""`vault secret`: create, inspect, ls, rm.  Values go in; no command ever shows one."""

from binascii import b2a_base64
from typing import Any

import click

from vault.cli import human, inspection
from vault.cli.client import Client
from vault.cli.command import Group, argument, command, option
from vault.cli.errors import CommandError
from vault.cli.payload import read_payload
from vault.cli.removal import remove_each
from vault.cli.shared_options import asked, format_option, list_options, now_s, pass_client, pretty_option, show
from vault.cli.table import labels_text, natural_key
from vault.cli.values.kinds import LABEL
from vault.cli.values.scalars import pairs

LIMIT_BYTES = 512_000
HEADERS = {
    "ID": "ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "CreatedAt": "CREATED",
    "UpdatedAt": "UPDATED",
    "Labels": "LABELS",
}
_HERE = "vault.cli.commands.secret:"


@click.group(
    cls=Group,
    lazy={
        "create": (_HERE + "create", "Create a secret from a file or STDIN as content"),
        "inspect": (_HERE + "inspect", "Display detailed information on one or more secrets"),
        "ls": (_HERE + "ls", "List secrets"),
        "rm": (_HERE + "rm", "Remove one or more secrets"),
    },
    synonyms={"list": "ls", "remove": "rm"},
    help="Manage Swarm secrets",
)
def secret() -> None:
    """Secrets."""


@command("[OPTIONS] SECRET [file|-]", name="create", text="Create a secret from a file or STDIN as content")
@argument("name")
@argument("file", required=False)
@option("-d", "--driver", text="Secret driver")
@option("-l", "--label", "labels", kind=LABEL, many=True, text="Secret labels")
@option("--template-driver", text="Template driver")
@pass_client
def create(
    client: Client,
    name: str,
    file: str | None,
    driver: str | None,
    labels: tuple[str, ...],
    template_driver: str | None,
) -> None:
    """Create a secret and print its id."""
    spec: dict[str, Any] = {"Name": name, "Labels": pairs(labels)}
    if driver:
        if file:
            raise CommandError("when using secret driver secret data must be empty")
        spec["Driver"] = {"Name": driver}
    else:
        spec["Data"] = b2a_base64(read_payload("secret", file, LIMIT_BYTES), newline=False).decode()
    if template_driver:
        spec["Templating"] = {"Name": template_driver}
    click.echo(client.post("/secrets/create", spec)["ID"])


@command("[OPTIONS]", name="ls", text="List secrets", aliases=("vault secret ls", "vault secret list"))
@list_options
@pass_client
def ls(client: Client, wanted: tuple[tuple[str, str], ...], form: str | None, quiet: bool) -> None:
    """List secrets by name."""
    found = client.get("/secrets", filters=asked(wanted))
    found.sort(key=lambda item: natural_key(item["Spec"]["Name"]))
    rows = [_row(item, now_s()) for item in found]
    show(rows, headers=HEADERS, columns=("ID", "Name", "Driver", "CreatedAt", "UpdatedAt"), form=form, quiet=quiet)


def _row(item: dict[str, Any], now: float) -> dict[str, Any]:
    spec = item["Spec"]
    return {
        "ID": item["ID"],
        "Name": spec["Name"],
        "Driver": (spec.get("Driver") or {}).get("Name", ""),
        "CreatedAt": human.ago(item["CreatedAt"], now),
        "UpdatedAt": human.ago(item["UpdatedAt"], now),
        "Labels": labels_text(spec.get("Labels")),
        "_labels": spec.get("Labels"),
    }


@command("[OPTIONS] SECRET [SECRET...]", name="inspect", text="Display detailed information on one or more secrets")
@argument("references", many=True)
@format_option
@pretty_option
@pass_client
def inspect(client: Client, references: tuple[str, ...], form: str | None, pretty: bool) -> None:
    """Show what is known of secrets, but for their values."""

    def fetch(reference: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/secrets/{reference}")
        return found

    inspection.show(references, form, fetch, _pretty if pretty else None, "secret")


def _pretty(item: dict[str, Any]) -> str:
    spec = item["Spec"]
    lines = [f"ID:              {item['ID']}", f"Name:              {spec['Name']}"]
    lines += inspection.label_lines(spec.get("Labels"))
    lines += [
        f"Driver:            {(spec.get('Driver') or {}).get('Name', '')}",
        f"Created at:        {human.timestamp(item['CreatedAt'])}",
        f"Updated at:        {human.timestamp(item['UpdatedAt'])}",
    ]
    return "\n".join(lines)


@command(
    "SECRET [SECRET...]",
    name="rm",
    text="Remove one or more secrets",
    aliases=("vault secret rm", "vault secret remove"),
)
@argument("references", many=True)
@pass_client
def rm(client: Client, references: tuple[str, ...]) -> None:
    """Remove secrets; a service that still refers to one keeps it."""
    remove_each(references, lambda reference: client.delete(f"/secrets/{reference}"))
