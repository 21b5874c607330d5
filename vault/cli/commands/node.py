"""`vault node`: inspect, ls, ps, update.  What changes roles and members is in `node_roles`."""

from typing import Any

import click

from vault.cli import human, inspection
from vault.cli.client import Client
from vault.cli.command import Group, Kind, argument, command, option, switch
from vault.cli.commands.swarm import availability
from vault.cli.errors import ApiError, CommandError
from vault.cli.shared_options import (
    asked,
    format_option,
    list_options,
    no_trunc_option,
    pass_client,
    pretty_option,
    show,
)
from vault.cli.table import natural_key
from vault.cli.values.kinds import DURATION, FILTER, LABEL, LIST
from vault.cli.values.scalars import pairs
from vault.cli.wire import filters

HEADERS = {
    "ID": "ID",
    "_mark": " ",
    "Self": "",
    "Hostname": "HOSTNAME",
    "Status": "STATUS",
    "Availability": "AVAILABILITY",
    "ManagerStatus": "MANAGER STATUS",
    "EngineVersion": "ENGINE VERSION",
    "TLSStatus": "TLS STATUS",
}
COLUMNS = ("{{.ID}} {{._mark}}", "Hostname", "Status", "Availability", "ManagerStatus", "EngineVersion")
_HERE = "vault.cli.commands.node:"
_ROLES = "vault.cli.commands.node_roles:"


@click.group(
    cls=Group,
    lazy={
        "demote": (_ROLES + "demote", "Demote one or more nodes from manager in the swarm"),
        "drain": ("vault.cli.commands.node_drain:drain", "Let nodes give up their tasks, which run elsewhere then"),
        "inspect": (_HERE + "inspect", "Display detailed information on one or more nodes"),
        "ls": (_HERE + "ls", "List nodes in the swarm"),
        "promote": (_ROLES + "promote", "Promote one or more nodes to manager in the swarm"),
        "ps": (_HERE + "ps", "List tasks running on one or more nodes, defaults to current node"),
        "rebalance": ("vault.cli.commands.node_rebalance:rebalance", "Move tasks until nodes have their share of them"),
        "rm": (_ROLES + "rm", "Remove one or more nodes from the swarm"),
        "update": (_HERE + "update", "Update a node"),
    },
    synonyms={"list": "ls", "remove": "rm"},
    help="Manage Swarm nodes",
)
def node() -> None:
    """Nodes."""


@command("[OPTIONS]", name="ls", text="List nodes in the swarm", aliases=("vault node ls", "vault node list"))
@list_options
@pass_client
def ls(client: Client, wanted: tuple[tuple[str, str], ...], form: str | None, quiet: bool) -> None:
    """List nodes by host name; `*` marks this one."""
    found = client.get("/nodes", filters=asked(wanted))
    swarm = {} if quiet else client.get("/info").get("Swarm") or {}
    found.sort(key=lambda item: natural_key((item.get("Description") or {}).get("Hostname", "")))
    show([node_row(item, swarm) for item in found], headers=HEADERS, columns=COLUMNS, form=form, quiet=quiet)


