"""Finding what the options of a service name: secrets, configs, networks."""

from collections.abc import Iterable, Sequence
from typing import Any

from vault.cli.client import Client
from vault.cli.values.references import Reference, resolved
from vault.cli.wire import filters


def find_references(client: Client, kind: str, wanted: Sequence[Reference]) -> list[Reference]:
    """Return references with ids.  kind: `Secret` or `Config`.  Raises `CommandError` for the first unknown one."""
    if not wanted:
        return []
    path = f"/{kind.lower()}s"
    names = [reference[f"{kind}Name"] for reference in wanted]
    found = client.get(path, filters=filters(("name", name) for name in names))
    # The name filter matches prefixes; what it did not find may have been given by id.
    missing = [name for name in names if all(name != item["Spec"]["Name"] for item in found)]
    if missing:
        found += client.get(path, filters=filters(("id", name) for name in missing))
    return resolved(kind, wanted, found)


def network_id(client: Client, reference: str) -> str:
    """Return the id of a network of the swarm, given by name or id."""
    found: str = client.get(f"/networks/{reference}", scope="swarm")["Id"]
    return found


def find_networks(client: Client, wanted: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return attachments with ids in place of names."""
    return [{**attachment, "Target": network_id(client, attachment["Target"])} for attachment in wanted]
