"""A cluster to deploy stacks on: a snapshot, the values behind it, and nothing that runs."""

from collections.abc import Mapping
from itertools import count

from msgspec.structs import replace

from tests.stack.builders import stack
from vault.crypto.plaintext import Plaintext
from vault.model.ids import Kind
from vault.model.secret import Secret, SecretSpec
from vault.model.service import Service
from vault.model.stack import StackRecord
from vault.model.task import State, Task, TaskStatus
from vault.stack.convert import convert
from vault.stack.deploy import Proposal, Wishes, deploy, removal
from vault.stack.generations import comparisons
from vault.stack.revision import parts_of, record_of, revision_of
from vault.store.changes import Change, Delete, Put, PutValue
from vault.store.rules_network import predefined
from vault.store.snapshot import Snapshot

NOW_S = 1_000.0


class Cluster:
    """Commits what a deploy proposes, at once."""

    def __init__(self) -> None:
        self.snap = Snapshot()
        self.values: dict[tuple[Kind, str], Plaintext] = {}
        self._numbers = count(1)
        self.write(*predefined(self.new_id))

    def new_id(self) -> str:
        return f"{next(self._numbers):04d}".ljust(25, "z")

    def write(self, *changes: Change) -> int:
        """Commit somebody's changes; return the commit's index."""
        index = self.snap.index + 1
        self.snap = self.snap.apply(changes, index=index, now_s=NOW_S + index)
        for change in changes:
            match change:
                case PutValue(kind=kind, id=object_id, value=value):
                    self.values[kind, object_id] = value
                case Delete(kind=kind, id=object_id):
                    self.values.pop((kind, object_id), None)
        return index

    def propose(
        self,
        *texts: str,
        contents: Mapping[str, bytes] | None = None,
        name: str = "demo",
        caller: str = "socket",
        **wishes: bool,
    ) -> Proposal:
        """Return what a deploy of stack files comes to; nothing is committed."""
        deployment = convert(stack(*texts, contents=contents), name)
        same = {
            (one.kind, one.id): one.posted == self.values[one.kind, one.id]
            for one in comparisons(deployment, self.snap)
        }
        return deploy(
            deployment,
            self.snap,
            Wishes(**wishes),
            same=same,
            tag=lambda kind, name, value: f"tag{len(value)}",
            record_id=self.new_id(),
            caller=caller,
            new_id=self.new_id,
            now_s=NOW_S,
        )

    def deploy(
        self, *texts: str, contents: Mapping[str, bytes] | None = None, name: str = "demo", **wishes: bool
    ) -> list[str]:
        """Deploy stack files; return what was done, an object a line."""
        proposal = self.propose(*texts, contents=contents, name=name, **wishes)
        if proposal.changes:
            index = self.write(*proposal.changes)
            assert revision_of(proposal.parts, index) == self.revision(name), "what was answered is what is there"
        return told(proposal)

    def remove(self, name: str = "demo") -> list[str]:
        proposal = removal(self.snap, name, new_id=self.new_id, now_s=NOW_S)
        self.write(*proposal.changes)
        return told(proposal)

    def revision(self, name: str = "demo") -> str:
        return revision_of(parts_of(self.snap, name))

    def record(self, name: str = "demo") -> StackRecord:
        record = record_of(self.snap, name)
        assert record is not None
        return record

    def service(self, name: str) -> Service:
        found = self.snap.by_name(Kind.SERVICE, name)
        assert isinstance(found, Service)
        return found

    def references(self, service: str) -> dict[str, str]:
        """Return the secrets of a service: file in the task -> name in the cluster."""
        container = self.service(service).spec.task_template.container_spec
        return {one.file.name: one.secret_name for one in container.secrets if one.file is not None}

    def secrets(self) -> list[str]:
        return sorted(one.spec.name for one in self.snap.secrets.values())

    def make_secret(self, name: str, value: bytes = b"value", labels: dict[str, str] | None = None) -> None:
        """Create a secret, as another client would."""
        secret_id = self.new_id()
        secret = Secret(id=secret_id, spec=SecretSpec(name=name, labels=labels or {}))
        self.write(Put(secret), PutValue(Kind.SECRET, secret_id, Plaintext(value)))

    def drop(self, kind: Kind, name: str) -> None:
        """Remove an object, as another client would."""
        found = self.snap.by_name(kind, name)
        assert found is not None
        self.write(Delete(kind, found.id, found.version.index))

    def run_task(self, service: str, slot: int = 1) -> None:
        """Let a task of a service run, as its spec is now."""
        owner = self.service(service)
        task = Task(
            id=self.new_id(),
            spec=owner.spec.task_template,
            service_id=owner.id,
            slot=slot,
            node_id="n1",
            status=TaskStatus(state=State.RUNNING),
            spec_version=owner.spec_version,
        )
        self.write(Put(task))

    def progress(self, service: str) -> None:
        """Let the cluster itself note something on a service."""
        owner = self.service(service)
        self.write(Put(replace(owner, endpoint=owner.endpoint)))


def told(proposal: Proposal) -> list[str]:
    """Return a line per object that a proposal is about."""
    return [f"{one.action} {one.kind} {one.name}" for one in proposal.done]
