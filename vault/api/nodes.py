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
from vault.model.base import Shape, always
from vault.model.node import Node, NodeSpec
from vault.model.task import State, Task
from vault.orchestrator import draining
from vault.store import rules_cluster
from vault.store.snapshot import Snapshot

FILTERS = ("id", "name", "label", "node.label", "role", "membership")
MEMBERSHIPS = ("accepted", "pending")


class PostedNodeSpec(NodeSpec, frozen=True, kw_only=True):
    """A node's spec as clients send it: with role and availability, as Docker asks.

    Left out they would mean a worker that takes tasks: a manager demoted, or a drained node in use again, by whoever
    only set a label.
    """

    role: str = ""
    availability: str = ""

    def spec(self) -> NodeSpec:
        """Return it as it is kept."""
        return NodeSpec(name=self.name, labels=self.labels, role=self.role, availability=self.availability)


class TaskInDrain(Shape, frozen=True, kw_only=True):
    """A task that is still on a node, or is to run in the place of one that was."""

    id: str = msgspec.field(name="ID")
    name: str  # `web.2`
    service_id: str = msgspec.field(name="ServiceID")
    node_id: str = msgspec.field(name="NodeID", default="")
    state: State
    reason: str = ""  # Why it does not run.
    hopeless: bool = False  # Whether it will not, unless something in the cluster changes.


class ShownDrain(Shape, frozen=True, kw_only=True):
    """`GET /vault/v1/nodes/{id}/drain`: all of it is over once both are empty."""

    availability: str
    leaving: tuple[TaskInDrain, ...] = always(())
    awaited: tuple[TaskInDrain, ...] = always(())


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
            Endpoint("POST", "/nodes/{id}/update", self.update, posts=PostedNodeSpec, query=("version",)),
            Endpoint("GET", "/vault/v1/nodes/{id}/drain", self.drain, replies=ShownDrain),
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
        spec = decode(await read(request), PostedNodeSpec).spec()
        reference = request.path_params["id"]
        await store.submit(
            lambda snapshot: rules_cluster.updated_node(
                snapshot, find_node(snapshot, reference).id, spec, version=version, now_s=self.context.now_s()
            )
        )
        return answers.done()

    async def drain(self, request: Request) -> Response:
        """Show how far the drain of a node is; Docker has nothing like it."""
        snapshot = self.context.manager.store().committed
        return answers.json(shown_drain(snapshot, find_node(snapshot, request.path_params["id"])))


def shown_drain(snapshot: Snapshot, node: Node) -> ShownDrain:
    """Return how far the drain of a node is, as clients see it.  Pure."""
    found = draining.progress(snapshot, node)
    return ShownDrain(
        availability=node.spec.availability,
        leaving=tuple(shown_in_drain(task) for task in found.leaving),
        awaited=tuple(shown_in_drain(one.task, reason=one.reason, hopeless=one.hopeless) for one in found.awaited),
    )


def shown_in_drain(task: Task, *, reason: str = "", hopeless: bool = False) -> TaskInDrain:
    """Return a task as a drain speaks of it.  Pure."""
    return TaskInDrain(
        id=task.id,
        name=f"{task.service_name}.{task.slot_key}",
        service_id=task.service_id,
        node_id=task.node_id,
        state=task.state,
        reason=reason,
        hopeless=hopeless,
    )


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
