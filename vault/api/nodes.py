"""/nodes: the members of the cluster."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import decode, read
from vault.api.context import Context, Endpoint, flag, posted_version
from vault.api.filters import Filters, matches_labels, matches_prefix, one_of, parse_filters
from vault.api.lookup import find_node
from vault.api.ports import Quorum
from vault.api.shown import shown_node
from vault.model.node import Node, NodeSpec
from vault.store import rules_cluster

FILTERS = ("id", "name", "label", "node.label", "role", "membership")
MEMBERSHIPS = ("accepted", "pending")


class Nodes:
    """Handlers of /nodes."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint("GET", "/nodes", self.listing, replies=list[Node], query=("filters",)),
            Endpoint("GET", "/nodes/{id}", self.inspect, replies=Node),
            Endpoint("DELETE", "/nodes/{id}", self.remove, query=("force",)),
            Endpoint("POST", "/nodes/{id}/update", self.update, posts=NodeSpec, query=("version",)),
        ]

    async def listing(self, request: Request) -> Response:
        """List nodes."""
        snapshot = self.context.manager.store().committed
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        one_of(filters, "role", lambda role: role in rules_cluster.ROLES)
        one_of(filters, "membership", lambda membership: membership in MEMBERSHIPS)
        found = sorted(snapshot.nodes.values(), key=lambda node: node.id)
        quorum = self.context.manager.quorum()
        return answers.json([with_standing(shown_node(node), quorum) for node in found if _passes(filters, node)])

    async def inspect(self, request: Request) -> Response:
        """Show a node."""
        snapshot = self.context.manager.store().committed
        node = shown_node(find_node(snapshot, request.path_params["id"]))
        return answers.json(with_standing(node, self.context.manager.quorum()))

    async def remove(self, request: Request) -> Response:
        """Remove a node that is down."""
        reference, force = request.path_params["id"], flag(request, "force")
        await self.context.manager.store().submit(
            lambda snapshot: rules_cluster.removed_node(snapshot, find_node(snapshot, reference).id, force=force)
        )
        return answers.done()

    async def update(self, request: Request) -> Response:
        """Change a node's labels, role or availability."""
        store = self.context.manager.store()
        version = posted_version(request, "node")
        spec = decode(await read(request), NodeSpec)
        reference = request.path_params["id"]
        await store.submit(
            lambda snapshot: rules_cluster.updated_node(
                snapshot, find_node(snapshot, reference).id, spec, version=version
            )
        )
        return answers.done()


def with_standing(node: Node, quorum: Quorum) -> Node:
    """Return a manager with whether it leads and whether it is to be reached now, which no store keeps.  Pure."""
    if node.manager_status is None:
        return node
    status = msgspec.structs.replace(
        node.manager_status,
        leader=node.id == quorum.leader,
        reachability="reachable" if node.id in quorum.reachable else "unreachable",
    )
    return msgspec.structs.replace(node, manager_status=status)


def _passes(filters: Filters, node: Node) -> bool:
    """Whether a node passes; `label` means the engine's labels or the node's own, `node.label` the node's own."""
    roles, memberships = filters.get("role", ()), filters.get("membership", ())
    return (
        matches_prefix(node.id, filters.get("id", ()))
        and matches_prefix(node.description.hostname or node.spec.name, filters.get("name", ()))
        and matches_labels({**node.description.engine.labels, **node.spec.labels}, filters.get("label", ()))
        and matches_labels(node.spec.labels, filters.get("node.label", ()))
        and (not roles or node.spec.role in roles)
        and (not memberships or "accepted" in memberships)
    )
