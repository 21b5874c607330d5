"""/services: what should run."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers, large
from vault.api.bodies import decode, read
from vault.api.context import Context, Endpoint, id_for, posted_version, speaks, switched
from vault.api.filters import Filters, named, one_of, parse_filters
from vault.api.lookup import find_service, made_already
from vault.api.network_shapes import LOCAL_NAMES
from vault.api.random_names import name_from
from vault.api.registry_auth import service_auth
from vault.api.shapes import ServiceCreated, ServiceUpdated
from vault.api.shown import JOBS_SINCE, shown_service, spec_of_version, status_of
from vault.model.errors import BadRequest
from vault.model.ids import Kind
from vault.model.service import Service, ServiceSpec
from vault.store import rules_service
from vault.store.changes import Change
from vault.store.rules_defaults import with_defaults
from vault.store.rules_registry_auth import with_credentials
from vault.store.snapshot import Snapshot

FILTERS = ("id", "name", "names", "label", "mode", "runtime")
MODES = ("replicated", "global", "replicated-job", "global-job")
RUNTIMES = ("container", "plugin", "attachment")


class Services:
    """Handlers of /services, but for logs."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        update = ("version", "rollback", "registryAuthFrom")
        return [
            Endpoint("GET", "/services", self.listing, replies=list[Service], query=("filters", "status")),
            Endpoint(
                "POST", "/services/create", self.create, 201, posts=ServiceSpec, replies=ServiceCreated, creates=True
            ),
            Endpoint("GET", "/services/{id}", self.inspect, replies=Service, query=("insertDefaults",)),
            Endpoint("DELETE", "/services/{id}", self.remove),
            Endpoint(
                "POST", "/services/{id}/update", self.update, posts=ServiceSpec, replies=ServiceUpdated, query=update
            ),
        ]

    async def listing(self, request: Request) -> Response:
        """List services, with their counts where `status` asks for them."""
        snapshot = self.context.manager.store().committed
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        one_of(filters, "mode", lambda mode: mode in MODES)
        one_of(filters, "runtime", lambda runtime: runtime in RUNTIMES)
        version = speaks(request)
        with_status = switched(request, "status") and version >= (1, 41)
        found = [service for service in snapshot.services.values() if _passes(filters, service)]
        found.sort(key=lambda service: service.id)

        def make() -> Response:
            return large.listed(
                shown_service(service, version, status_of(snapshot, service) if with_status else None)
                for service in found
            )

        return await large.answer(len(snapshot.tasks) if with_status else len(found), make)

    async def create(self, request: Request) -> Response:
        """Create a service."""
        store = self.context.manager.store()
        posted = _posted(request, await read(request))
        service_id, now_s = id_for(request, self.context.new_id), self.context.now_s()
        auth = service_auth(request, self.context.new_id)
        if not posted.name:
            named_so = store.committed.by_name
            name = name_from(service_id, lambda name: named_so(Kind.SERVICE, name) is not None)
            posted = msgspec.structs.replace(posted, name=name)

        def build(snapshot: Snapshot) -> tuple[Change, ...]:
            if made_already(request, snapshot, Kind.SERVICE, service_id):
                return ()
            return with_credentials(
                snapshot, rules_service.new_service(snapshot, service_id, posted, now_s=now_s), auth
            )

        await store.submit(build)
        return answers.json(ServiceCreated(id=service_id), 201)

    async def inspect(self, request: Request) -> Response:
        """Show a service."""
        snapshot = self.context.manager.store().committed
        service = find_service(snapshot, request.path_params["id"])
        if switched(request, "insertDefaults"):
            service = with_defaults(service)
        return answers.json(shown_service(service, speaks(request)))

    async def remove(self, request: Request) -> Response:
        """Remove a service and its tasks."""
        reference, now_s = request.path_params["id"], self.context.now_s()
        await self.context.manager.store().submit(
            lambda snapshot: rules_service.removed_service(snapshot, find_service(snapshot, reference).id, now_s=now_s)
        )
        return answers.done()

    async def update(self, request: Request) -> Response:
        """Change a service, or take it back to its previous spec."""
        store = self.context.manager.store()
        version = posted_version(request, "service")
        rollback = request.query_params.get("rollback", "")
        if rollback not in ("", "none", "previous"):
            raise BadRequest('unrecognized rollback option: use "previous"')
        auth, auth_from = service_auth(request, self.context.new_id), request.query_params.get("registryAuthFrom", "")
        if auth_from not in ("", "spec", "previous-spec"):
            raise BadRequest('unsupported registryAuthFrom value: use "spec" or "previous-spec"')
        body = await read(request)
        posted = None if rollback == "previous" else _posted(request, body)
        reference, now_s = request.path_params["id"], self.context.now_s()

        def build(snapshot: Snapshot) -> tuple[Change, ...]:
            service_id = find_service(snapshot, reference).id
            if posted is None:
                return (rules_service.rolled_back(snapshot, service_id, version=version, now_s=now_s),)
            put = rules_service.updated_service(snapshot, service_id, posted, version=version, now_s=now_s)
            return with_credentials(snapshot, put, auth, from_previous=auth_from == "previous-spec")

        await store.submit(build)
        return answers.json(ServiceUpdated())


def _posted(request: Request, body: bytes) -> ServiceSpec:
    """Return the spec that was posted, with the names of this node's own networks for their ids."""
    version = speaks(request)
    spec = decode(body, ServiceSpec)
    if spec.mode.is_job and version < JOBS_SINCE:
        raise BadRequest(f"jobs need API version {'.'.join(map(str, JOBS_SINCE))}: use a newer client")
    spec = spec_of_version(spec, version)
    networks = tuple(
        msgspec.structs.replace(one, target=LOCAL_NAMES.get(one.target, one.target))
        for one in spec.task_template.networks
    )
    if networks == spec.task_template.networks:
        return spec
    return msgspec.structs.replace(spec, task_template=msgspec.structs.replace(spec.task_template, networks=networks))


def _passes(filters: Filters, service: Service) -> bool:
    modes, runtimes = filters.get("mode", ()), filters.get("runtime", ())
    return (
        named(filters, service.spec.name, service.id, service.spec.labels)
        and (not modes or service.spec.mode.name in modes)
        and (not runtimes or "container" in runtimes)
    )
