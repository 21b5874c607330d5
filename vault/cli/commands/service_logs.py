"""`vault service logs`: what the tasks of a service have written, each line with its task and node."""

from typing import Any

from vault.cli.client import Client
from vault.cli.command import argument, command, switch
from vault.cli.commands.logs import copy_out, log_options, log_query, output_of, write
from vault.cli.errors import ApiError, CommandError
from vault.cli.human import short_id
from vault.cli.services.logs import LogLine, details_text, frames, parse_line
from vault.cli.services.tasks import Names
from vault.cli.shared_options import pass_client


@command("[OPTIONS] SERVICE|TASK", name="logs", text="Fetch the logs of a service or task")
@argument("reference")
@log_options
@switch("--no-resolve", text="Do not map IDs to Names in output")
@switch("--no-task-ids", text="Do not include task IDs in output")
@switch("--no-trunc", text="Do not truncate output")
@switch("--raw", text="Do not neatly format logs")
@pass_client
def logs(
    client: Client,
    /,
    reference: str,
    no_resolve: bool,
    no_task_ids: bool,
    no_trunc: bool,
    raw: bool,
    details: bool,
    timestamps: bool,
    **given: Any,
) -> None:
    """Print what the tasks of a service have written."""
    path, tty, width = _target(client, reference)
    if tty and not raw:
        raise CommandError("tty service logs only supported with --raw")
    query = log_query(details=details or not raw, timestamps=timestamps, **given)
    # Names are asked for while lines come, so the lines have a connection of their own.
    answer = Client(client.host).stream("GET", path, query)
    if tty or raw:
        copy_out(answer.body, tty=tty)
        return
    heads = Heads(client, width, resolve=not no_resolve, task_ids=not no_task_ids, trunc=not no_trunc)
    for stream, payload in frames(answer.body):
        line = parse_line(payload, timestamps=timestamps)
        shown = details_text(line.details) if details else b""
        write(output_of(stream, payload), line.time + heads.of(line) + shown + line.text)


def _target(client: Client, reference: str) -> tuple[str, bool, int]:
    try:
        service = client.get(f"/services/{reference}")
    except ApiError as error:
        if error.status != 404:
            raise
    else:
        mode = service["Spec"].get("Mode") or {}
        last = (mode.get("Replicated") or {}).get("Replicas", 1)
        if (job := mode.get("ReplicatedJob")) is not None:
            last = max(job["TotalCompletions"] - 1, 0)
        return f"/services/{service['ID']}/logs", _tty(service["Spec"]["TaskTemplate"]), len(str(last))
    try:
        task = client.get(f"/tasks/{reference}")
    except ApiError as error:
        if error.status != 404:
            raise
        raise CommandError(f"no such task or service: {reference}") from None
    return f"/tasks/{task['ID']}/logs", _tty(task["Spec"]), len(str(task.get("Slot", 0)))


def _tty(task_spec: dict[str, Any]) -> bool:
    return bool((task_spec.get("ContainerSpec") or {}).get("TTY"))


class Heads:
    """What stands before each line: `web.1.np1d3sxjiurk@node    | `; asked for once a task."""

    def __init__(self, client: Client, width: int, *, resolve: bool, task_ids: bool, trunc: bool) -> None:
        self._client = client
        self._names = Names(client, resolve=resolve)
        self._width = width
        self._task_ids = task_ids
        self._trunc = trunc
        self._known: dict[str, bytes] = {}

    def of(self, line: LogLine) -> bytes:
        """Return the head of a line."""
        if line.task not in self._known:
            self._known[line.task] = self._make(line).encode()
        return self._known[line.task]

    def _make(self, line: LogLine) -> str:
        slot = str(self._slot(line.task))
        name = f"{self._names.service(line.service)}.{slot}"
        if self._task_ids:
            name += "." + (short_id(line.task) if self._trunc else line.task)
        return f"{name}@{self._names.node(line.node)}{' ' * (self._width - len(slot))}    | "

    def _slot(self, task: str) -> int:
        try:
            return int(self._client.get(f"/tasks/{task}").get("Slot", 0))
        except ApiError as error:
            if error.status != 404:
                raise
            return 0  # Its history was cleaned while its lines came.