def node_row(item: dict[str, Any], swarm: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a node.  swarm: what this node says of the swarm.  Pure."""
    description, manager = item.get("Description") or {}, item.get("ManagerStatus") or {}
    mine = item["ID"] == swarm.get("NodeID")
    reachability = "Leader" if manager.get("Leader") else manager.get("Reachability", "").capitalize()
    trusted = (swarm.get("Cluster") or {}).get("TLSInfo")
    return {
        "ID": item["ID"],
        "_mark": "*" if mine else " ",
        "Self": mine,
        "Hostname": description.get("Hostname", ""),
        "Status": item["Status"].get("State", "").capitalize(),
        "Availability": item["Spec"].get("Availability", "").capitalize(),
        "ManagerStatus": reachability,
        "EngineVersion": (description.get("Engine") or {}).get("EngineVersion", ""),
        "TLSStatus": _tls_status(description.get("TLSInfo"), trusted),
        "_labels": item["Spec"].get("Labels"),
    }


def _tls_status(info: dict[str, Any] | None, trusted: dict[str, Any] | None) -> str:
    if not info or not trusted:
        return "Unknown"
    return "Ready" if info == trusted else "Needs Rotation"


def role(text: str) -> str:
    """Return a role in lower case; what is none ends the command with 1, as with Docker."""
    if text.lower() not in ("worker", "manager"):
        raise CommandError(f'invalid role "{text}", only worker and manager are supported')
    return text.lower()


def own_id(client: Client, reference: str) -> str:
    """Return this node's id for `self`."""
    if reference != "self":
        return reference
    identifier = client.get("/info")["Swarm"].get("NodeID", "")
    # A node in no swarm has no id; asking for itself lets the daemon say why.
    return identifier or reference


@command("[OPTIONS] self|NODE [NODE...]", name="inspect", text="Display detailed information on one or more nodes")
@argument("references", many=True)
@format_option
@pretty_option
@pass_client
def inspect(client: Client, references: tuple[str, ...], form: str | None, pretty: bool) -> None:
    """Show nodes."""

    def fetch(reference: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/nodes/{own_id(client, reference)}")
        return found

    inspection.show(references, form, fetch, pretty_node if pretty else None, "node")


def pretty_node(item: dict[str, Any]) -> str:
    """Return a node in Docker's human form.  Pure."""
    spec, description, status = item["Spec"], item["Description"], item["Status"]
    platform, resources = description.get("Platform") or {}, description.get("Resources") or {}
    lines = [f"ID:\t\t\t{item['ID']}"]
    lines += [f"Name:\t\t\t{spec['Name']}"] if spec.get("Name") else []
    lines += inspection.label_lines(spec.get("Labels"))
    lines += [
        f"Hostname:              \t{description.get('Hostname', '')}",
        f"Joined at:             \t{human.timestamp(item['CreatedAt'])}",
        "Status:",
        f" State:\t\t\t{status.get('State', '').capitalize()}",
    ]
    lines += [f" Message:              \t{status['Message'].capitalize()}"] if status.get("Message") else []
    lines.append(f" Availability:         \t{spec.get('Availability', '').capitalize()}")
    lines += [f" Address:\t\t{status['Addr']}"] if status.get("Addr") else []
    lines += _manager_lines(item.get("ManagerStatus"))
    lines += [
        "Platform:",
        f" Operating System:\t{platform.get('OS', '')}",
        f" Architecture:\t\t{platform.get('Architecture', '')}",
        "Resources:",
        f" CPUs:\t\t\t{resources.get('NanoCPUs', 0) // 1_000_000_000}",
        f" Memory:\t\t{human.binary_size(resources.get('MemoryBytes', 0))}",
    ]
    return "\n".join([*lines, *_engine_lines(description)])


def _manager_lines(manager: dict[str, Any] | None) -> list[str]:
    if not manager:
        return []
    return [
        "Manager Status:",
        f" Address:\t\t{manager.get('Addr', '')}",
        f" Raft Status:\t\t{manager.get('Reachability', '').capitalize()}",
        f" Leader:\t\t{'Yes' if manager.get('Leader') else 'No'}",
    ]


def _engine_lines(description: dict[str, Any]) -> list[str]:
    engine, tls = description.get("Engine") or {}, description.get("TLSInfo")
    plugins: dict[str, list[str]] = {}
    for plugin in engine.get("Plugins") or ():
        plugins.setdefault(plugin["Type"], []).append(plugin["Name"])
    lines = ["Plugins:", *(f" {kind}:\t\t{', '.join(plugins[kind])}" for kind in sorted(plugins))] if plugins else []
    lines.append(f"Engine Version:\t\t{engine.get('EngineVersion', '')}")
    if engine.get("Labels"):
        lines += ["Engine Labels:", *inspection.label_lines(engine["Labels"])[1:]]
    if tls:
        lines += [
            "TLS Info:",
            f" TrustRoot:\n{tls.get('TrustRoot', '')}",
            f" Issuer Subject:\t{tls.get('CertIssuerSubject', '')}",
            f" Issuer Public Key:\t{tls.get('CertIssuerPublicKey', '')}",
        ]
    return lines


@command("[OPTIONS] [NODE...]", name="ps", text="List tasks running on one or more nodes, defaults to current node")
@argument("references", required=False, many=True)
@option("-f", "--filter", "wanted", kind=FILTER, many=True, text="Filter output based on conditions provided")
@option("--format", "form", text="Pretty-print tasks using a Go template")
@switch("--no-resolve", text="Do not map IDs to Names")
@no_trunc_option
@switch("-q", "--quiet", text="Only display task IDs")
@pass_client
def ps(client: Client, /, references: tuple[str, ...], wanted: tuple[tuple[str, str], ...], **style: Any) -> None:
    """List the tasks on nodes."""
    from vault.cli.services.tasks import print_tasks

    tasks: list[dict[str, Any]] = []
    errors: list[str] = []
    for reference in references or ("self",):
        try:
            identifier = client.get(f"/nodes/{own_id(client, reference)}")["ID"]
        except ApiError as error:
            errors.append(str(error))
            continue
        tasks += client.get("/tasks", filters=filters([*wanted, ("node", identifier)]))
    if tasks or not errors:
        print_tasks(client, tasks, **style)
    if errors:
        raise CommandError("\n".join(errors))


@command("[OPTIONS] NODE", name="update", text="Update a node")
@argument("reference")
@option(
    "--availability",
    kind=Kind("string", availability),
    text='Availability of the node ("active", "pause", "drain")',
)
@option("--label-add", kind=LABEL, many=True, text='Add or update a node label ("key=value")')
@option("--label-rm", kind=LIST, many=True, text="Remove a node label if exists")
@option("--role", kind=Kind("string", role), text='Role of the node ("worker", "manager")')
@option("--timeout", kind=DURATION, text="With --wait: give up after this time (ns|us|ms|s|m|h) (default 0 = never)")
@switch("-w", "--wait", text="With --availability drain: wait until no task runs there and all of them run elsewhere")
@pass_client
def update(client: Client, /, reference: str, **given: Any) -> None:
    """Change a node's labels or role, or whether it takes tasks."""
    from vault.cli.commands.node_drain import check_timeout, edit_node

    check_timeout(given["timeout"], wait=given["wait"])
    if given["wait"] and given["availability"] != "drain":
        raise CommandError("--wait goes with --availability drain")

    def change(spec: dict[str, Any]) -> dict[str, Any]:
        labels = {**(spec.get("Labels") or {}), **pairs(given["label_add"])}
        for key in given["label_rm"]:
            if key not in labels:
                raise CommandError(f"key {key} doesn't exist in node's labels")
            del labels[key]
        changed = {**spec, "Labels": labels}
        if given["availability"]:
            changed["Availability"] = given["availability"]
        if given["role"]:
            changed["Role"] = given["role"]
        return changed

    identifier = edit_node(client, reference, change)
    click.echo(reference)
    if given["wait"]:
        from vault.cli.draining import wait_until_drained

        wait_until_drained(client, {reference: identifier}, timeout_ns=given["timeout"] or 0, quiet=False)
