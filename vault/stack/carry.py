"""The steps of a deploy as changes of the store, each judged by the same rules as if it were asked for by itself.

Pure; called by `vault.stack.deploy`.  Each step sees what the ones before it would make, in a draft; what is refused
ends the deploy, and all that was allowed is one proposal: so nothing is ever half-made.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Final, assert_never

from msgspec.structs import replace

from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.model.ids import Kind, NewID
from vault.model.registries import registry_of
from vault.model.secret import Config, Secret
from vault.model.service import Endpoint, Service, ServiceSpec, UpdateState
from vault.stack.convert import NewConfig, NewSecret
from vault.stack.differences import FieldChange, differences, label_differences
from vault.stack.plan import (
    CreateConfig,
    CreateNetwork,
    CreateSecret,
    CreateService,
    RemoveService,
    Step,
    UpdateConfig,
    UpdateSecret,
    UpdateService,
)
from vault.stack.references import with_ids
from vault.store import rules, rules_network, rules_service
from vault.store.changes import Change, Delete, Put, PutValue
from vault.store.rules_registry_auth import Given, with_credentials
from vault.store.snapshot import ChangeLog, Snapshot

PAUSED: Final = (UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED)


class StepRefused(VaultError):
    """A step was refused; nothing of the deploy is done."""

    def __init__(self, what: str, error: VaultError) -> None:
        super().__init__(f"failed to {what}: {error.message}")
        self.status = error.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a deploy does with one object."""

    action: str  # create | update | remove | unchanged
    kind: Kind
    id: str
    name: str
    fields: tuple[FieldChange, ...] = ()  # Of an update.


