"""Variables in a stack file: `$VAR`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?error}`, `${VAR?error}`, `$$`.

Pure; called by `vault.stack.load` with the caller's environment.  Values are interpolated, keys never.  A value that
changed where a number or a boolean is wanted becomes one.  As in Docker, an unset variable is the empty string,
defaults do not nest, and the form without braces takes a default, too, up to the next `}` or the end: with USER=bob,
`$USER-data` is `bob`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from vault.stack.errors import NotInterpolated

_NAME = "[_a-zA-Z][_a-zA-Z0-9]*"
_OPERATION = r"(?::?[-?][^}]*)?"
_VARIABLE = re.compile(
    rf"\$(?:(?P<dollar>\$)|(?P<named>{_NAME}{_OPERATION})|{{(?P<braced>{_NAME}{_OPERATION})}}|(?P<invalid>))"
)
_PARTS = re.compile(rf"(?P<name>{_NAME})(?:(?P<operator>:?[-?])(?P<word>.*))?", re.DOTALL)
_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")

Environment = Mapping[str, str]
Cast = Callable[[str], int | float | bool]


class _NotCast(Exception):
    """A text that is not what its place wants."""


def interpolate(document: Mapping[str, Any], env: Environment) -> dict[str, Any]:
    """Return the document with every variable replaced.

    Raises `NotInterpolated`, which names the place, for a `$` that starts no variable, a required variable that is
    missing, and a result that cannot be the number or boolean its place wants.
    """
    return {key: _value(value, (key,), env) for key, value in document.items()}


def substitute(text: str, env: Environment) -> str:
    """Return `text` with its variables replaced.  Raises `NotInterpolated` with the reason alone."""

    def replaced(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        variable = match["named"] or match["braced"]
        if not variable:
            raise NotInterpolated(text)
        return _variable(variable, env)

    return _VARIABLE.sub(replaced, text)


def _variable(variable: str, env: Environment) -> str:
    """Return the value of `NAME`, `NAME:-word`, `NAME-word`, `NAME:?word` or `NAME?word`."""
    parts = _PARTS.fullmatch(variable)
    assert parts is not None  # The same rule found it.
    name, operator, word = parts["name"], parts["operator"], parts["word"]
    value = env.get(name)
    present = value is not None and (value != "" or operator in ("-", "?"))
    match operator:
        case ":-" | "-" if not present:
            return word
        case ":?" | "?" if not present:
            raise NotInterpolated(f"required variable {name} is missing a value: {word}")
        case _:
            return value or ""


def _value(value: Any, path: tuple[str, ...], env: Environment) -> Any:
    match value:
        case str():
            return _text(value, path, env) if "$" in value else value
        case dict():
            return {key: _value(item, (*path, key), env) for key, item in value.items()}
        case list():
            return [_value(item, (*path, "[]"), env) for item in value]
        case _:
            return value


def _text(text: str, path: tuple[str, ...], env: Environment) -> str | int | float | bool:
    where = ".".join(path)
    try:
        replaced = substitute(text, env)
    except NotInterpolated as error:
        raise NotInterpolated(
            f"invalid interpolation format for {where}: {_quoted(str(error))}; "
            "you may need to escape any $ with another $"
        ) from None
    cast = _cast_for(path) if replaced != text else None
    if cast is None:
        return replaced
    try:
        return cast(replaced)
    except _NotCast as error:
        raise NotInterpolated(f"error while interpolating {where}: failed to cast to expected type: {error}") from None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


def _to_int(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise _NotCast(f"invalid integer: {text}")
    return int(text)


def _to_mode(text: str) -> int:
    # A file mode is octal, as it would be without the variable.
    return int(text, 8) if re.fullmatch("0[0-7]{1,5}", text) else _to_int(text)


def _to_float(text: str) -> float:
    if _FLOAT.fullmatch(text) is None:
        raise _NotCast(f"invalid number: {text}")
    return float(text)


def _to_bool(text: str) -> bool:
    match text.lower():
        case "y" | "yes" | "true" | "on":
            return True
        case "n" | "no" | "false" | "off":
            return False
        case _:
            raise _NotCast(f"invalid boolean: {text}")


# Below services.NAME; `*` is any key, `[]` any item.
_SERVICE_CASTS: dict[tuple[str, ...], Cast] = {
    ("configs", "[]", "mode"): _to_mode,
    ("secrets", "[]", "mode"): _to_mode,
    ("healthcheck", "retries"): _to_int,
    ("healthcheck", "disable"): _to_bool,
    ("deploy", "replicas"): _to_int,
    ("deploy", "update_config", "parallelism"): _to_int,
    ("deploy", "update_config", "max_failure_ratio"): _to_float,
    ("deploy", "rollback_config", "parallelism"): _to_int,
    ("deploy", "rollback_config", "max_failure_ratio"): _to_float,
    ("deploy", "restart_policy", "max_attempts"): _to_int,
    ("deploy", "placement", "max_replicas_per_node"): _to_int,
    ("deploy", "resources", "limits", "pids"): _to_int,
    ("init",): _to_bool,
    ("oom_score_adj",): _to_int,
    ("ports", "[]", "target"): _to_int,
    ("ports", "[]", "published"): _to_int,
    ("ulimits", "*"): _to_int,
    ("ulimits", "*", "hard"): _to_int,
    ("ulimits", "*", "soft"): _to_int,
    ("privileged",): _to_bool,
    ("read_only",): _to_bool,
    ("stdin_open",): _to_bool,
    ("tty",): _to_bool,
    ("volumes", "[]", "read_only"): _to_bool,
    ("volumes", "[]", "tmpfs", "size"): _to_int,
    ("volumes", "[]", "volume", "nocopy"): _to_bool,
}
_SECTION_CASTS: dict[tuple[str, str], Cast] = {
    ("networks", "external"): _to_bool,
    ("networks", "internal"): _to_bool,
    ("networks", "attachable"): _to_bool,
    ("volumes", "external"): _to_bool,
    ("secrets", "external"): _to_bool,
    ("configs", "external"): _to_bool,
}


def _cast_for(path: tuple[str, ...]) -> Cast | None:
    """Return what the value at `path` is wanted as, None for a string."""
    if len(path) == 3 and path[0] != "services":
        return _SECTION_CASTS.get((path[0], path[2]))
    if len(path) < 3 or path[0] != "services":
        return None
    below = path[2:]
    if below[0] == "ulimits" and len(below) > 1:
        below = ("ulimits", "*", *below[2:])
    return _SERVICE_CASTS.get(below)
