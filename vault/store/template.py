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
from vault.store.template_syntax import Branch, Leave, Node, Word, parse
from vault.store.template_values import (
    Budget,
    Context,
    Readable,
    Refused,
    TemplateFailed,
    Value,
    field_of,
    printed,
    truth,
    turns_of,
)

__all__ = ["Budget", "Context", "TemplateFailed", "render"]
MAX_BYTES: Final = 8 << 20  # Of what a template may become: one value may be quoted many times.
MAX_VARIABLES: Final = 100
MAX_WORK: Final = 100_000  # Half a second.


def render(template: Plaintext, context: Readable, *, guarded: bool = False, budget: Budget | None = None) -> Plaintext:
    """Return a template with every action filled in; raises `TemplateFailed`.

    guarded: the template is a secret itself, so that no error may quote it.
    budget: of several templates together; MAX_WORK for this one if None.
    """
    source = Source(template.reveal(), guarded)
    filling = _Filling(source, context, budget or Budget(MAX_WORK))
    out, size_bytes = [], 0
    for part in filling.parts(filling.checked(parse(source)), filling.root):
        size_bytes += len(part)
        if size_bytes > MAX_BYTES:
            raise TemplateFailed(f"template: expansion: it would become larger than {MAX_BYTES >> 20} MiB")
        out.append(part)
    return Plaintext(b"".join(out))


class _Left(Exception):
    """A turn of a range was left."""

    def __init__(self, goes_on: bool) -> None:
        super().__init__()
        self.goes_on = goes_on


class _Filling:
    """One template being filled in."""

    def __init__(self, source: Source, context: Readable, budget: Budget) -> None:
        self.root: Value = context.root()
        self._source = source
        self._context = context
        self._budget = budget
        self._scopes: list[dict[str, Value]] = [{"$": self.root}]  # Of variables, the innermost last.

    def checked(self, nodes: tuple[Node, ...], known: frozenset[str] = frozenset("$")) -> tuple[Node, ...]:
        """Return nodes whose functions and variables all exist, also where they will not be needed."""
        for node in nodes:
            if isinstance(node, Branch):
                inside = self._check_setting(node.condition, known)
                self.checked(node.then, inside)
                self.checked(node.otherwise, inside)
            elif isinstance(node, Pipeline):
                known = self._check_setting(node, known)
        return nodes

    def _check_setting(self, pipeline: Pipeline, known: frozenset[str]) -> frozenset[str]:
        """Check a pipeline; return the variables that there are after it."""
        self._check(pipeline, known)
        if pipeline.declares:
            if len(known := known.union(pipeline.sets)) > MAX_VARIABLES:
                raise self._source.parse_error(pipeline.at, f"more than {MAX_VARIABLES} variables")
            return known
        for name in pipeline.sets:
            self._check_variable(name, known, pipeline.at)
        return known

    def _check_variable(self, name: str, known: frozenset[str], at: int) -> None:
        if name not in known:
            raise self._source.parse_error(at, f'undefined variable "{name}"')

    def _check(self, operand: Operand, known: frozenset[str]) -> None:
        match operand:
            case Pipeline(commands=parts):
                pass
            case Call(name=name, arguments=parts, at=at):
                if arity_of(name, self._context) is None:
                    raise self._source.parse_error(at, f'function "{name}" not defined')
            case Fields(of=Pipeline() as inner):
                parts = (inner,)
            case Fields(variable=str() as name, at=at) if name:
                self._check_variable(name, known, at)
                return
            case _:
                return
        for part in parts:
            self._check(part, known)

    def parts(self, nodes: tuple[Node, ...], dot: Value) -> Iterator[bytes]:
        """Yield what nodes become, where the dot stands for a value."""
        for node in nodes:
            match node:
                case bytes():
                    yield node
                case Pipeline():
                    value = self._set(node, dot)
                    if not node.sets:
                        yield printed(value)
                case Branch():
                    outside = len(self._scopes)
                    self._scopes.append({})
                    value = self._set(node.condition, dot)
                    if node.word is Word.RANGE:
                        yield from self._turns(node, value, dot)
                    elif truth(value):
                        yield from self.parts(node.then, value if node.word is Word.WITH else dot)
                    else:
                        yield from self.parts(node.otherwise, dot)
                    del self._scopes[outside:]
                case Leave():
                    raise _Left(node.goes_on)

    def _turns(self, node: Branch, value: Value, dot: Value) -> Iterator[bytes]:
        """Yield what a range becomes: its turns, or what is to be there instead of none."""
        condition, names = node.condition, node.condition.sets
        empty, outside = True, len(self._scopes)
        try:
            turns = turns_of(value)
        except Refused as reason:
            raise self._source.value_error(condition.at, condition.end, str(reason)) from None
        for key, item in turns:
            empty = False
            self._budget.spend(item)
            given = (item,) if key is None else (key, item)
            if len(names) > len(given):
                few = "a range over a number has one variable, not two"
                raise self._source.value_error(condition.at, condition.end, few)
            for name, one in zip(names, given[-len(names) :], strict=False):
                self._scope_of(name)[name] = one
            self._scopes.append({})
            try:
                yield from self.parts(node.then, item)
            except _Left as left:
                if not left.goes_on:
                    break
            del self._scopes[outside:]
        if empty:
            yield from self.parts(node.otherwise, dot)

    def _set(self, pipeline: Pipeline, dot: Value) -> Value:
        """Work a pipeline out, and give its value to the variables that take it."""
        value = self._pipeline(pipeline, dot)
        for name in pipeline.sets:
            (self._scopes[-1] if pipeline.declares else self._scope_of(name))[name] = value
        return value

    def _scope_of(self, name: str) -> dict[str, Value]:
        return next(scope for scope in reversed(self._scopes) if name in scope)

    def _pipeline(self, pipeline: Pipeline, dot: Value) -> Value:
        value = self._operand(pipeline.commands[0], dot)
        for command in islice(pipeline.commands, 1, None):
            if not isinstance(command, Call):
                raise self._source.value_error(pipeline.at, pipeline.end, "can't give argument to non-function")
            value = self._call(command, dot, (value,))
            self._budget.spend(value)
        return value

    def _operand(self, operand: Operand, dot: Value) -> Value:
        value = self._value_of(operand, dot)
        self._budget.spend(value)
        return value

    def _value_of(self, operand: Operand, dot: Value) -> Value:
        match operand:
            case Constant():
                return operand.value
            case Pipeline():
                return self._pipeline(operand, dot)
            case Call():
                return self._call(operand, dot, ())
        value = dot if operand.of is None else self._pipeline(operand.of, dot)
        value = self._scope_of(operand.variable)[operand.variable] if operand.variable else value
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
