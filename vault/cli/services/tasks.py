"""`ps` of services, stacks and nodes: tasks by name, former ones of a slot below the newest."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vault.cli.client import Client
from vault.cli.errors import ApiError
from vault.cli.human import duration, ellipsis, seconds_since, short_id
from vault.cli.services.listing import without_digest
from vault.cli.shared_options import now_s, show
from vault.cli.table import natural_key

HEADERS = {
    "ID": "ID",
    "Name": "NAME",
    "Image": "IMAGE",
    "Node": "NODE",
    "DesiredState": "DESIRED STATE",
    "CurrentState": "CURRENT STATE",
    "Error": "ERROR",
    "Ports": "PORTS",
}
COLUMNS = tuple(HEADERS)
MAX_ERROR = 30
Task = Mapping[str, Any]


class Names:
    """Names of nodes and services by id, asked for once each; an id stays an id when it is not known."""

    def __init__(self, client: Client, *, resolve: bool = True) -> None:
        self._client = client
        self._resolve = resolve
        self._known: dict[str, str] = {}
        self._jobs: dict[str, bool] = {}

    def node(self, identifier: str) -> str:
        """Return a node's name."""
        return self._look_up(
            "/nodes/", identifier, lambda item: item["Spec"].get("Name") or item["Description"]["Hostname"]
        )

    def service(self, identifier: str) -> str:
        """Return a service's name."""
        return self._look_up("/services/", identifier, lambda item: item["Spec"]["Name"])

    def counts_from_0(self, task: Task) -> bool:
        """Whether a task without a slot has slot 0: that of a replicated job, not of a global service."""
        if "JobIteration" not in task or task.get("Slot"):
            return False
        identifier = task["ServiceID"]
        if identifier not in self._jobs:
            try:
                mode = self._client.get(f"/services/{identifier}")["Spec"]["Mode"]
            except ApiError as error:
                if error.status != 404:
                    raise
                mode = {}
            self._jobs[identifier] = mode.get("ReplicatedJob") is not None
        return self._jobs[identifier]

    def _look_up(self, path: str, identifier: str, name: Any) -> str:
        if not identifier or not self._resolve:
            return identifier
        if identifier not in self._known:
            try:
                self._known[identifier] = str(name(self._client.get(path + identifier)))
            except ApiError as error:
                if error.status != 404:
                    raise
                self._known[identifier] = identifier
        return self._known[identifier]


def node_filters(client: Client, wanted: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return filters with `node=self` replaced by this node's id."""
    result: list[tuple[str, str]] = []
    for name, value in wanted:
        if (name, value) == ("node", "self"):
            value = client.get("/info")["Swarm"]["NodeID"]
        result.append((name, value))
    return result


def print_tasks(
    client: Client, tasks: Sequence[Task], *, form: str | None, quiet: bool, no_trunc: bool, no_resolve: bool
) -> None:
    """Print a listing of tasks."""
    names = Names(client, resolve=not no_resolve)
    rows = task_rows(
        [
            (
                task_name(task, names.service(task.get("ServiceID", "")), counts_from_0=names.counts_from_0(task)),
                names.node(task.get("NodeID", "")),
                task,
            )
            for task in tasks
        ],
        now=now_s(),
        trunc=not (no_trunc or quiet),
        indent=" \\_ " if form is None or form.startswith("table") else "",
    )
    show(rows, headers=HEADERS, columns=COLUMNS, form=form, quiet=quiet)


def task_name(task: Task, service: str, *, counts_from_0: bool = False) -> str:
    """Return `service.slot`, or `service.node-id` for a global service."""
    slot = task.get("Slot", 0)
    return f"{service}.{slot if slot or counts_from_0 else task.get('NodeID', '')}"


def task_rows(tasks: Iterable[tuple[str, str, Task]], *, now: float, trunc: bool, indent: str) -> list[dict[str, Any]]:
    """Return rows of (name, node name, task), newest first within a name.  Pure."""
    newest_first = sorted(tasks, key=lambda found: str(found[2]["CreatedAt"]), reverse=True)
    rows: list[dict[str, Any]] = []
    former = ""
    for name, node, task in sorted(newest_first, key=lambda found: natural_key(found[0])):
        status = task["Status"]
        error = status.get("Err", "")
        image = (task["Spec"].get("ContainerSpec") or {}).get("Image", "")
        passed_s = seconds_since(status["Timestamp"], now)
        rows.append(
            {
                "ID": short_id(task["ID"]) if trunc else task["ID"],
                "Name": indent + name if name == former else name,
                "Image": without_digest(image) if trunc else image,
                "Node": node,
                "DesiredState": task["DesiredState"].capitalize(),
                "CurrentState": f"{status['State'].capitalize()} {duration(passed_s).lower()} ago",
                "Error": f'"{ellipsis(error, MAX_ERROR) if trunc else error}"' if error else "",
                "Ports": _ports((status.get("PortStatus") or {}).get("Ports") or ()),
            }
        )
        former = name
    return rows


def _ports(ports: Iterable[Mapping[str, Any]]) -> str:
    return ",".join(
        f"*:{port.get('PublishedPort', 0)}->{port['TargetPort']}/{port.get('Protocol', 'tcp')}" for port in ports
    )
