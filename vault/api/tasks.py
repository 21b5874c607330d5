"""/tasks: each attempt to run one slot of a service."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers, large
from vault.api.context import Context, Endpoint, self_of, speaks
from vault.api.filters import Filters, matches_labels, matches_prefix, one_of, parse_filters, switch
from vault.api.lookup import find_node, find_service, find_task
from vault.api.shown import shown_task
from vault.model.task import Task
from vault.orchestrator.dirty import host_ports
from vault.store.snapshot import Snapshot

FILTERS = ("id", "name", "label", "service", "node", "desired-state", "_up-to-date", "runtime")
DESIRED = ("running", "shutdown", "accepted", "ready", "complete", "remove")


class Tasks:
    """Handlers of /tasks, but for logs."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint("GET", "/tasks", self.listing, replies=list[Task], query=("filters",)),
            Endpoint("GET", "/tasks/{id}", self.inspect, replies=Task),
        ]

    async def listing(self, request: Request) -> Response:
        """List tasks."""
        snapshot = self.context.manager.store().committed
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        version = speaks(request)
        here = self_of(request, self.context.manager)

        def make() -> Response:
            found = sorted(self.matching(snapshot, filters, here), key=lambda task: task.id)
            return large.listed(shown_task(task, version) for task in found)

        return await large.answer(len(snapshot.tasks), make)

    async def inspect(self, request: Request) -> Response:
        """Show a task."""
        snapshot = self.context.manager.store().committed
        return answers.json(shown_task(find_task(snapshot, request.path_params["id"]), speaks(request)))

    def matching(self, snapshot: Snapshot, filters: Filters, here: str) -> list[Task]:
        """Return the tasks that pass; a service or node that does not exist raises `NotFound`.

        here: the node that "self" means.
        """
        desired = one_of(filters, "desired-state", lambda state: state in DESIRED)
        fresh_only = switch(filters, "_up-to-date", default=False)
        services = {find_service(snapshot, reference).id for reference in filters.get("service", ())}
        references = [here if reference == "self" else reference for reference in filters.get("node", ())]
        nodes = {find_node(snapshot, reference).id for reference in references}
        if services:
            candidates = [task for service_id in services for task in snapshot.tasks_of(service_id)]
        elif nodes:
            candidates = [task for node_id in nodes for task in snapshot.tasks_on(node_id)]
        else:
            candidates = list(snapshot.tasks.values())
        return [
            task
            for task in candidates
            if (not nodes or task.node_id in nodes)
            and (not desired or task.desired_state.value in desired)
            and matches_prefix(task.id, filters.get("id", ()))
            and matches_prefix(task.name, filters.get("name", ()))
            and matches_labels({**task.service_labels, **task.labels}, filters.get("label", ()))
            and ("runtime" not in filters or "container" in filters["runtime"])
            and (not fresh_only or is_up_to_date(snapshot, task))
        ]


def is_up_to_date(snapshot: Snapshot, task: Task) -> bool:
    """Whether a task is what its service's present spec asks for, wherever it may be placed."""
    service = snapshot.services.get(task.service_id)
    if service is None:
        return False
    if task.job_iteration != service.job_iteration:
        return False
    if task.spec_version is not None and task.spec_version == service.spec_version:
        return True
    wanted = service.spec.task_template
    same = msgspec.structs.replace(task.spec, placement=wanted.placement) == wanted
    return same and task.host_ports == host_ports(service.spec.endpoint_spec)
