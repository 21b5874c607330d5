"""Rules for secrets and configs: what a write must fulfil, and the changes it is.  Pure.

Called by `vault.api` inside `Store.submit`, against the proposed snapshot.  A rule that is broken raises the
`VaultError` with Docker's text; nothing here ever sees a value, only its size.
"""

from typing import TypeVar

import msgspec

from vault.model.base import Version
from vault.model.errors import AlreadyExists, InUse, InvalidArgument, NotFound, OutOfSequence
from vault.model.ids import Kind
from vault.model.names import check_config_size, check_object_name, check_secret_size
from vault.model.node import Node
from vault.model.secret import Config, ConfigSpec, Secret, SecretSpec
from vault.model.service import Service
from vault.store.changes import AnyObject, Change, Delete, Put
from vault.store.snapshot import Snapshot

ObjectT = TypeVar("ObjectT", bound=AnyObject)
PlannedT = TypeVar("PlannedT", Node, Service)
TEMPLATE_DRIVERS = ("", "golang")
ONLY_LABELS = "only updates to Labels are allowed"


def check_secret(spec: SecretSpec, size_bytes: int) -> None:
    """Raise `InvalidArgument` unless a secret may be made of `spec` and a value of that size; needs no snapshot."""
    check_object_name(spec.name)
    _check_templating(spec)
    if spec.driver is None:
        return check_secret_size(size_bytes)
    if not spec.driver.name:
        raise InvalidArgument("secret driver must have a name")
    if size_bytes:
        raise InvalidArgument("when using secret driver secret data must be empty")
    return None


def check_config(spec: ConfigSpec, size_bytes: int) -> None:
    """Raise `InvalidArgument` unless a config may be made of `spec` and a value of that size; needs no snapshot."""
    check_object_name(spec.name)
    _check_templating(spec)
    check_config_size(size_bytes)


def new_secret(snapshot: Snapshot, secret_id: str, spec: SecretSpec) -> Put:
    """Return the change that creates a secret; raise `AlreadyExists` when the name is taken, whatever its case."""
    check_name_free(snapshot, Kind.SECRET, spec.name)
    return Put(Secret(id=secret_id, spec=spec))


def new_config(snapshot: Snapshot, config_id: str, spec: ConfigSpec) -> Put:
    """Return the change that creates a config; raise `AlreadyExists` when the name is taken, whatever its case."""
    check_name_free(snapshot, Kind.CONFIG, spec.name)
    return Put(Config(id=config_id, spec=spec))


def updated_secret(
    snapshot: Snapshot, secret_id: str, spec: SecretSpec, *, version: int, same_value: bool
) -> tuple[Change, ...]:
    """Return the change that gives a secret other labels, the one thing that may change.

    version: the index the caller read.  same_value: whether the value posted, if any, is the stored one.
    """
    old = at_version(snapshot.secrets.get(secret_id), Kind.SECRET, secret_id, version)
    if not same_value or msgspec.structs.replace(spec, labels=old.spec.labels) != old.spec:
        raise InvalidArgument(ONLY_LABELS)
    return (Put(msgspec.structs.replace(old, spec=spec)),)


def updated_config(
    snapshot: Snapshot, config_id: str, spec: ConfigSpec, *, version: int, same_value: bool
) -> tuple[Change, ...]:
    """Return the change that gives a config other labels, the one thing that may change."""
    old = at_version(snapshot.configs.get(config_id), Kind.CONFIG, config_id, version)
    if not same_value or msgspec.structs.replace(spec, labels=old.spec.labels) != old.spec:
        raise InvalidArgument(ONLY_LABELS)
    return (Put(msgspec.structs.replace(old, spec=spec)),)


def removed(snapshot: Snapshot, kind: Kind, object_id: str) -> tuple[Change, ...]:
    """Return the change that removes a secret or config.

    Raises `InUse` while a service's spec, or the spec it would roll back to, refers to it.
    """
    found = snapshot.get(kind, object_id)
    if not isinstance(found, Secret | Config):
        raise NotFound(kind, object_id)
    users = sorted(_user(service, kind, object_id) for service in snapshot.services_using(kind, object_id))
    if users:
        raise InUse(kind, found.spec.name, users)
    return (Delete(kind, object_id, found.version.index),)


def _check_templating(spec: SecretSpec | ConfigSpec) -> None:
    if spec.templating is not None and spec.templating.name not in TEMPLATE_DRIVERS:
        raise InvalidArgument(f'template driver "{spec.templating.name}" is not supported: use golang')


def _user(service: Service, kind: Kind, object_id: str) -> str:
    """Return a service's name, and says so where only the spec it would roll back to refers to the object."""
    container = service.spec.task_template.container_spec
    if kind is Kind.SECRET:
        ids = {reference.secret_id for reference in container.secrets}
    else:
        ids = {reference.config_id for reference in container.configs}
    return service.spec.name if object_id in ids else f"{service.spec.name} (in its previous spec)"


def check_name_free(snapshot: Snapshot, kind: Kind, name: str, *, prefix: str = "") -> None:
    """Raise `AlreadyExists` when another object of that kind has the name, whatever its case."""
    if snapshot.by_name(kind, name) is not None:
        raise AlreadyExists(f"{prefix}{kind} {name} already exists")


def at_version(obj: ObjectT | None, kind: Kind, reference: str, version: int) -> ObjectT:
    """Return `obj`, which the caller read as `version`; raise `NotFound` or `OutOfSequence`."""
    if obj is None:
        raise NotFound(kind, reference)
    if obj.version != Version(index=version):
        raise OutOfSequence()
    return obj


def with_spec_of(obj: PlannedT | None, kind: Kind, reference: str, version: int) -> PlannedT:
    """Return `obj`, whose spec the caller read as `version`; raise `NotFound`, or `OutOfSequence` for a newer spec.

    What managers and nodes write of an object meanwhile, its status say, does not stand against a change of its spec.
    """
    if obj is None:
        raise NotFound(kind, reference)
    changed = obj.spec_version or obj.version
    if not changed.index <= version <= obj.version.index:
        raise OutOfSequence()
    return obj
