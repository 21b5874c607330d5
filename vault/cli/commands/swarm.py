"""`vault swarm`: init, join, leave, update.  The rest of the group is in `swarm_keys`, `swarm_ca`,
`swarm_data_key`, `swarm_backup`."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import click

from vault.cli.client import Client
from vault.cli.command import Group, Kind, argument, command, option, switch
from vault.cli.errors import ApiError, CommandError
from vault.cli.overtaken import until_not_overtaken
from vault.cli.shared_options import pass_client
from vault.cli.values.kinds import DURATION, INT, UINT

Function = TypeVar("Function", bound=Callable[..., Any])
AVAILABILITIES = ("active", "pause", "drain")
_HERE = "vault.cli.commands.swarm:"
_KEYS = "vault.cli.commands.swarm_keys:"
_BACKUP = "vault.cli.commands.swarm_backup:"


@click.group(
    cls=Group,
    lazy={
        "backup": (_BACKUP + "backup", "Write a sealed backup of the swarm to a file"),
        "ca": ("vault.cli.commands.swarm_ca:ca", "Display and rotate the root CA"),
        "data-key": (
            "vault.cli.commands.swarm_data_key:data_key",
            "Display and rotate the data key that the store is sealed under",
        ),
        "init": (_HERE + "init", "Initialize a swarm"),
        "join": (_HERE + "join", "Join a swarm as a node and/or manager"),
        "join-token": (_KEYS + "join_token", "Manage join tokens"),
        "leave": (_HERE + "leave", "Leave the swarm"),
        "restore": (_BACKUP + "restore", "Make a swarm of a backup, with this node as its manager"),
        "unlock": (_KEYS + "unlock", "Unlock swarm"),
        "unlock-key": (_KEYS + "unlock_key", "Manage the unlock key"),
        "update": (_HERE + "update", "Update the swarm"),
    },
    help="Manage Swarm",
)
def swarm() -> None:
    """The swarm."""


def availability(text: str) -> str:
    """Return an availability in lower case; what is none ends the command with 1, as with Docker."""
    if text.lower() not in AVAILABILITIES:
        raise CommandError(f'invalid availability "{text}", only active, pause and drain are supported')
    return text.lower()


def _node_address(text: str) -> str:
    host, _, port = text.rpartition(":") if ":" in text and not text.endswith("]") else (text, "", "")
    if not host or (port and not port.isdigit()):
        raise ValueError(f'invalid address "{text}": use <ip|interface>[:port]')
    return text


def _external_ca(text: str) -> str:
    raise ValueError(
        "external CAs are not supported: leave the flag out, and the managers sign certificates themselves"
    )


def _pools(text: str) -> list[str]:
    import ipaddress

    pools = [pool.strip() for pool in text.split(",")]
    for pool in pools:
        with suppress(ValueError):
            ipaddress.ip_network(pool, strict=False)
            if "/" in pool:
                continue
        raise ValueError(f"invalid string being converted to CIDR: {text}: use an address and a length, as 10.0.0.0/8")
    return pools


ADDRESS = Kind("string", _node_address)
POOLS = Kind("ipNetSlice", _pools)
EXTERNAL_CA = Kind("external-ca", _external_ca)


def address_options(function: Function) -> Function:
    """Where this node is to be reached: options of what brings a node into a swarm."""
    function = option("--advertise-addr", kind=ADDRESS, text='Advertised address (format: "<ip|interface>[:port]")')(
        function
    )
    function = option(
        "--data-path-addr",
        kind=Kind("string", str),
        text='Address or interface to use for data path traffic (format: "<ip|interface>")',
    )(function)
    return option(
        "--listen-addr",
        kind=ADDRESS,
        default="0.0.0.0:2377",
        shown="0.0.0.0:2377",
        text='Listen address (format: "<ip|interface>[:port]")',
    )(function)


def availability_option(function: Function) -> Function:
    """`--availability` of what brings a node into a swarm."""
    return option(
        "--availability",
        kind=Kind("string", availability),
        shown='"active"',
        text='Availability of the node ("active", "pause", "drain")',
    )(function)


def setting_options(function: Function) -> Function:
    """Settings of a swarm, at `init` and `update`."""
    for declare in (
        option(
            "--cert-expiry",
            kind=DURATION,
            shown="2160h0m0s",
            text="Validity period for node certificates (ns|us|ms|s|m|h)",
        ),
        option(
            "--dispatcher-heartbeat", kind=DURATION, shown="5s", text="Dispatcher heartbeat period (ns|us|ms|s|m|h)"
        ),
        option("--external-ca", kind=EXTERNAL_CA, text="Specifications of one or more certificate signing endpoints"),
        option("--max-snapshots", kind=UINT, text="Number of additional Raft snapshots to retain"),
        option("--snapshot-interval", kind=UINT, shown="10000", text="Number of log entries between Raft snapshots"),
        option("--task-history-limit", kind=INT, shown="5", text="Task history retention limit"),
    ):
        function = declare(function)
    return function


@command("[OPTIONS]", name="init", text="Initialize a swarm")
@address_options
@availability_option
@setting_options
@switch("--autolock", text="Enable manager autolocking (requiring an unlock key to start a stopped manager)")
@option(
    "--data-path-port",
    kind=UINT,
    default=0,
    text="Port number to use for data path traffic (1024 - 49151). If no value is set or is set to 0, the default port "
    "(4789) is used.",
)
@option("--default-addr-pool", kind=POOLS, many=True, text="Default address pool in CIDR format")
@option(
    "--default-addr-pool-mask-length", kind=UINT, default=24, shown="24", text="Default address pool subnet mask length"
)
@switch("--force-new-cluster", text="Force create a new cluster from current state")
@pass_client
def init(client: Client, /, **given: Any) -> None:
    """Make this node the first manager of a new swarm."""
    body = {
        "ListenAddr": given["listen_addr"],
        "AdvertiseAddr": given["advertise_addr"] or "",
        "DataPathAddr": given["data_path_addr"] or "",
        "DataPathPort": given["data_path_port"],
        "DefaultAddrPool": [pool for pools in given["default_addr_pool"] for pool in pools] or None,
        "ForceNewCluster": given["force_new_cluster"],
        "Spec": with_settings({}, given),
        "AutoLockManagers": given["autolock"],
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
    say_initialized(client, node, f"Swarm initialized: current node ({node}) is now a manager.")


def say_initialized(client: Client, node: str, opening: str) -> None:
    """Print what a first manager's operator needs: how others join, and the unlock key or that there is none."""
    click.echo(f"{opening}\n")
    click.echo(join_command(client, node, "worker"), nl=False)
    click.echo("To add a manager to this swarm, run 'vault swarm join-token manager' and follow the instructions.")
    key = client.get("/swarm/unlockkey").get("UnlockKey", "")
    if key:
        click.echo("\n" + unlock_text(key), nl=False)
    else:
        click.echo("\nAutolock is off: the key that opens the store lies on the same disk as the store.")


