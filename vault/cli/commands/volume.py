"""`vault volume`: create, inspect, ls, rm; volumes are this node's."""

from typing import Any

import click

from vault.cli import inspection
from vault.cli.client import Client
from vault.cli.command import Group, argument, command, option, switch
from vault.cli.removal import remove_each
from vault.cli.shared_options import asked, format_option, list_options, pass_client, show
from vault.cli.table import labels_text, natural_key
from vault.cli.values.kinds import LABEL, LIST
from vault.cli.values.scalars import pairs

HEADERS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Mountpoint": "MOUNTPOINT",
    "Scope": "SCOPE",
    "Labels": "LABELS",
}
_HERE = "vault.cli.commands.volume:"


@click.group(
    cls=Group,
    lazy={
        "create": (_HERE + "create", "Create a volume"),
        "inspect": (_HERE + "inspect", "Display detailed information on one or more volumes"),
        "ls": (_HERE + "ls", "List volumes"),
        "rm": (_HERE + "rm", "Remove one or more volumes"),
    },
    synonyms={"list": "ls", "remove": "rm"},
    help="Manage volumes",
)
def volume() -> None:
    """Volumes."""


@command("[OPTIONS] [VOLUME]", name="create", text="Create a volume")
@argument("name", required=False)
@option("-d", "--driver", default="local", shown='"local"', text="Specify volume driver name")
@option("--label", "labels", kind=LABEL, many=True, text="Set metadata for a volume")
@option("-o", "--opt", "options", kind=LIST, many=True, text="Set driver specific options")
@pass_client
def create(client: Client, name: str | None, driver: str, labels: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Create a volume and print its name."""
    body = {"Name": name or "", "Driver": driver, "Labels": pairs(labels), "DriverOpts": pairs(options)}
    click.echo(client.post("/volumes/create", body)["Name"])


@command("[OPTIONS]", name="ls", text="List volumes", aliases=("vault volume ls", "vault volume list"))
@list_options
@pass_client
def ls(client: Client, wanted: tuple[tuple[str, str], ...], form: str | None, quiet: bool) -> None:
    """List volumes by name."""
    found = client.get("/volumes", filters=asked(wanted)).get("Volumes") or []
    rows: list[dict[str, Any]] = [
        {
            "Driver": item["Driver"],
            "Name": item["Name"],
            "Mountpoint": item.get("Mountpoint", ""),
            "Scope": item.get("Scope", "local"),
            "Labels": labels_text(item.get("Labels")),
            "_labels": item.get("Labels"),
        }
        for item in sorted(found, key=lambda item: natural_key(item["Name"]))
    ]
    show(rows, headers=HEADERS, columns=("Driver", "Name"), form=form, quiet=quiet, identity="Name")


@command("[OPTIONS] VOLUME [VOLUME...]", name="inspect", text="Display detailed information on one or more volumes")
@argument("references", many=True)
@format_option
@pass_client
def inspect(client: Client, references: tuple[str, ...], form: str | None) -> None:
    """Show volumes."""
    inspection.inspect(references, form, lambda reference: dict(client.get(f"/volumes/{reference}")))


@command(
    "[OPTIONS] VOLUME [VOLUME...]",
    name="rm",
    text="Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    aliases=("vault volume rm", "vault volume remove"),
)
@argument("references", many=True)
@switch("-f", "--force", text="Force the removal of one or more volumes")
@pass_client
def rm(client: Client, references: tuple[str, ...], force: bool) -> None:
    """Remove volumes that no container uses."""
    remove_each(references, lambda name: client.delete(f"/volumes/{name}", force="1" if force else None))
