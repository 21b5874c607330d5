"""`vault network`: create, inspect, ls, rm, rotate-keys."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import click

from vault.cli import human, inspection
from vault.cli.client import Client
from vault.cli.command import Group, argument, command, option, switch
from vault.cli.errors import ApiError, CommandError
from vault.cli.removal import NothingRemoved, remove_each
from vault.cli.shared_options import asked, format_option, list_options, pass_client, show
from vault.cli.table import labels_text, natural_key
from vault.cli.values.kinds import LABEL, LIST, STRINGS
from vault.cli.values.scalars import pairs

HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}
_HERE = "vault.cli.commands.network:"


@click.group(
    cls=Group,
    lazy={
        "create": (_HERE + "create", "Create a network"),
        "inspect": (_HERE + "inspect", "Display detailed information on one or more networks"),
        "ls": (_HERE + "ls", "List networks"),
        "rm": (_HERE + "rm", "Remove one or more networks"),
        "rotate-keys": (_HERE + "rotate_keys", "Rotate the keys of encrypted networks now"),
    },
    synonyms={"list": "ls", "remove": "rm"},
    help="Manage networks",
)
def network() -> None:
    """Networks."""


@command("[OPTIONS] NETWORK", name="create", text="Create a network")
@argument("name")
@switch("--attachable", text="Enable manual container attachment")
@option("--aux-address", kind=LIST, many=True, text="Auxiliary IPv4 or IPv6 addresses used by Network driver")
@option("--config-from", default="", text="The network from which to copy the configuration")
@switch("--config-only", text="Create a configuration only network")
@option("-d", "--driver", default="overlay", shown='"overlay"', text="Driver to manage the Network")
@option("--gateway", kind=STRINGS, many=True, text="IPv4 or IPv6 Gateway for the master subnet")
@switch("--ingress", text="Create swarm routing-mesh network")
@switch("--internal", text="Restrict external access to the network")
@option("--ip-range", kind=STRINGS, many=True, text="Allocate container ip from a sub-range")
@option("--ipam-driver", default="default", shown='"default"', text="IP Address Management Driver")
@option("--ipam-opt", kind=LIST, many=True, text="Set IPAM driver specific options")
@switch("--ipv4", default=None, shown="true", text="Enable or disable IPv4 address assignment")
@switch("--ipv6", text="Enable or disable IPv6 address assignment")
@option("--label", "labels", kind=LABEL, many=True, text="Set metadata on a network")
@option("-o", "--opt", kind=LIST, many=True, text="Set driver specific options")
@option("--scope", default="", text="Control the network's scope")
@option("--subnet", kind=STRINGS, many=True, text="Subnet in CIDR format that represents a network segment")
@pass_client
def create(client: Client, /, name: str, **given: Any) -> None:
    """Create a network and print its id."""
    pools = address_pools(given["subnet"], given["ip_range"], given["gateway"], pairs(given["aux_address"]))
    body = {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": given["driver"],
        "Attachable": given["attachable"],
        "Internal": given["internal"],
        "Ingress": given["ingress"],
        "EnableIPv6": given["ipv6"],
        "Scope": given["scope"],
        "Options": pairs(given["opt"]),
        "Labels": pairs(given["labels"]),
        "IPAM": {"Driver": given["ipam_driver"], "Options": pairs(given["ipam_opt"]), "Config": pools},
        "ConfigOnly": given["config_only"],
        "ConfigFrom": {"Network": given["config_from"]} if given["config_from"] else None,
    }
    if given["ipv4"] is not None:
        body["EnableIPv4"] = given["ipv4"]
    answer = client.post("/networks/create", body)
    if answer.get("Warning"):
        click.echo(f"WARNING: {answer['Warning']}", err=True)
    click.echo(answer["Id"])


def address_pools(
    subnets: Sequence[str],
    ranges: Sequence[str],
    gateways: Sequence[str],
    aside: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Return subnets, each with the range, the gateway, and the addresses set aside that lie in it.  Pure."""
    import ipaddress

    pools: dict[Any, dict[str, Any]] = {}

    def pool_of(what: str, text: str) -> dict[str, Any]:
        with suppress(ValueError):
            address = ipaddress.ip_address(text.partition("/")[0])
            for net, pool in pools.items():
                if address in net:
                    return pool
        raise CommandError(f"no matching subnet for {what} {text}")

    for text in (part for group in subnets for part in group.split(",")):
        try:
            pools[ipaddress.ip_network(text, strict=False)] = {"Subnet": text}
        except ValueError:
            raise CommandError(f"invalid subnet {text}: invalid CIDR block notation") from None
    for what, field, groups in (("range", "IPRange", ranges), ("gateway", "Gateway", gateways)):
        for text in (part for group in groups for part in group.split(",")):
            pool = pool_of(what, text)
            if field in pool:
                raise CommandError(f"cannot configure multiple {field.lower()}s on the same subnet ({pool['Subnet']})")
            pool[field] = text
    for name, text in aside.items():
        pool_of("aux-address", text).setdefault("AuxiliaryAddresses", {})[name] = text
    return list(pools.values())


