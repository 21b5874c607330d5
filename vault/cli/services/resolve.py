"""Finding what the options of a service name: secrets, configs, networks, registry credentials."""

import json
import os
from binascii import a2b_base64, b2a_base64
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


def registry_auth(image: str, path: str | None = None) -> str | None:
    """Return X-Registry-Auth for an image's registry from Docker's client configuration; None if it has none.

    path: the configuration file; `$DOCKER_CONFIG/config.json` or `~/.docker/config.json` if None.
    """
    folder = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    try:
        with open(path or os.path.join(folder, "config.json"), encoding="utf-8") as stream:
            known = json.load(stream).get("auths") or {}
    except (OSError, ValueError, AttributeError):
        return None
    first = image.partition("/")[0] if "/" in image else ""
    registry = first if "." in first or ":" in first or first == "localhost" else "https://index.docker.io/v1/"
    entry = known.get(registry)
    if not isinstance(entry, dict) or not entry.get("auth"):
        return None
    try:
        username, _, password = a2b_base64(entry["auth"]).decode().partition(":")
    except ValueError:
        return None
    credentials = {"username": username, "password": password, "serveraddress": registry}
    return b2a_base64(json.dumps(credentials).encode(), newline=False).decode().replace("+", "-").replace("/", "_")
