"""`vault ps` and `vault container`: the containers of this node."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from vault.cli import human, inspection
from vault.cli.client import Client
from vault.cli.command import Group, argument, command, option, switch
from vault.cli.services.listing import without_digest
from vault.cli.shared_options import asked, format_option, list_options, no_trunc_option, now_s, pass_client, show
from vault.cli.table import labels_text
from vault.cli.values.kinds import INT

HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
    "CreatedAt": "CREATED AT",
    "State": "STATE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
}
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
MAX_COMMAND = 20
MAX_MOUNT = 15
_HERE = "vault.cli.commands."


@click.group(
    cls=Group,
    lazy={
        "exec": (_HERE + "execute:execute", "Execute a command in a running container"),
        "inspect": (_HERE + "containers:inspect", "Display detailed information on one or more containers"),
        "logs": (_HERE + "logs:logs", "Fetch the logs of a container"),
        "ls": (_HERE + "containers:ps", "List containers"),
    },
    synonyms={"list": "ls", "ps": "ls"},
    help="Look into the containers of this node",
)
def container() -> None:
    """Containers; services make and end them."""


@command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    name="inspect",
    text="Display detailed information on one or more containers",
)
@argument("references", many=True)
@format_option
@pass_client
def inspect(client: Client, references: tuple[str, ...], form: str | None) -> None:
    """Show containers as JSON or by template."""
    inspection.inspect(references, form, lambda reference: client.get(f"/containers/{reference}/json"))


@command(
    "[OPTIONS]",
    name="ps",
    text="List containers",
    aliases=("vault container ls", "vault container list", "vault container ps", "vault ps"),
)
@switch("-a", "--all", "everything", text="Show all containers (default shows just running)")
@list_options
@option("-n", "--last", kind=INT, default=-1, shown="-1", text="Show n last created containers (includes all states)")
@switch("-l", "--latest", text="Show the latest created container (includes all states)")
@no_trunc_option
@pass_client
def ps(
    client: Client,
    /,
    everything: bool,
    wanted: tuple[tuple[str, str], ...],
    last: int,
    latest: bool,
    no_trunc: bool,
    **style: Any,
) -> None:
    """List the containers on this node."""
    limit = 1 if latest else last
    found = client.get(
        "/containers/json", all="1" if everything else None, limit=limit if limit > 0 else None, filters=asked(wanted)
    )
    rows = [container_row(item, now_s(), trunc=not no_trunc) for item in found]
    show(rows, headers=HEADERS, columns=COLUMNS, **style)


def container_row(item: Mapping[str, Any], now: float, *, trunc: bool) -> dict[str, Any]:
    """Return the row of one container.  Pure."""
    run = item.get("Command") or ""
    names = [name.removeprefix("/") for name in item.get("Names") or ()]
    return {
        "ID": human.short_id(item["Id"]) if trunc else item["Id"],
        "Image": _image(item, trunc=trunc),
        "Command": _quoted(human.ellipsis(run, MAX_COMMAND) if trunc else run),
        "CreatedAt": human.unix_time(item["Created"]),
        "RunningFor": human.duration(now - item["Created"]) + " ago",
        "Ports": ports_text(item.get("Ports") or ()),
        "State": item.get("State", ""),
        "Status": item.get("Status", ""),
        "Names": (names or [""])[0] if trunc else ",".join(names),
        "Labels": labels_text(item.get("Labels")),
        "Mounts": ",".join(_mounts(item.get("Mounts") or (), trunc=trunc)),
        "Networks": ",".join((item.get("NetworkSettings") or {}).get("Networks") or {}),
        "_labels": item.get("Labels"),
    }


def _image(item: Mapping[str, Any], *, trunc: bool) -> str:
    image = item.get("Image") or "<no image>"
    if not trunc:
        return str(image)
    if human.short_id(image) == human.short_id(item.get("ImageID") or "") != "":
        return human.short_id(image)
    return without_digest(image)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _mounts(mounts: Iterable[Mapping[str, Any]], *, trunc: bool) -> list[str]:
    names = [str(mount.get("Name") or mount.get("Source") or "") for mount in mounts]
    return [human.ellipsis(name, MAX_MOUNT) if trunc else name for name in names]


def ports_text(ports: Iterable[Mapping[str, Any]]) -> str:
    """Return ports as `docker ps` does: `0.0.0.0:8080->80/tcp, 3306/tcp`.  Pure."""
    ordered = sorted(
        ports, key=lambda p: (p["PrivatePort"], p.get("IP", ""), p.get("PublicPort", 0), p.get("Type", ""))
    )
    groups: dict[str, list[list[int]]] = {}
    mapped: list[str] = []
    for port in ordered:
        number, kind, address = port["PrivatePort"], port.get("Type", "tcp"), port.get("IP")
        if address and port.get("PublicPort") != number:
            host = f"[{address}]" if ":" in address else address
            mapped.append(f"{host}:{port.get('PublicPort', 0)}->{number}/{kind}")
            continue
        runs = groups.setdefault(f"{address}/{kind}" if address else kind, [])
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [_group(key, first, last) for key, runs in groups.items() for first, last in runs]
    return ", ".join([*shown, *mapped])


def _group(key: str, first: int, last: int) -> str:
    address, slash, kind = key.rpartition("/")
    numbers = f"{first}-{last}" if last > first else str(first)
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{numbers}->{numbers}/{kind}" if slash else f"{numbers}/{kind}"