@command("[OPTIONS]", name="ls", text="List networks", aliases=("vault network ls", "vault network list"))
@list_options
@switch("--no-trunc", text="Do not truncate the output")
@pass_client
def ls(client: Client, wanted: tuple[tuple[str, str], ...], form: str | None, quiet: bool, no_trunc: bool) -> None:
    """List networks by name."""
    found = sorted(client.get("/networks", filters=asked(wanted)), key=lambda item: natural_key(item["Name"]))
    rows = [
        {
            "ID": item["Id"] if no_trunc else human.short_id(item["Id"]),
            "Name": item["Name"],
            "Driver": item["Driver"],
            "Scope": item["Scope"],
            "IPv6": "true" if item.get("EnableIPv6") else "false",
            "Internal": "true" if item.get("Internal") else "false",
            "Labels": labels_text(item.get("Labels")),
            "CreatedAt": human.timestamp(item["Created"]).replace("utc", "UTC"),
            "_labels": item.get("Labels"),
        }
        for item in found
    ]
    show(rows, headers=HEADERS, columns=("ID", "Name", "Driver", "Scope"), form=form, quiet=quiet)


@command("[OPTIONS] NETWORK [NETWORK...]", name="inspect", text="Display detailed information on one or more networks")
@argument("references", many=True)
@format_option
@switch("-v", "--verbose", text="Verbose output for diagnostics")
@pass_client
def inspect(client: Client, references: tuple[str, ...], form: str | None, verbose: bool) -> None:
    """Show networks; verbose, with the endpoints of all nodes."""
    asked_for = {"verbose": "true"} if verbose else {}
    inspection.inspect(references, form, lambda reference: dict(client.get(f"/networks/{reference}", **asked_for)))


@command(
    "NETWORK [NETWORK...]",
    name="rm",
    text="Remove one or more networks",
    aliases=("vault network rm", "vault network remove"),
)
@argument("references", many=True)
@switch("-f", "--force", text="Do not error if the network does not exist")
@pass_client
def rm(client: Client, references: tuple[str, ...], force: bool) -> None:
    """Remove networks that nothing uses."""

    def remove(reference: str) -> None:
        try:
            client.delete(f"/networks/{reference}")
        except ApiError as error:
            if force and error.status == 404:
                raise NothingRemoved from None
            raise

    remove_each(references, remove)


@command("", name="rotate-keys", text="Rotate the keys of encrypted networks now")
@pass_client
def rotate_keys(client: Client) -> None:
    """Begin to rotate keys, as happens by itself every 12 hours; no packet is lost meanwhile."""
    client.post("/vault/v1/networks/keys/rotate")
    click.echo("Rotation has begun.  `vault node inspect` shows the epoch that each node uses.")
