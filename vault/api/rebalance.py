"""/vault/v1/services/{id}/rebalance and /vault/v1/nodes/rebalance: even shares again; Docker has nothing like it.

A plan looks at every task, so it is made in a thread, of a snapshot that does not change; what it says is begun in one
commit, for those services that are still as they were, and whose tasks' new nodes are.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import decode, read
from vault.api.context import Context, Endpoint, flag
from vault.api.lookup import find_node, find_service
from vault.model.base import Shape, always
from vault.model.errors import Conflict, FailedPrecondition
from vault.model.node import Node
from vault.model.service import Service
from vault.orchestrator.rebalancing import Plan, begun, plan
from vault.scheduler.rebalance import Move
from vault.store.changes import Change
from vault.store.snapshot import Snapshot


class PostedNodes(Shape, frozen=True, kw_only=True):
    """`POST /vault/v1/nodes/rebalance`: the nodes that are to get their share."""

    nodes: tuple[str, ...] = ()  # Names or ids; none = all nodes.


class ShownMove(Shape, frozen=True, kw_only=True):
    """A task that makes way for one on another node."""

    task_id: str = msgspec.field(name="TaskID")
    name: str  # `web.2`
    service_id: str = msgspec.field(name="ServiceID")
    source: str = msgspec.field(name="From")  # Node.
    target: str = msgspec.field(name="To")


class SkippedService(Shape, frozen=True, kw_only=True):
    """A service whose tasks stay where they are."""

    service: str  # Its name.
    reason: str


class ShownRebalance(Shape, frozen=True, kw_only=True):
    """What moves, or with `dry_run` would."""

    moves: tuple[ShownMove, ...] = always(())
    skipped: tuple[SkippedService, ...] = always(())


class Rebalance:
    """Handlers of rebalances."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint(
                "POST",
                "/vault/v1/services/{id}/rebalance",
                self.service,
                replies=ShownRebalance,
                query=("dry_run",),
            ),
            Endpoint(
                "POST",
                "/vault/v1/nodes/rebalance",
                self.nodes,
                posts=PostedNodes,
                replies=ShownRebalance,
                query=("dry_run",),
            ),
        ]

    async def service(self, request: Request) -> Response:
        """Move as few tasks of a service as it takes for it to be spread evenly."""
        snapshot = self.context.manager.store().committed
        service = find_service(snapshot, request.path_params["id"])
        made = await self._plan(snapshot, (service,), onto=None, nodes=False)
        for name, reason in made.skipped:
            raise FailedPrecondition(f"service {name} cannot be rebalanced: {reason}")
        moves = await self._begin(request, made)
        if made.moves and not moves:
            raise Conflict(f"service {service.spec.name}, or a node for its tasks, was changed meanwhile: try again")
        return answers.json(ShownRebalance(moves=tuple(map(shown_move, moves))))

    async def nodes(self, request: Request) -> Response:
        """Move as few tasks as it takes for services, then nodes, to have even shares."""
        posted = decode(await read(request), PostedNodes)
        snapshot = self.context.manager.store().committed
        onto = [find_node(snapshot, reference) for reference in posted.nodes]
        for node in onto:
            check_takes_tasks(node)
        made = await self._plan(
            snapshot, tuple(snapshot.services.values()), onto={node.id for node in onto} if onto else None, nodes=True
        )
        moves = await self._begin(request, made)
        skipped = [SkippedService(service=name, reason=reason) for name, reason in made.skipped]
        left = {move.task.service_name for move in made.moves} - {move.task.service_name for move in moves}
        skipped += [
            SkippedService(service=name, reason="it, or a node for its tasks, was changed meanwhile")
            for name in sorted(left)
        ]
        return answers.json(ShownRebalance(moves=tuple(map(shown_move, moves)), skipped=tuple(skipped)))

    async def _plan(
        self, snapshot: Snapshot, services: Iterable[Service], *, onto: Collection[str] | None, nodes: bool
    ) -> Plan:
        now_s = self.context.now_s()
        return await asyncio.to_thread(plan, snapshot, services, onto=onto, nodes=nodes, now_s=now_s)

    async def _begin(self, request: Request, made: Plan) -> tuple[Move, ...]:
        """Begin what was planned, unless that was all that was asked for; return the moves that are begun."""
        if not made.moves or flag(request, "dry_run"):
            return made.moves
        services: set[str] = set()

        def build(snapshot: Snapshot) -> Sequence[Change]:
            changes = begun(snapshot, made.moves, made.versions, now_s=self.context.now_s())
            services.clear()
            services.update(change.obj.id for change in changes)
            return changes

        await self.context.manager.store().submit(build)
        return tuple(move for move in made.moves if move.task.service_id in services)


def check_takes_tasks(node: Node) -> None:
    """Raise `FailedPrecondition` when no task can come to a node.  Pure."""
    if not node.ready:
        state = node.status.state if node.status.state != "ready" else node.spec.availability
        raise FailedPrecondition(f"node {node.description.hostname or node.id} takes no tasks: it is {state}")


def shown_move(move: Move) -> ShownMove:
    """Return a move as clients see it.  Pure."""
    task = move.task
    return ShownMove(
        task_id=task.id,
        name=f"{task.service_name}.{task.slot}",
        service_id=task.service_id,
        source=task.node_id,
        target=move.to,
    )
