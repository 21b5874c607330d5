"""What a template may read, and the values it works with, as Go's text/template has them.

Pure.  Used by `vault.store.template` and `template_functions`.  Strings are bytes: a secret may be anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.model.task import Task


class TemplateFailed(VaultError):
    """A template cannot be filled in; the text says where and why, in Docker's words, and never shows a value."""

    status = HTTPStatus.BAD_REQUEST


class Refused(Exception):
    """An action is refused for this reason; whoever knows where it stands makes a `TemplateFailed` of it."""


@dataclass(frozen=True, slots=True)
class Struct:
    """A value with named fields, and what Go calls its type."""

    type: str
    fields: Mapping[str, "Value"]


class Budget:
    """How much work templates may make in all, since a range repeats what is written once."""

    def __init__(self, units: int) -> None:
        """units: each is a value worked out, or a kibibyte or an entry of one."""
        self._left = units

    def spend(self, value: "Value") -> None:
        """Take what a value costs.  Raises `TemplateFailed` when nothing is left."""
        match value:
            case bytes():
                size = len(value) >> 10
            case Mapping():
                size = len(value)
            case _:
                size = 0
        self._left -= 1 + size
        if self._left < 0:
            raise TemplateFailed("template: expansion: it would take too long: use fewer or shorter ranges")


Value = bytes | int | bool | Struct | Mapping[str, str]


class Readable(Protocol):
    """What a template may read."""

    @property
    def payload(self) -> bool:
        """Whether it may quote secrets, configs and the environment."""
        ...

    @property
    def secrets(self) -> Mapping[str, Plaintext]:
        """By target file name."""
        ...

    @property
    def configs(self) -> Mapping[str, Plaintext]: ...
    def root(self) -> Struct:
        """Return what a template's dot stands for."""
        ...

    def env(self, name: str) -> bytes:
        """Return a variable of the environment; "" when there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the templates of one task may read: only what the task itself may."""

    task: Task
    node: Mapping[str, str] = field(default_factory=dict)  # id, hostname, architecture, os.
    secrets: Mapping[str, Plaintext] = field(default_factory=dict)  # By target file name.
    configs: Mapping[str, Plaintext] = field(default_factory=dict)
    payload: bool = False  # It is for the text of secrets and configs, which may quote each other and the environment.

    def root(self) -> Struct:
        """Return what a template's dot stands for."""
        task, node = self.task, self.node
        platform = {"Architecture": _bytes(node, "architecture"), "OS": _bytes(node, "os")}
        service: dict[str, Value] = {
            "ID": task.service_id.encode(),
            "Name": task.service_name.encode(),
            "Labels": task.service_labels,
        }
        here: dict[str, Value] = {
            "ID": _bytes(node, "id"),
            "Hostname": _bytes(node, "hostname"),
            "Platform": Struct("template.Platform", platform),
        }
        own = {"ID": task.id.encode(), "Name": task.name.encode(), "Slot": str(task.slot_key).encode()}
        return Struct(
            "*template.PayloadContext" if self.payload else "*template.Context",
            {
                "Service": Struct("struct { ID string; Name string; Labels map[string]string }", service),
                "Node": Struct("struct { ID string; Hostname string; Platform template.Platform }", here),
                "Task": Struct("struct { ID string; Name string; Slot string }", own),
            },
        )

    def env(self, name: str) -> bytes:
        """Return a variable of the container's environment, as its spec has it; "" when it has none."""
        for entry in reversed(self.task.spec.container_spec.env):
            key, _, value = entry.partition("=")
            if key == name:
                return value.encode()
        return b""


def _bytes(node: Mapping[str, str], name: str) -> bytes:
    return node.get(name, "").encode()


def field_of(value: Value, name: str) -> Value:
    """Return a field of a value; raise `Refused` when it has none of that name."""
    match value:
        case Struct():
            if name in value.fields:
                return value.fields[name]
        case Mapping():
            if name not in value:
                raise Refused(f'map has no entry for key "{name}"')
            return value[name].encode()
    raise Refused(f"can't evaluate field {name} in type {type_of(value)}")


def turns_of(value: Value) -> Iterable[tuple[Value | None, Value]]:
    """Return what a range goes through: keys, where there are some, and values.  Raises `Refused`."""
    match value:
        case Mapping():
            return [(key.encode(), value[key].encode()) for key in sorted(value)]
        case int() if not isinstance(value, bool):
            return ((None, number) for number in range(value))
    raise Refused(f"range can't iterate over a value of type {type_of(value)}")


def type_of(value: Value) -> str:
    """Return what Go calls the type of a value."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case bytes():
            return "string"
        case Struct():
            return value.type
        case _:
            return "map[string]string"


def printed(value: Value) -> bytes:
    """Return a value as an action prints it."""
    match value:
        case bool():
            return b"true" if value else b"false"
        case int():
            return str(value).encode()
        case bytes():
            return value
        case Struct():
            return b"{" + b" ".join(printed(part) for part in value.fields.values()) + b"}"
        case _:
            return b"map[" + b" ".join(f"{key}:{value[key]}".encode() for key in sorted(value)) + b"]"


def truth(value: Value) -> bool:
    """Return whether `if` takes a value for true: whether it is not empty."""
    return isinstance(value, Struct) or bool(value)
