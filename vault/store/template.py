"""Templates in configs, secrets and specs: `{{.Task.Slot}}`, `{{secret "x"}}` and their kin, filled in for one task.

Pure.  Called by `vault.agent.values` for the text of secrets and configs, by `vault.store.expand` for specs, and by
`vault.agent.logdrivers` for the tags of logs.
Errors have the texts of Go's text/template, on which Swarm's templates are built.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from vault.crypto.plaintext import Plaintext
from vault.store.template_actions import Call, Constant, Fields, Operand, Pipeline, Source
from vault.store.template_functions import arity_of, call
from vault.store.template_syntax import Branch, Node, parse
from vault.store.template_values import Context, Readable, Refused, TemplateFailed, Value, field_of, printed, truth

__all__ = ["Context", "TemplateFailed", "render"]
MAX_BYTES: Final = 8 << 20  # Of what a template may become: one value may be quoted many times.


def render(template: Plaintext, context: Readable, *, guarded: bool = False) -> Plaintext:
    """Return a template with every action filled in; raises `TemplateFailed`.

    guarded: the template is a secret itself, so that no error may quote it.
    """
    source = Source(template.reveal(), guarded)
    filling = _Filling(source, context)
    out, size_bytes = [], 0
    for part in filling.parts(filling.checked(parse(source)), filling.root):
        size_bytes += len(part)
        if size_bytes > MAX_BYTES:
            raise TemplateFailed(f"template: expansion: it would become larger than {MAX_BYTES >> 20} MiB")
        out.append(part)
    return Plaintext(b"".join(out))


class _Filling:
    """One template being filled in."""

    def __init__(self, source: Source, context: Readable) -> None:
        self.root: Value = context.root()
        self._source = source
        self._context = context

    def checked(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """Return nodes whose functions all exist, also where they will not be called."""
        for node in nodes:
            if isinstance(node, Branch):
                self._check(node.condition)
                self.checked(node.then)
                self.checked(node.otherwise)
            elif isinstance(node, Pipeline):
                self._check(node)
        return nodes

    def _check(self, operand: Operand) -> None:
        match operand:
            case Pipeline(commands=parts):
                pass
            case Call(name=name, arguments=parts, at=at):
                if arity_of(name, self._context) is None:
                    raise self._source.parse_error(at, f'function "{name}" not defined')
            case Fields(of=Pipeline() as inner):
                parts = (inner,)
            case _:
                return
        for part in parts:
            self._check(part)

    def parts(self, nodes: tuple[Node, ...], dot: Value) -> Iterator[bytes]:
        """Yield what nodes become, where the dot stands for a value."""
        for node in nodes:
            match node:
                case bytes():
                    yield node
                case Pipeline():
                    yield printed(self._pipeline(node, dot))
                case Branch():
                    value = self._pipeline(node.condition, dot)
                    if truth(value):
                        yield from self.parts(node.then, value if node.moves_dot else dot)
                    else:
                        yield from self.parts(node.otherwise, dot)

    def _pipeline(self, pipeline: Pipeline, dot: Value) -> Value:
        value = self._operand(pipeline.commands[0], dot)
        for command in islice(pipeline.commands, 1, None):
            if not isinstance(command, Call):
                raise self._source.value_error(pipeline.at, pipeline.end, "can't give argument to non-function")
            value = self._call(command, dot, (value,))
        return value

    def _operand(self, operand: Operand, dot: Value) -> Value:
        match operand:
            case Constant():
                return operand.value
            case Pipeline():
                return self._pipeline(operand, dot)
            case Call():
                return self._call(operand, dot, ())
        value = dot if operand.of is None else self._pipeline(operand.of, dot)
        value = self.root if operand.of_root else value
        for name in operand.names:
            try:
                value = field_of(value, name)
            except Refused as reason:
                raise self._source.value_error(operand.at, operand.end, str(reason)) from None
        return value

    def _call(self, command: Call, dot: Value, piped: tuple[Value, ...]) -> Value:
        name, given = command.name, len(command.arguments) + len(piped)
        least, most = arity_of(name, self._context) or (0, None)
        if given < least or (most is not None and given > most):
            wanted = str(least) if most == least else f"at least {least}"
            reason = f"wrong number of args for {name}: want {wanted} got {given}"
            raise self._source.value_error(command.at, command.at + len(name), reason)
        if name in ("and", "or"):
            return self._first(command, dot, piped, wanted=name == "or")
        arguments = (*(self._operand(argument, dot) for argument in command.arguments), *piped)
        try:
            return call(name, arguments, self._context)
        except Refused as reason:
            raise self._source.value_error(command.at, command.end, f"error calling {name}: {reason}") from None

    def _first(self, command: Call, dot: Value, piped: tuple[Value, ...], *, wanted: bool) -> Value:
        """Return the first argument that is empty (`and`) or not empty (`or`), else the last; none after it is read."""
        value: Value = b""
        for argument in command.arguments:
            value = self._operand(argument, dot)
            if truth(value) is wanted:
                return value
        return piped[0] if piped else value
