"""Plain values of a document, after the schema has seen it, as the fields of `vault.stack.document` want them.

Pure; called by `vault.stack.sections` and `vault.stack.services`.  Each reader takes what the YAML held and returns one
normal form, or raises `ValueError` with a reason; `fields` adds the place.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vault.model.durations import parse_duration
from vault.model.sizes import parse_size
from vault.stack.errors import NotLoaded
from vault.stack.forms import number_text, split_command
from vault.stack.scalars import BooleanWord

Reader = Callable[[Any], Any]


def fields(value: Mapping[str, Any], readers: Mapping[str, Reader], where: str) -> dict[str, Any]:
    """Return what each reader makes of the key of its name, for the keys that are there.

    Raises `NotLoaded`, which names the place, when a reader refuses.
    """
    read: dict[str, Any] = {}
    for key, reader in readers.items():
        if key not in value:
            continue
        try:
            read[key] = reader(value[key])
        except ValueError as error:
            raise NotLoaded(f"{where}.{key}: {error}") from None
    return read


def extensions(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the x- keys of a mapping."""
    return {key: item for key, item in value.items() if key.startswith("x-")}


def text(value: Any) -> str:
    """Return a scalar as text; a number as Go prints it, null as the empty string."""
    match value:
        case None:
            return ""
        case str():
            return str(value)  # Not a `BooleanWord` any more.
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
        case _:
            raise ValueError(f"cannot be text: {type(value).__name__}")


def boolean(value: Any) -> bool:
    """Return a boolean; an unquoted `yes` is one here."""
    return value.truth if isinstance(value, BooleanWord) else bool(value)


def whole(value: Any) -> int:
    """Return an integer of at most 63 bits and a sign; what is behind the point is cut off, as Docker does."""
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} is too large")
    return number


def count(value: Any) -> int:
    """Return an integer that is not negative."""
    number = whole(value)
    if number < 0:
        raise ValueError(f"{number} must not be negative")
    return number


def at_most(limit: int) -> Reader:
    """Return a reader of integers from 0 to `limit`."""

    def read(value: Any) -> int:
        number = count(value)
        if number > limit:
            raise ValueError(f"{number} must not be greater than {limit}")
        return number

    return read


def ratio(value: Any) -> float:
    """Return a number as a float."""
    return float(value)


def duration(value: Any) -> int:
    """Return a duration in nanoseconds."""
    return parse_duration(text(value))


def size(value: Any) -> int:
    """Return a size in bytes."""
    return parse_size(text(value))


def strings(value: Any) -> tuple[str, ...]:
    """Return a list of strings; one string is a list of itself."""
    return tuple(text(item) for item in value) if isinstance(value, list) else (text(value),)


def words(value: Any) -> tuple[str, ...]:
    """Return a command line as words."""
    return split_command(value) if isinstance(value, str) else strings(value)


def pairs(value: Any) -> dict[str, str]:
    """Return `{a: 1}` or `[a=1]` as a mapping; a key without a value has the empty one."""
    return {key: item or "" for key, item in pairs_or_none(value).items()}


def pairs_or_none(value: Any) -> dict[str, str | None]:
    """Return `{a: 1}` or `[a=1]` as a mapping; a key without a value has None."""
    if isinstance(value, dict):
        return {key: None if item is None else text(item) for key, item in value.items()}
    cut = (text(item).partition("=") for item in value)
    return {key: item if equals else None for key, equals, item in cut}
