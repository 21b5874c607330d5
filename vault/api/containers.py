"""/containers: this node's containers, each one attempt of one task.  They are made by services only."""

from collections.abc import Sequence
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.container_lookup import find_container
from vault.api.container_shapes import ContainerDetails, ContainerSummary, details_of, summary_of
from vault.api.context import Context, Endpoint, Reach, flag
from vault.api.filters import Filters, matches_labels, one_of, parse_filters
from vault.api.ports import Container
from vault.model.errors import BadRequest

FILTERS = ("id", "name", "label", "status", "ancestor", "exited", "health", "is-task", "network", "volume")
HEALTHS = ("none", "starting", "healthy", "unhealthy")
STATES = ("created", "running", "exited", "paused", "restarting", "removing", "dead")


class Containers:
    """Handlers of /containers, but for exec and logs."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        query = ("all", "limit", "size", "filters")
        return [
            Endpoint(
                "GET", "/containers/json", self.listing, replies=list[ContainerSummary], query=query, reach=Reach.NODE
            ),
            Endpoint("GET", "/containers/{id}/json", self.inspect, replies=ContainerDetails, reach=Reach.NODE),
        ]

    async def listing(self, request: Request) -> Response:
        """List containers: those that run, or all."""
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        one_of(filters, "status", lambda state: state in STATES)
        one_of(filters, "health", lambda health: health in HEALTHS)
        limit = request.query_params.get("limit", "")
        if limit and not (limit.lstrip("-").isdigit() and limit.isascii() and len(limit) < 10):
            raise BadRequest("invalid limit: use a number")
        everything = flag(request, "all") or "status" in filters or "exited" in filters or int(limit or 0) > 0
        containers: Sequence[Container] = await self.context.node.containers()
        found = (one for one in containers if (everything or one.state == "running") and _passes(filters, one))
        now_s = self.context.now_s()
        most = int(limit) if limit and int(limit) > 0 else None
        return answers.json([summary_of(one, now_s) for one in islice(found, most)])

    async def inspect(self, request: Request) -> Response:
        """Show a container."""
        container = find_container(await self.context.node.containers(), request.path_params["id"])
        return answers.json(details_of(container, self.context.node.info()))


def _passes(filters: Filters, one: Container) -> bool:
    ids, names, states = filters.get("id", ()), filters.get("name", ()), filters.get("status", ())
    exits, images = filters.get("exited", ()), filters.get("ancestor", ())
    healths, health = filters.get("health", ()), one.health.status if one.health is not None else "none"
    networks, volumes = filters.get("network", ()), filters.get("volume", ())
    reachable = {name for network in one.networks for name in (network.name, network.network_id)}
    mounted = {name for mount in one.mounts for name in (mount.name, mount.destination)}
    return (
        (not ids or one.id.startswith(ids))
        and (not names or any(name.lstrip("^/").rstrip("$") in one.name for name in names))
        and (not states or one.state in states)
        and (not healths or health in healths)
        and (not exits or (one.state == "exited" and str(one.exit_code) in exits))
        and (
            not images or any(image in (one.image, one.image_id) or f"{image}:latest" == one.image for image in images)
        )
        and (not networks or not reachable.isdisjoint(networks))
        and (not volumes or not mounted.isdisjoint(volumes))
        and matches_labels(one.labels, filters.get("label", ()))
    )
