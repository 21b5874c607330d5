"""Asks managers for single operations, and keeps the history: one entry for each request, whatever became of it."""

import base64
import json
import random
import time
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from tests.cluster.checker.history import Kind, Operation, Outcome
from tests.cluster.load.http import Answer, Http, NoAnswer, NotSent
from tests.cluster.load.outcome import UnexpectedAnswer, outcome

LABEL = "l"
TIMEOUT_S = 3.0


class Recorder:
    """The history of all clients of a run."""

    def __init__(self, nodes: Mapping[str, str], *, seed: int, mark: bytes = b"") -> None:
        """nodes: address of each manager by name.  mark: bytes that every value begins with, to be searched for."""
        self.nodes = dict(nodes)
        self.history: list[Operation] = []
        self.unexpected: list[str] = []  # Answers that are right for no state.
        self.chance = random.Random(seed)
        self._mark = mark

    def value(self, size_bytes: int) -> str:
        """Return the value of a new secret, in base64."""
        return base64.b64encode(self._mark + self.chance.randbytes(max(1, size_bytes - len(self._mark)))).decode()

    def acknowledged(self, kind: Kind = Kind.CREATE) -> int:
        """Return how many operations of a kind were done."""
        return sum(one.kind is kind and one.outcome is Outcome.DONE for one in self.history)


class Client:
    """One client: one request at a time, to the manager of its choice, each within a deadline."""

    def __init__(self, recorder: Recorder, number: int, *, timeout_s: float = TIMEOUT_S) -> None:
        self.recorder = recorder
        self.number = number
        self._timeout_s = timeout_s
        self._connections: dict[str, Http] = {}

    async def create(self, node: str, key: str, label: str, *, size_bytes: int = 64) -> Operation:
        """Create a secret."""
        body = {"Name": key, "Labels": {LABEL: label}, "Data": self.recorder.value(size_bytes)}
        return await self._do(Kind.CREATE, node, key, "POST", "/secrets/create", body, label=label)

    async def read(self, node: str, key: str, *, by: str = "") -> Operation:
        """Read a secret, by name or by id."""
        return await self._do(Kind.READ, node, key, "GET", f"/secrets/{by or key}", None, by=by)

    async def update(self, node: str, key: str, label: str, *, by: str, version: int) -> Operation:
        """Change a secret's label, if it still has that version."""
        body = {"Name": key, "Labels": {LABEL: label}}
        path = f"/secrets/{by}/update?version={version}"
        return await self._do(Kind.UPDATE, node, key, "POST", path, body, by=by, version=version, label=label)

    async def remove(self, node: str, key: str, *, by: str = "") -> Operation:
        """Remove a secret, by name or by id."""
        return await self._do(Kind.REMOVE, node, key, "DELETE", f"/secrets/{by or key}", None, by=by)

    async def names(self, node: str, prefix: str = "") -> dict[str, str] | None:
        """Return id by name, of all secrets whose name begins so; None if the manager does not say."""
        filters = quote(json.dumps({"name": [prefix]})) if prefix else ""
        try:
            answer = await self._http(node).ask("GET", f"/secrets?filters={filters}", timeout_s=self._timeout_s * 4)
        except (NotSent, NoAnswer):
            return None
        if answer.status != 200:
            return None
        found = {one["Spec"]["Name"]: one["ID"] for one in answer.content}
        assert len(found) == len(answer.content), "a name is there twice"
        return found

    def close(self) -> None:
        """End its connections."""
        for http in self._connections.values():
            http.close()

    def _http(self, node: str) -> Http:
        if node not in self._connections:
            self._connections[node] = Http(self.recorder.nodes[node])
        return self._connections[node]

    async def _do(
        self, kind: Kind, node: str, key: str, method: str, path: str, body: object, *, by: str = "", version: int = 0,
        label: str = "",
    ) -> Operation:  # fmt: skip
        called_ns = time.monotonic_ns()
        said, answer = "", None
        try:
            answer = await self._http(node).ask(method, path, body, timeout_s=self._timeout_s)
            found = outcome(kind, answer.status, answer.message if answer.status >= 400 else "")
            said = answer.message if answer.status == 503 else ""
        except NotSent as error:
            found, said = Outcome.REFUSED, str(error)
        except NoAnswer as error:
            found, said = Outcome.UNKNOWN, str(error)
        except UnexpectedAnswer as error:
            found, said = Outcome.UNKNOWN, str(error)
            self.recorder.unexpected.append(f"{node}: {error}")
        one = Operation(
            client=self.number, node=node, kind=kind, key=key, called_ns=called_ns, returned_ns=time.monotonic_ns(),
            outcome=found, by=by, version=version, label=label, said=said[:120],
        )  # fmt: skip
        if answer is not None and found is Outcome.DONE:
            one = msgspec.structs.replace(one, **_answered(kind, answer))
        self.recorder.history.append(one)
        return one


def _answered(kind: Kind, answer: Answer) -> dict[str, object]:
    if kind is Kind.CREATE:
        return {"id": answer.content["ID"]}
    if kind is Kind.READ:
        shown = answer.content
        labels = shown["Spec"].get("Labels") or {}
        return {"id": shown["ID"], "index": shown["Version"]["Index"], "seen": labels.get(LABEL, "")}
    return {}
