"""Changes: what leads from one snapshot to the next.  Pure.

A change names the version of the object it replaces, and may name objects it relied on; the store applies what is still
true and hands the rest back to be decided again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vault.crypto.plaintext import Plaintext
from vault.model.cluster import Cluster
from vault.model.ids import Kind
from vault.model.network import Network
from vault.model.node import Node
from vault.model.registry_auth import RegistryAuth
from vault.model.secret import Config, Secret
from vault.model.service import Service
from vault.model.stack import StackRecord
from vault.model.task import Task

AnyObject = Cluster | Node | Service | Task | Network | Secret | Config | StackRecord | RegistryAuth

TYPES: Mapping[Kind, type[AnyObject]] = {
    Kind.CLUSTER: Cluster,
    Kind.NODE: Node,
    Kind.SERVICE: Service,
    Kind.TASK: Task,
    Kind.NETWORK: Network,
    Kind.SECRET: Secret,
    Kind.CONFIG: Config,
    Kind.STACK: StackRecord,
    Kind.REGISTRY_AUTH: RegistryAuth,
}
_KINDS: Mapping[type[AnyObject], Kind] = {type_: kind for kind, type_ in TYPES.items()}


def kind_of(obj: AnyObject) -> Kind:
    """Return the kind of an object."""
    return _KINDS[type(obj)]


def name_of(obj: AnyObject) -> str:
    """Return an object's name; tasks, credentials, and nodes without one, have none ("")."""
    return "" if isinstance(obj, Task | RegistryAuth) else obj.spec.name


@dataclass(frozen=True, slots=True)
class Relied:
    """An object, at a version, that a change was decided on; version 0 = it did not exist."""

    kind: Kind
    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Put:
    """Create or replace an object.  `obj.version.index` is the version it replaces; 0 creates."""

    obj: AnyObject
    relied_on: tuple[Relied, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an object, and its value if it has one."""

    kind: Kind
    id: str
    version: int
    relied_on: tuple[Relied, ...] = ()


@dataclass(frozen=True, slots=True)
class PutValue:
    """Keep the value of a secret or config, or credentials (`kind`), in a record of its own.

    Goes with the `Put` of its object.
    """

    kind: Kind
    id: str
    value: Plaintext


@dataclass(frozen=True, slots=True)
class Atomic:
    """Changes that are applied together or not at all."""

    changes: tuple[Put | Delete | PutValue, ...]


Change = Put | Delete | PutValue
