"""The `filters` of list requests, in both forms that clients send.  Pure.

`{"label": {"env=dev": true}}` and `{"label": ["env=dev"]}` mean the same.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from vault.api.gojson import json_fault
from vault.model.errors import BadRequest

Filters = Mapping[str, tuple[str, ...]]
NO_FILTERS: Filters = {}
MAX_BYTES = 64 * 1024


def parse_filters(text: str, allowed: Collection[str]) -> Filters:
    """Return the values asked for by key.

    Raises `BadRequest` for bad JSON, with Go's text, and for a key that is not in `allowed`.
    """
    if not text:
        return NO_FILTERS
    if len(text) > MAX_BYTES:
        raise BadRequest(f"the filters are too long: send at most {MAX_BYTES} bytes")
    encoded = text.encode("utf-8", errors="replace")
    try:
        posted = msgspec.json.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(json_fault(encoded) or "the filters are not valid JSON") from None
    if posted is None:
        return NO_FILTERS
    if not isinstance(posted, dict):
        raise BadRequest("the filters must be a JSON object of lists")
    filters = {key: _values(key, values) for key, values in posted.items()}
    for key in filters:
        if key not in allowed:
            raise BadRequest(f"Invalid filter '{_printable(key)}'")
    return filters


def matches_labels(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """Whether every `key` or `key=value` of `wanted` is among `labels`."""
    for one in wanted:
        key, equals, value = one.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def matches_prefix(text: str, wanted: Collection[str]) -> bool:
    """Whether `text` begins with one of `wanted`, whatever the case; none wanted means all match."""
    return not wanted or text.lower().startswith(tuple(one.lower() for one in wanted))


def matches_exactly(text: str, wanted: Collection[str]) -> bool:
    """Whether `text` is one of `wanted`, whatever the case; none wanted means all match."""
    return not wanted or text.lower() in {one.lower() for one in wanted}


def named(filters: Filters, name: str, object_id: str, labels: Mapping[str, str]) -> bool:
    """Whether an object passes the filters that all kinds have: id, name, names, label."""
    return (
        matches_prefix(object_id, filters.get("id", ()))
        and matches_prefix(name, filters.get("name", ()))
        and matches_exactly(name, filters.get("names", ()))
        and matches_labels(labels, filters.get("label", ()))
    )


def switch(filters: Filters, key: str, default: bool) -> bool:
    """Return a filter that is a switch; raise `BadRequest` for what is neither true nor false."""
    values = filters.get(key, ())
    if not values:
        return default
    if all(value in ("1", "true", "True") for value in values):
        return True
    if all(value in ("0", "false", "False") for value in values):
        return False
    raise BadRequest(f"Invalid filter '{key}={_printable(values[0])}'")


def one_of(filters: Filters, key: str, known: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the values of a filter, each of which `known` accepts; raise `BadRequest` for another."""
    values = filters.get(key, ())
    for value in values:
        if not known(value):
            raise BadRequest(f"Invalid filter '{key}={_printable(value)}'")
    return values


def _values(key: str, values: object) -> tuple[str, ...]:
    """Return the values of one key, from a map, a list, or a scalar."""
    match values:
        case dict():
            return tuple(values)
        case list():
            return tuple(_text(key, value) for value in values)
        case None:
            return ()
        case _:
            return (_text(key, values),)


def _text(key: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case _:
            raise BadRequest(f"Invalid filter '{_printable(key)}': its values must be strings")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:128])
