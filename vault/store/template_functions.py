"""The functions of templates: Go's built-in ones, and those that Swarm adds.

Pure.  Called by `vault.store.template` with values that were worked out; `and` and `or` it does itself, since they need
not work out all of theirs.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from vault.crypto.plaintext import Plaintext
from vault.store.template_values import Readable, Refused, Struct, Value, printed, truth, type_of

_VERB = re.compile(rb"%([svdqt%])")
_ORDERS: Final[Mapping[str, Callable[[bytes | int, bytes | int], bool]]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
# Name -> least and most number of arguments; None = any.
ARITIES: Final[Mapping[str, tuple[int, int | None]]] = {
    **dict.fromkeys(("ne", *_ORDERS), (2, 2)),
    "eq": (2, None),
    "not": (1, 1),
    "len": (1, 1),
    "index": (1, None),
    "join": (1, None),
    "print": (0, None),
    "println": (0, None),
    "printf": (1, None),
    "and": (1, None),
    "or": (1, None),
}
PAYLOAD_ARITIES: Final[Mapping[str, tuple[int, int | None]]] = {"secret": (1, 1), "config": (1, 1), "env": (1, 1)}


def arity_of(name: str, context: Readable) -> tuple[int, int | None] | None:
    """Return how many arguments a function takes; None when there is none of that name here."""
    return ARITIES.get(name) or (PAYLOAD_ARITIES.get(name) if context.payload else None)


def call(name: str, arguments: Sequence[Value], context: Readable) -> Value:
    """Return what a function makes of its arguments; raise `Refused` when it can make nothing of them."""
    match name:
        case "secret":
            return _quoted("secret", context.secrets, _string(arguments[0]))
        case "config":
            return _quoted("config", context.configs, _string(arguments[0]))
        case "env":
            return context.env(_string(arguments[0]).decode(errors="replace"))
        case "eq":
            return any(_equal(arguments[0], other) for other in arguments[1:])
        case "ne":
            return not _equal(arguments[0], arguments[1])
        case "not":
            return not truth(arguments[0])
        case "len":
            return _length(arguments[0])
        case "index":
            return _indexed(arguments[0], arguments[1:])
        case "join":
            separator, *parts = map(_string, arguments)
            return separator.join(parts)
        case "print":
            return _print(arguments)
        case "println":
            return b" ".join(map(printed, arguments)) + b"\n"
        case "printf":
            return _printf(_string(arguments[0]), arguments[1:])
        case _:
            return _ordered(name, arguments[0], arguments[1])


def _quoted(kind: str, values: Mapping[str, Plaintext], key: bytes) -> bytes:
    value = values.get(key.decode(errors="replace"))
    if value is None:
        raise Refused(f"{kind} target {key.decode(errors='replace')} not found")
    return value.reveal()


def _string(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise Refused(f"wrong type for value; expected string; got {type_of(value)}")
    return value


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, Struct | Mapping) or isinstance(other, Struct | Mapping):
        raise Refused("incompatible types for comparison")
    if type(one) is not type(other):
        raise Refused("incompatible types for comparison")
    return one == other


def _ordered(name: str, one: Value, other: Value) -> bool:
    if isinstance(one, bool | Struct | Mapping) or isinstance(other, bool | Struct | Mapping):
        raise Refused("invalid type for comparison")
    if type(one) is not type(other):
        raise Refused("incompatible types for comparison")
    return _ORDERS[name](one, other)


def _length(value: Value) -> int:
    if isinstance(value, bytes | Mapping):
        return len(value)
    raise Refused(f"len of type {type_of(value)}")


def _indexed(value: Value, keys: Sequence[Value]) -> Value:
    for key in keys:
        if not isinstance(value, Mapping):
            raise Refused(f"can't index item of type {type_of(value)}")
        value = value.get(_string(key).decode(errors="replace"), "").encode()
    return value


def _print(arguments: Sequence[Value]) -> bytes:
    """Return arguments one after the other, with a space between two of which none is a string."""
    out = b""
    for at, argument in enumerate(arguments):
        if at and not isinstance(argument, bytes) and not isinstance(arguments[at - 1], bytes):
            out += b" "
        out += printed(argument)
    return out


def _printf(form: bytes, arguments: Sequence[Value]) -> bytes:
    left = list(arguments)

    def filled(verb: re.Match[bytes]) -> bytes:
        if verb[1] == b"%":
            return b"%"
        if not left:
            raise Refused("printf has fewer arguments than verbs")
        value = left.pop(0)
        return (
            b'"' + printed(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
            if verb[1] == b"q"
            else printed(value)
        )

    if b"%" in _VERB.sub(b"", form):
        raise Refused("printf knows only the verbs %s, %v, %d, %t, %q and %%")
    text = _VERB.sub(filled, form)
    if left:
        raise Refused("printf has more arguments than verbs")
    return text
