"""`vault swarm`: init, leave, update."""

from typing import Any

import click

from vault.cli.client import Client
from vault.cli.command import Group, Kind, command, option, switch
from vault.cli.errors import ApiError, CommandError
from vault.cli.shared_options import pass_client
from vault.cli.values.kinds import DURATION, INT, STRINGS, UINT

AVAILABILITIES = ("active", "pause", "drain")
_HERE = "vault.cli.commands.swarm:"


@click.group(
    cls=Group,
    lazy={
        "init": (_HERE + "init", "Initialize a swarm"),
        "leave": (_HERE + "leave", "Leave the swarm"),
        "update": (_HERE + "update", "Update the swarm"),
    },
    help="Manage Swarm",
)
def swarm() -> None:
    """The swarm."""


def availability(text: str) -> str:
    """Return an availability in lower case."""
    if text.lower() not in AVAILABILITIES:
        raise ValueError(f'invalid availability "{text}", only active, pause and drain are supported')
    return text.lower()


def _node_address(text: str) -> str:
    host, _, port = text.rpartition(":") if ":" in text and not text.endswith("]") else (text, "", "")
    if not host or (port and not port.isdigit()):
        raise ValueError(f'invalid address "{text}": use <ip|interface>[:port]')
    return text


ADDRESS = Kind("string", _node_address)


@command("[OPTIONS]", name="init", text="Initialize a swarm")
@option("--advertise-addr", kind=ADDRESS, text='Advertised address (format: "<ip|interface>[:port]")')
@option(
    "--listen-addr",
    kind=ADDRESS,
    default="0.0.0.0:2377",
    shown="0.0.0.0:2377",
    text='Listen address (format: "<ip|interface>[:port]")',
)
@option(
    "--availability",
    kind=Kind("string", availability),
    shown='"active"',
    text='Availability of the node ("active", "pause", "drain")',
)
@option(
    "--cert-expiry", kind=DURATION, shown="2160h0m0s", text="Validity period for node certificates (ns|us|ms|s|m|h)"
)
@option("--default-addr-pool", kind=STRINGS, many=True, text="Default address pool in CIDR format")
@option(
    "--default-addr-pool-mask-length", kind=UINT, default=24, shown="24", text="Default address pool subnet mask length"
)
@option("--task-history-limit", kind=INT, shown="5", text="Task history retention limit")
@pass_client
def init(client: Client, /, **given: Any) -> None:
    """Make this node the first manager of a new swarm."""
    body = {
        "ListenAddr": given["listen_addr"],
        "AdvertiseAddr": given["advertise_addr"] or "",
        "DataPathAddr": "",
        "DataPathPort": 0,
        "DefaultAddrPool": list(given["default_addr_pool"]) or None,
        "ForceNewCluster": False,
        "Spec": _spec({}, given),
        "AutoLockManagers": False,
        "Availability": given["availability"] or "",
        "SubnetSize": given["default_addr_pool_mask_length"],
    }
    try:
        node = client.post("/swarm/init", body)
    except ApiError as error:
        if (
            "could not choose an IP address to advertise" in error.message
            or "could not find the system's IP" in error.message
        ):
            raise CommandError(f"{error} - specify one with --advertise-addr") from None
        raise
    click.echo(f"Swarm initialized: current node ({node}) is now a manager.")
    click.echo("\nAutolock is off: the key that opens the store lies on the same disk as the store.")


@command("[OPTIONS]", name="leave", text="Leave the swarm")
@switch("-f", "--force", text="Force this node to leave the swarm, ignoring warnings")
@pass_client
def leave(client: Client, force: bool) -> None:
    """Leave the swarm."""
    client.post("/swarm/leave", force="1" if force else None)
    click.echo("Node left the swarm.")


@command("[OPTIONS]", name="update", text="Update the swarm")
@option(
    "--cert-expiry", kind=DURATION, shown="2160h0m0s", text="Validity period for node certificates (ns|us|ms|s|m|h)"
)
@option("--task-history-limit", kind=INT, shown="5", text="Task history retention limit")
@pass_client
@click.pass_context
def update(ctx: click.Context, client: Client, /, **given: Any) -> None:
    """Change the settings of the swarm."""
    if all(value is None for value in given.values()):
        click.echo(ctx.get_help(), err=True)
        return
    found = client.get("/swarm")
    client.post("/swarm/update", _spec(found["Spec"], given), version=found["Version"]["Index"])
    click.echo("Swarm updated.")


def _spec(spec: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    changed = dict(spec)
    changed.setdefault("Labels", {})
    if given["task_history_limit"] is not None:
        changed["Orchestration"] = {"TaskHistoryRetentionLimit": given["task_history_limit"]}
    if given["cert_expiry"] is not None:
        changed["CAConfig"] = {**changed.get("CAConfig", {}), "NodeCertExpiry": given["cert_expiry"]}
    return changed
