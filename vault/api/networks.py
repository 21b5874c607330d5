"""/networks: the cluster's, and the three that every node has of its own."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import decode, read
from vault.api.context import Context, Endpoint, Reach, id_for, switched
from vault.api.filters import Filters, named, one_of, parse_filters, switch
from vault.api.lookup import find_network, made_already, only
from vault.api.network_shapes import (
    LOCAL,
    NetworkCreated,
    PostedNetwork,
    ShownNetwork,
    scope_of,
    shown_network,
    spec_of,
)
from vault.model.errors import NotAManager, NotFound
from vault.model.ids import Kind
from vault.store import rules_network
from vault.store.changes import Change
from vault.store.rules_network import Predefined, is_predefined
from vault.store.snapshot import Snapshot

FILTERS = ("id", "name", "names", "label", "driver", "scope", "type", "dangling")
SCOPES = ("swarm", "local", "global")
TYPES = ("custom", "builtin")


class Networks:
    """Handlers of /networks."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint(
                "GET", "/networks", self.listing, replies=list[ShownNetwork], query=("filters",), reach=Reach.BOTH
            ),
            Endpoint(
                "POST", "/networks/create", self.create, 201, posts=PostedNetwork, replies=NetworkCreated, creates=True
            ),
            Endpoint(
                "GET",
                "/networks/{id}",
                self.inspect,
                replies=ShownNetwork,
                query=("scope", "verbose"),
                reach=Reach.BOTH,
            ),
            Endpoint("DELETE", "/networks/{id}", self.remove, 204, reach=Reach.BOTH),
            Endpoint("POST", "/vault/v1/networks/keys/rotate", self.rotate_keys, 204),
        ]

    async def listing(self, request: Request) -> Response:
        """List networks."""
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        one_of(filters, "scope", lambda scope: scope in SCOPES)
        one_of(filters, "type", lambda type_: type_ in TYPES)
        snapshot = self._snapshot()
        swarm = () if snapshot is None else sorted(snapshot.networks.values(), key=lambda network: network.id)
        shown = [shown_network(network) for network in swarm if not is_predefined(network)] + list(LOCAL)
        return answers.json([network for network in shown if _passes(filters, network, snapshot)])

    async def create(self, request: Request) -> Response:
        """Create an overlay network."""
        store = self.context.manager.store()
        spec = spec_of(decode(await read(request), PostedNetwork))
        network_id = id_for(request, self.context.new_id)

        def build(snapshot: Snapshot) -> tuple[Change, ...]:
            made = made_already(request, snapshot, Kind.NETWORK, network_id)
            return () if made else (rules_network.new_network(snapshot, network_id, spec),)

        await store.submit(build)
        return answers.json(NetworkCreated(id=network_id), HTTPStatus.CREATED)

    async def inspect(self, request: Request) -> Response:
        """Show a network."""
        reference, scope = request.path_params["id"], request.query_params.get("scope", "")
        local = _local(reference) if scope != "swarm" else None
        if local is not None:
            return answers.json(local)
        snapshot = self._snapshot()
        if snapshot is None:
            raise NotFound(Kind.NETWORK, reference)
        network = find_network(snapshot, reference)
        if scope not in ("", scope_of(network)):
            raise NotFound(Kind.NETWORK, reference)
        return answers.json(shown_network(network, snapshot, verbose=switched(request, "verbose")))

    async def remove(self, request: Request) -> Response:
        """Remove a network that no service or task is on."""
        reference = request.path_params["id"]
        local = _local(reference)
        if local is not None:
            raise Predefined(f"{local.name} is a pre-defined network and cannot be removed")
        await self.context.manager.store().submit(
            lambda snapshot: rules_network.removed_network(snapshot, find_network(snapshot, reference).id)
        )
        return answers.gone()

    async def rotate_keys(self, request: Request) -> Response:
        """Begin to rotate the keys of encrypted networks; nodes move to the new ones in the background."""
        await self.context.manager.store().submit(rules_network.keys_to_rotate)
        return answers.gone()

    def _snapshot(self) -> Snapshot | None:
        """Return the committed snapshot, or None where there is no store: the node's own networks show all the same."""
        try:
            return self.context.manager.store().committed
        except NotAManager:
            return None


def _local(reference: str) -> ShownNetwork | None:
    """Return one of the node's own networks, by name, id, or id prefix of 4 digits and more."""
    exact = next((network for network in LOCAL if reference in (network.name, network.id)), None)
    if exact is not None or len(reference) < 4:
        return exact
    return only(Kind.NETWORK, reference, (network for network in LOCAL if network.id.startswith(reference)))


def _passes(filters: Filters, network: ShownNetwork, snapshot: Snapshot | None) -> bool:
    scopes, drivers, types = filters.get("scope", ()), filters.get("driver", ()), filters.get("type", ())
    kind = "builtin" if network in LOCAL else "custom"
    if "dangling" in filters:
        users = snapshot is not None and any(snapshot.services_using(Kind.NETWORK, network.id))
        unused = network.scope == "swarm" and not users and not network.ingress
        if unused is not switch(filters, "dangling", default=False):
            return False
    return (
        named({key: filters[key] for key in filters if key != "name"}, network.name, network.id, network.labels)
        and (not filters.get("name") or any(part in network.name for part in filters["name"]))
        and (not scopes or network.scope in scopes)
        and (not drivers or network.driver in drivers)
        and (not types or kind in types)
    )
