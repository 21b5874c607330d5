"""Which object of the cluster a `file:` secret or config stands for: a value does not change, so new bytes are another.

Pure; called by `vault.stack.deploy`.  The first has the name that the stack gives it, say `demo_password`; each later
one that name and a tag of its value, `demo_password-1f0c9a7b3e`, and a label that says what it is a generation of.  In
tasks the file keeps its name.  Whether a value is the posted one is asked before: values are in no snapshot.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.model.names import check_object_name
from vault.model.secret import Config, Secret, SecretSpec
from vault.model.service import ServiceSpec
from vault.stack.convert import Deployment, NewConfig, NewSecret
from vault.stack.errors import NotDeployable
from vault.stack.namespace import NAMESPACE_LABEL
from vault.store.rules import ONLY_LABELS
from vault.store.snapshot import Snapshot

GENERATION_LABEL: Final = "vault.stack.generation-of"
Tag = Callable[[Kind, str, Plaintext], str]  # Kind, name without the tag, value -> the tag.
Key = tuple[Kind, str]  # And id.
New = TypeVar("New", NewSecret, NewConfig)


class NotCompared(VaultError):
    """An object came up whose value nobody has compared yet: compare, and ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A value of the cluster to be compared with one that was posted."""

    kind: Kind
    id: str
    posted: Plaintext


def comparisons(deployment: Deployment, snapshot: Snapshot) -> Iterator[Comparison]:
    """Yield the values that must be compared before `settled` can tell which objects a stack's files stand for."""
    for kind, news in ((Kind.SECRET, deployment.secrets), (Kind.CONFIG, deployment.configs)):
        held = _Held(snapshot, kind, deployment.namespace.name)
        for new in news:
            yield from (Comparison(kind=kind, id=one.id, posted=new.value) for one in held.under(new.spec.name))


def settled(
    deployment: Deployment, snapshot: Snapshot, *, same: Mapping[Key, bool], tag: Tag, rotate: bool
) -> Deployment:
    """Return the deployment with each secret and config under the name that it has, or will have, in the cluster.

    same: for every comparison, whether the values are equal.  rotate: changed bytes become a new object.
    Raises `NotDeployable` for changed bytes without `rotate`, `NotCompared` for an object that is not in `same`.
    """
    stack = deployment.namespace.name
    of_secrets = _Generations(_Held(snapshot, Kind.SECRET, stack), same, tag, rotate=rotate)
    of_configs = _Generations(_Held(snapshot, Kind.CONFIG, stack), same, tag, rotate=rotate)
    secrets = tuple(of_secrets.settle(new) for new in deployment.secrets)
    configs = tuple(of_configs.settle(new) for new in deployment.configs)
    named = {new.spec.name: made.spec.name for new, made in zip(deployment.secrets, secrets, strict=True)}
    config_named = {new.spec.name: made.spec.name for new, made in zip(deployment.configs, configs, strict=True)}
    services = tuple(_renamed(spec, named, config_named) for spec in deployment.services)
    return with_fields(deployment, secrets=secrets, configs=configs, services=services)


def _changed(new: NewSecret | NewConfig) -> str:
    if isinstance(new.spec, SecretSpec) and new.spec.driver is not None:
        return "its driver is another than the secret's: with --rotate-changed there is a new secret"
    kind = "secret" if isinstance(new.spec, SecretSpec) else "config"
    return f"its file has other bytes than the {kind}: with --rotate-changed they become a new {kind}"


def _told_by(new: NewSecret | NewConfig) -> Plaintext:
    """Return what a generation's tag is of: the value, or who gives it."""
    driver = new.spec.driver if isinstance(new.spec, SecretSpec) else None
    return new.value if driver is None else Plaintext(msgspec.json.encode(driver))


class _Held:
    """The secrets, or the configs, that may stand for a name of a stack: that of the name, and its generations."""

    def __init__(self, snapshot: Snapshot, kind: Kind, stack: str) -> None:
        self.kind = kind
        self._snapshot = snapshot
        self._stack = stack
        self._by_name: dict[str, list[Secret | Config]] = {}
        objects: Iterable[Secret | Config] = (
            snapshot.secrets.values() if kind is Kind.SECRET else snapshot.configs.values()
        )
        for one in objects:
            labels = one.spec.labels
            of = labels.get(GENERATION_LABEL) if labels.get(NAMESPACE_LABEL) == stack else None
            for name in {one.spec.name, of or one.spec.name}:
                self._by_name.setdefault(name, []).append(one)

    def under(self, name: str) -> list[Secret | Config]:
        """Return what may stand for a name, in no order."""
        return self._by_name.get(name, [])

    def worth(self, one: Secret | Config) -> tuple[bool, int]:
        """Sort key: of several that fit, the one that the stack uses, so that nothing rolls for nothing; the newest."""
        users = self._snapshot.services_using(self.kind, one.id)
        return any(user.spec.labels.get(NAMESPACE_LABEL) == self._stack for user in users), one.version.index


class _Generations:
    """The choice for one object after the other, all of one kind."""

    def __init__(self, held: _Held, same: Mapping[Key, bool], tag: Tag, *, rotate: bool) -> None:
        self._held = held
        self._kind = held.kind
        self._same = same
        self._tag = tag
        self._rotate = rotate

    def settle(self, new: New) -> New:
        """Return an object as it is to be in the cluster: one that is there with those bytes, or a new one."""
        kind, name = self._kind, new.spec.name
        held = self._held.under(name)
        fitting = [one for one in held if self._is_same(one, new)]
        if fitting:
            return self._under(max(fitting, key=self._held.worth).spec.name, new)
        if not held:
            return new
        if not self._rotate:
            raise NotDeployable(
                f"failed to update {kind} {name}: rpc error: code = InvalidArgument desc = {ONLY_LABELS}; "
                f"{_changed(new)}"
            )
        return self._under(f"{name}-{self._tag(kind, name, _told_by(new))}", new)

    def _is_same(self, held: Secret | Config, new: NewSecret | NewConfig) -> bool:
        """Whether a held object is the posted one but for its name and labels."""
        if (self._kind, held.id) not in self._same:
            raise NotCompared(f"{self._kind} {held.id} was not compared")
        alike = replace(new.spec, name=held.spec.name, labels=held.spec.labels) == held.spec
        return self._same[self._kind, held.id] and alike

    def _under(self, name: str, new: New) -> New:
        """Return the object under another name of a generation, or as it is under its own."""
        if name == new.spec.name:
            return new
        try:
            check_object_name(name)
        except VaultError as error:
            raise NotDeployable(
                f"failed to create {self._kind} {name}: {error}: give {new.spec.name} a shorter name, with name:"
            ) from None
        labels = {**new.spec.labels, GENERATION_LABEL: new.spec.name}
        return with_fields(new, spec=replace(new.spec, name=name, labels=labels))


def _renamed(spec: ServiceSpec, secrets: Mapping[str, str], configs: Mapping[str, str]) -> ServiceSpec:
    """Return a spec whose references say the names in the cluster; targets stay as they are."""
    container = spec.task_template.container_spec
    container = replace(
        container,
        secrets=tuple(
            replace(one, secret_name=secrets.get(one.secret_name, one.secret_name)) for one in container.secrets
        ),
        configs=tuple(
            replace(one, config_name=configs.get(one.config_name, one.config_name)) for one in container.configs
        ),
    )
    return replace(spec, task_template=replace(spec.task_template, container_spec=container))
