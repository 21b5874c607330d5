"""Waiting until a node is drained: nothing runs there any more, and what ran there runs elsewhere.

`Verdict` is pure; `wait_until_drained` asks, sleeps and prints.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

from vault.cli.client import Client
from vault.cli.errors import CommandError

HOPELESS_S = 3.0  # So long all that is left must be without hope: what stops elsewhere may make room still.
LOOK_S = 0.25

Task = Mapping[str, Any]


class Verdict:
    """What the looks at one node come to."""

    def __init__(self, reference: str, timeout_ns: int, began_s: float) -> None:
        self._reference = reference
        self._timeout_ns = timeout_ns  # 0 = for ever.
        self._began_s = began_s
        self._hopeless_since_s: float | None = None

    def judge(self, found: Mapping[str, Any], now_s: float) -> bool:
        """Return whether the node is drained; raise `CommandError` when that is not to be, or takes too long."""
        leaving, awaited = found["Leaving"], found["Awaited"]
        if found["Availability"] != "drain":
            raise CommandError(
                f"node {self._reference} is not being drained any more: its availability is {found['Availability']}"
            )
        if not leaving and not awaited:
            return True
        hopeless = not leaving and all(task.get("Hopeless") for task in awaited)
        self._hopeless_since_s = (self._hopeless_since_s or now_s) if hopeless else None
        if self._hopeless_since_s is not None and now_s - self._hopeless_since_s >= HOPELESS_S:
            raise self._failed("no task runs there any more, but not all of them run elsewhere", leaving, awaited)
        if self._timeout_ns and now_s - self._began_s >= self._timeout_ns / 1e9:
            from vault.model.durations import go_duration

            raise self._failed(f"not drained within {go_duration(self._timeout_ns)}", leaving, awaited)
        return False

    def _failed(self, what: str, leaving: list[Task], awaited: list[Task]) -> CommandError:
        lines = [f"{task['Name']} is {task['State']} there" for task in leaving]
        lines += [_awaited(task) for task in awaited]
        return CommandError("\n".join([f"node {self._reference}: {what}:", *(f"  {line}" for line in lines)]))


def _awaited(task: Task) -> str:
    where = f" on {task['NodeID']}" if task.get("NodeID") else ""
    why = f": {task['Reason']}" if task.get("Reason") else ""
    return f"{task['Name']} is {task['State']}{where}{why}"


def summary(found: Mapping[str, Any]) -> str:
    """Return how far a drain is."""
    return f"{_tasks(len(found['Leaving']))} there, {_tasks(len(found['Awaited']))} yet to run elsewhere"


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def wait_until_drained(client: Client, nodes: Mapping[str, str], *, timeout_ns: int, quiet: bool) -> None:
    """Wait for each node in turn.  nodes: how it was named -> id.  Raises `CommandError`, saying what is left."""
    began_s = time.monotonic()
    errors: list[str] = []
    try:
        for reference, node_id in nodes.items():
            try:
                _wait(client, reference, node_id, Verdict(reference, timeout_ns, began_s), quiet=quiet)
            except CommandError as error:
                errors.append(str(error))
    except KeyboardInterrupt:
        print("The drain goes on in the background.", file=sys.stderr)
    if errors:
        raise CommandError("\n".join(errors))


def _wait(client: Client, reference: str, node_id: str, verdict: Verdict, *, quiet: bool) -> None:
    said = ""
    while True:
        found = client.get(f"/vault/v1/nodes/{node_id}/drain")
        text = summary(found)
        if text != said and not quiet:
            print(f"{reference}: {text}", flush=True)
        said = text
        if verdict.judge(found, time.monotonic()):
            return
        time.sleep(LOOK_S)