class Carrying:
    """A deploy in the making: the changes so far, and the snapshot as they would leave it."""

    def __init__(
        self, snapshot: Snapshot, *, new_id: NewID, now_s: float, auths: Mapping[str, Plaintext] | None = None
    ) -> None:
        """auths: credentials by the host of the registry that they are for."""
        self.changes: list[Change] = []
        self.done: list[Done] = []
        self.draft = with_fields(snapshot, log=ChangeLog())  # Its own log: what is made here may never be.
        self.index = snapshot.index + 1
        self._new_id = new_id
        self._now_s = now_s
        self._auths = auths or {}
        self._stopped = 0
        self._releasing: dict[str, ServiceSpec] = {}  # Services to be updated that publish some port no more.

    def take_all(self, steps: Iterable[Step]) -> None:
        """Carry out steps in order.  Raises `StepRefused`, which names the object."""
        steps = tuple(steps)
        for step in steps:
            if isinstance(step, UpdateService) and _releases(self.draft.services[step.id], step.spec):
                self._releasing[step.id] = step.spec
        for step in steps:
            self.take(step)

    def take(self, step: Step) -> None:
        """Carry out one step."""
        match step:
            case RemoveService():
                with _naming(f"remove service {step.name}"):
                    self.remove_service(step.id, step.name)
            case CreateNetwork():
                with _naming(f"create network {step.network.name}"):
                    put = rules_network.new_network(self.draft, self._new_id(), step.network.spec())
                self._note("create", Kind.NETWORK, put.obj.id, step.network.name, put)
            case CreateSecret():
                self._create(Kind.SECRET, step.secret)
            case CreateConfig():
                self._create(Kind.CONFIG, step.config)
            case UpdateSecret():
                self._label(Kind.SECRET, step.id, step.secret)
            case UpdateConfig():
                self._label(Kind.CONFIG, step.id, step.config)
            case CreateService():
                self._create_service(step.spec)
            case UpdateService():
                self._update_service(step)
            case _:
                assert_never(step)

    def remove_service(self, service_id: str, name: str) -> None:
        """Remove a service, and ask its tasks to go."""
        changes = rules_service.removed_service(self.draft, service_id, now_s=self._now_s)
        removed = [change for change in changes if isinstance(change, Delete)]
        stopped = changes[len(removed) :]
        self._note("remove", Kind.SERVICE, service_id, name, *removed)
        told = stopped[: max(0, rules_service.STOPPED_WITH_IT - self._stopped)]
        self._stopped += len(stopped)
        self.changes += told
        self._apply(stopped)

    def remove_value(self, found: Secret | Config) -> None:
        """Remove a secret or config that no service refers to."""
        kind = Kind.SECRET if isinstance(found, Secret) else Kind.CONFIG
        with _naming(f"remove {kind} {found.spec.name}"):
            changes = rules.removed(self.draft, kind, found.id)
        self._note("remove", kind, found.id, found.spec.name, *changes)

    def remove_network(self, network_id: str, name: str) -> None:
        """Remove a network that nothing is on."""
        with _naming(f"remove network {name}"):
            changes = rules_network.removed_network(self.draft, network_id)
        self._note("remove", Kind.NETWORK, network_id, name, *changes)

    def _create(self, kind: Kind, new: NewSecret | NewConfig) -> None:
        object_id = self._new_id()
        with _naming(f"create {kind} {new.spec.name}"):
            put = (
                rules.new_secret(self.draft, object_id, new.spec)
                if isinstance(new, NewSecret)
                else rules.new_config(self.draft, object_id, new.spec)
            )
        self._note("create", kind, object_id, new.spec.name, put)
        self.changes.append(PutValue(kind, object_id, new.value))

    def _label(self, kind: Kind, object_id: str, new: NewSecret | NewConfig) -> None:
        """Bring an object's labels up to date; that its value is the posted one is known."""
        found = self.draft.get(kind, object_id)
        assert isinstance(found, Secret | Config)
        if found.spec.labels == new.spec.labels:
            return self._note("unchanged", kind, object_id, new.spec.name)
        version = found.version.index
        with _naming(f"update {kind} {new.spec.name}"):
            changes = (
                rules.updated_secret(self.draft, object_id, new.spec, version=version, same_value=True)
                if isinstance(new, NewSecret)
                else rules.updated_config(self.draft, object_id, new.spec, version=version, same_value=True)
            )
        fields = label_differences(found.spec.labels, new.spec.labels)
        return self._note("update", kind, object_id, new.spec.name, *changes, fields=fields)

    def _create_service(self, spec: ServiceSpec) -> None:
        service_id = self._new_id()
        with _naming(f"create service {spec.name}"):
            put = rules_service.new_service(
                self._others_released(service_id), service_id, self._with_ids(spec), now_s=self._now_s
            )
        changes = with_credentials(self.draft, put, self._given(spec))
        self._note("create", Kind.SERVICE, service_id, spec.name, *changes)

    def _update_service(self, step: UpdateService) -> None:
        """Give a service its new spec.

        One that has it already is left alone, unless its update is stuck: that begins again.  A job runs again.
        """
        old = self.draft.services[step.id]
        with _naming(f"update service {step.spec.name}"):
            put = rules_service.updated_service(
                self._others_released(old.id),
                old.id,
                self._with_ids(step.spec),
                version=old.version.index,
                now_s=self._now_s,
            )
        new = put.obj
        assert isinstance(new, Service)
        given = self._given(new.spec)
        stuck = old.update_status is not None and old.update_status.state in PAUSED
        if new.spec == old.spec and not stuck and not new.is_job:
            kept = with_credentials(self.draft, Put(old), given) if given is not None else ()
            return self._note("unchanged", Kind.SERVICE, old.id, old.spec.name, *kept)
        names = {network.id: network.spec.name for network in self.draft.networks.values()}
        fields = differences(old.spec, new.spec, names)
        if stuck and old.update_status is not None:
            fields += (FieldChange(field="UpdateStatus", old=old.update_status.state.value, new=None),)
        if new.is_job:
            before, after = (str(one.job_iteration.index) if one.job_iteration else None for one in (old, new))
            fields += (FieldChange(field="JobStatus.JobIteration", old=before, new=after),)
        self._releasing.pop(old.id, None)
        changes = with_credentials(self.draft, put, given)
        return self._note("update", Kind.SERVICE, old.id, old.spec.name, *changes, fields=fields)

    def _given(self, spec: ServiceSpec) -> Given | None:
        """Return the credentials for a service's image; None where there are none, and those it has are kept."""
        value = self._auths.get(registry_of(spec.task_template.container_spec.image))
        return Given(id=self._new_id(), value=value) if value is not None else None

    def _with_ids(self, spec: ServiceSpec) -> ServiceSpec:
        """Return a spec whose references carry ids; those made by this deploy among them."""
        container = spec.task_template.container_spec
        secrets = {one.secret_name: self._id_of(Kind.SECRET, one.secret_name) for one in container.secrets}
        configs = {one.config_name: self._id_of(Kind.CONFIG, one.config_name) for one in container.configs}
        return with_ids(spec, secrets, configs)

    def _id_of(self, kind: Kind, name: str) -> str:
        found = self.draft.by_name(kind, name)
        return "" if found is None else found.id

    def _others_released(self, service_id: str) -> Snapshot:
        """Return the draft as it is when services that are updated later have let go of their ports.

        So a port can move from one service of a stack to another, in whichever order the file has them.
        """
        later = [
            Put(replace(other, spec=replace(other.spec, endpoint_spec=spec.endpoint_spec), endpoint=Endpoint()))
            for other_id, spec in self._releasing.items()
            if other_id != service_id and (other := self.draft.services.get(other_id)) is not None
        ]
        return self.draft if not later else self.draft.apply(later, index=self.index, now_s=self._now_s)

    def _note(
        self, action: str, kind: Kind, object_id: str, name: str, *changes: Change, fields: tuple[FieldChange, ...] = ()
    ) -> None:
        self.done.append(Done(action=action, kind=kind, id=object_id, name=name, fields=fields))
        self.changes += changes
        self._apply(changes)

    def _apply(self, changes: Iterable[Change]) -> None:
        self.draft = self.draft.apply(changes, index=self.index, now_s=self._now_s)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say of a refusal which step was refused."""
    try:
        yield
    except VaultError as error:
        raise StepRefused(what, error) from None


def _releases(service: Service, spec: ServiceSpec) -> bool:
    """Whether a service publishes a port that its new spec does not."""
    return bool(_published(service.spec) - _published(spec))


def _published(spec: ServiceSpec) -> set[tuple[int, str]]:
    ports = spec.endpoint_spec.ports if spec.endpoint_spec else ()
    return {(port.published_port, port.protocol) for port in ports if port.published_port}
