"""Templates in configs and secrets: `{{secret "x"}}` and its kin, in the form Go's text/template gives them.

Pure.  Called by `vault.agent.values` when a task is prepared.  What Swarm's own documents use is understood: fields of
.Service, .Node and .Task, the functions secret, config, env, join and index, pipes, comments and trim marks.  Anything
else is refused by name, never left in the text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from vault.crypto import Plaintext
from vault.model.errors import VaultError
from vault.model.task import Task

_ACTION = re.compile(rb"\{\{(- )?(/\*.*?\*/|(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|[^\"`}]|\}(?!\}))*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    rb"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<field>(?:\.[A-Za-z_]\w*)+|\.)|(?P<word>[A-Za-z_]\w*)"""
    rb"""|(?P<number>-?\d+)|(?P<sign>[|()]))"""
)
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b'"': b'"', b"\\": b"\\"}
Value = bytes | int | Mapping[str, str] | Sequence[bytes]


class TemplateFailed(VaultError):
    """A config's template cannot be filled in; the text names the part, never a value."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, reason: str) -> None:
        super().__init__(f"template: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a template may read: only what its own task may."""

    task: Task
    node: Mapping[str, str]  # id, hostname, architecture, os
    secrets: Mapping[str, Plaintext]  # By target file name.
    configs: Mapping[str, Plaintext]

    def field(self, path: str) -> Value:
        """Return the value of `.Service.Name` and the like."""
        task = self.task
        fields: dict[str, Value] = {
            ".Service.ID": task.service_id.encode(),
            ".Service.Name": task.service_name.encode(),
            ".Service.Labels": task.service_labels,
            ".Node.ID": self.node.get("id", "").encode(),
            ".Node.Hostname": self.node.get("hostname", "").encode(),
            ".Node.Platform.Architecture": self.node.get("architecture", "").encode(),
            ".Node.Platform.OS": self.node.get("os", "").encode(),
            ".Task.ID": task.id.encode(),
            ".Task.Name": task.name.encode(),
            ".Task.Slot": str(task.slot_key).encode(),
        }
        head, _, label = path.rpartition(".")
        if path in fields:
            return fields[path]
        if head == ".Service.Labels" and label in task.service_labels:
            return task.service_labels[label].encode()
        raise TemplateFailed(f"there is no field {path}")

    def env(self, name: str) -> bytes:
        """Return a variable of the container's environment; "" when it has none."""
        for entry in reversed(self.task.spec.container_spec.env):
            key, _, value = entry.partition("=")
            if key == name:
                return value.encode()
        return b""


def render(template: Plaintext, context: Context) -> Plaintext:
    """Return a template with every action filled in; raises `TemplateFailed`."""
    text, out, at, trim = template.reveal(), [], 0, False
    for action in _ACTION.finditer(text):
        before = text[at : action.start()]
        before = before.lstrip() if trim else before
        out.append(before.rstrip() if action[1] else before)
        at, trim = action.end(), bool(action[3])
        if not action[2].startswith(b"/*"):
            out.append(_printed(_Expression(action[2], context).value()))
    rest = text[at:]
    if b"{{" in rest:
        raise TemplateFailed("an action is not closed")
    out.append(rest.lstrip() if trim else rest)
    return Plaintext(b"".join(out))


def _printed(value: Value) -> bytes:
    match value:
        case bytes():
            return value
        case int():
            return str(value).encode()
        case Mapping():
            return b"map[" + b" ".join(f"{k}:{value[k]}".encode() for k in sorted(value)) + b"]"
        case _:
            return b"[" + b" ".join(value) + b"]"


class _Expression:
    """One pipeline: `function argument… | function …`."""

    def __init__(self, text: bytes, context: Context) -> None:
        self._context = context
        self._tokens: list[tuple[str, bytes]] = []
        at = 0
        text = text.strip()
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None or token.lastgroup is None:
                raise TemplateFailed("an action is not understood: use fields, secret, config, env, join, index and |")
            self._tokens.append((token.lastgroup, token[token.lastgroup]))
            at = token.end()

    def value(self) -> Value:
        result = self._pipeline()
        if self._tokens:
            raise TemplateFailed("an action has an operand too many")
        return result

    def _pipeline(self) -> Value:
        result = self._command(())
        while self._tokens and self._tokens[0] == ("sign", b"|"):
            self._tokens.pop(0)
            result = self._command((result,))
        return result

    def _command(self, piped: tuple[Value, ...]) -> Value:
        if not self._tokens:
            raise TemplateFailed("an action is empty")
        kind, text = self._tokens[0]
        if kind != "word":
            return self._operand()
        self._tokens.pop(0)
        arguments: list[Value] = []
        while self._tokens and self._tokens[0] not in (("sign", b"|"), ("sign", b")")):
            arguments.append(self._operand())
        return self._call(_text(text), (*arguments, *piped))

    def _operand(self) -> Value:
        kind, text = self._tokens.pop(0)
        match kind:
            case "string":
                return _unquoted(text)
            case "number":
                return int(text)
            case "field":
                return self._context.field(_text(text))
        if (kind, text) != ("sign", b"("):
            raise TemplateFailed(f"{_text(text)} is not understood here")
        inner = self._pipeline()
        if not self._tokens or self._tokens.pop(0) != ("sign", b")"):
            raise TemplateFailed("a parenthesis is not closed")
        return inner

    def _call(self, name: str, arguments: tuple[Value, ...]) -> Value:
        match name, arguments:
            case "secret", (bytes(key),):
                return _value("secret", self._context.secrets, key)
            case "config", (bytes(key),):
                return _value("config", self._context.configs, key)
            case "env", (bytes(key),):
                return self._context.env(_text(key))
            case "index", (Mapping() as labels, bytes(key)):
                return str(labels.get(_text(key), "")).encode()
            case "join", (bytes(separator), *parts) if parts:
                return bytes(separator).join(_printed(part) for part in parts)
            case (("secret" | "config" | "env" | "index" | "join"), _):
                raise TemplateFailed(f"{name} has the wrong arguments")
        raise TemplateFailed(f'function "{name}" not defined')


def _value(kind: str, values: Mapping[str, Plaintext], key: bytes) -> bytes:
    value = values.get(_text(key))
    if value is None:
        raise TemplateFailed(f"{kind} target {_text(key)} not found: the service does not refer to it")
    return value.reveal()


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _unquoted(text: bytes) -> bytes:
    if text.startswith(b"`"):
        return text[1:-1]

    def plain(escape: re.Match[bytes]) -> bytes:
        if escape[1] not in _ESCAPES:
            raise TemplateFailed("a string has an unknown escape")
        return _ESCAPES[escape[1]]

    return re.sub(rb"\\(.)", plain, text[1:-1], flags=re.DOTALL)
