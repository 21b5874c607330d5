"""Rebalances as the command line speaks of them.  Pure, but for `node_names`, which asks."""

from collections.abc import Mapping
from typing import Any

from vault.cli.client import Client

Answer = Mapping[str, Any]


def node_names(client: Client) -> dict[str, str]:
    """Return host names by node id."""
    return {
        found["ID"]: (found.get("Description") or {}).get("Hostname") or found["ID"] for found in client.get("/nodes")
    }


def move_lines(answer: Answer, names: Mapping[str, str]) -> list[str]:
    """Return `web.2: node1 -> node2` for each move."""
    return [
        f"{move['Name']}: {names.get(move['From'], move['From'])} -> {names.get(move['To'], move['To'])}"
        for move in answer["Moves"]
    ]


def skipped_lines(answer: Answer) -> list[str]:
    """Return which services stay as they are, and why."""
    return [f"{one['Service']} stays: {one['Reason']}" for one in answer.get("Skipped") or ()]