def join_command(client: Client, node: str, role: str) -> str:
    """Return the command that adds a node in a role, as a manager of id `node` tells it."""
    found = client.get(f"/nodes/{node}").get("ManagerStatus")
    token = client.get("/swarm")["JoinTokens"][role.capitalize()]
    if not found:
        return ""
    return (
        f"To add a {role} to this swarm, run the following command:\n\n"
        f"    vault swarm join --token {token} {found['Addr']}\n\n"
    )


def unlock_text(key: str) -> str:
    """Return what to do with an unlock key.  Pure."""
    return (
        "To unlock a swarm manager after it restarts, run the `vault swarm unlock`\n"
        f"command and provide the following key:\n\n    {key}\n\n"
        "Remember to store this key in a password manager, since without it you\n"
        "will not be able to restart the manager.\n"
    )


@command("[OPTIONS] HOST:PORT", name="join", text="Join a swarm as a node and/or manager")
@argument("remote")
@address_options
@availability_option
@option("--token", text="Token for entry into the swarm")
@pass_client
def join(client: Client, /, remote: str, **given: Any) -> None:
    """Make this node a member of a swarm."""
    body = {
        "ListenAddr": given["listen_addr"],
        "AdvertiseAddr": given["advertise_addr"] or "",
        "DataPathAddr": given["data_path_addr"] or "",
        "RemoteAddrs": [remote],
        "JoinToken": given["token"] or "",
        "Availability": given["availability"] or "",
    }
    client.post("/swarm/join", body)
    found = client.get("/info").get("Swarm") or {}
    click.echo(f"This node joined a swarm as a {'manager' if found.get('ControlAvailable') else 'worker'}.")
    warn_of_managers(found)


def warn_of_managers(found: dict[str, Any]) -> None:
    """Print what a daemon's `Swarm` information warns of."""
    for warning in found.get("Warnings") or ():
        click.echo(warning, err=True)


@command("[OPTIONS]", name="leave", text="Leave the swarm")
@switch("-f", "--force", text="Force this node to leave the swarm, ignoring warnings")
@pass_client
def leave(client: Client, force: bool) -> None:
    """Leave the swarm."""
    client.post("/swarm/leave", force="1" if force else None)
    click.echo("Node left the swarm.")


@command("[OPTIONS]", name="update", text="Update the swarm")
@setting_options
@switch("--autolock", default=None, text="Change manager autolocking setting (true|false)")
@pass_client
@click.pass_context
def update(ctx: click.Context, client: Client, /, **given: Any) -> None:
    """Change the settings of the swarm."""
    if all(value is None for value in given.values()):
        click.echo(ctx.get_help(), err=True)
        return

    def change() -> bool:
        found = client.get("/swarm")
        client.post("/swarm/update", with_settings(found["Spec"], given), version=found["Version"]["Index"])
        return bool((found["Spec"].get("EncryptionConfig") or {}).get("AutoLockManagers", False))

    was_locked = until_not_overtaken(change)
    click.echo("Swarm updated.")
    if given["autolock"] and not was_locked:
        click.echo(unlock_text(client.get("/swarm/unlockkey").get("UnlockKey", "")), nl=False)


def with_settings(spec: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a swarm's spec with the settings that were given.  Pure."""
    changed = dict(spec)
    changed.setdefault("Labels", {})
    for section, field, value in (
        ("Orchestration", "TaskHistoryRetentionLimit", given["task_history_limit"]),
        ("CAConfig", "NodeCertExpiry", given["cert_expiry"]),
        ("Dispatcher", "HeartbeatPeriod", given["dispatcher_heartbeat"]),
        ("Raft", "KeepOldSnapshots", given["max_snapshots"]),
        ("Raft", "SnapshotInterval", given["snapshot_interval"]),
        ("EncryptionConfig", "AutoLockManagers", given["autolock"]),
    ):
        if value is not None:
            changed[section] = {**(changed.get(section) or {}), field: value}
    return changed
