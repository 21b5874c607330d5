"""A document as plain values: what its YAML or JSON would hold, keys in the order of the compose file's own definition.

Pure; called by `vault.stack.render` and `vault.stack.posted`.
"""

from collections.abc import Mapping
from typing import Any

from vault.model.durations import go_duration
from vault.stack import document as doc

_ALWAYS = frozenset(("version", "services"))
_TEXTS = frozenset(("memory",))  # Written as strings.
_DURATIONS = frozenset(
    ("delay", "monitor", "window", "timeout", "interval", "start_period", "start_interval", "stop_grace_period")
)


def tree(value: Any, *, ordered: bool) -> Any:
    """Return a part of a document as plain values; what was not given is left out.

    ordered: whether mappings are sorted by key; else they stay in the order of the file.
    """
    if isinstance(value, doc.Ulimit):
        return value.single if value.single else {"soft": value.soft, "hard": value.hard}
    if isinstance(value, doc.GenericResource):
        return {"discrete_resource_spec": {"kind": value.kind, "value": value.value}}
    if isinstance(value, tuple) and value and isinstance(value[0], doc.Dependency):
        return _dependencies(value, ordered=ordered)
    if isinstance(value, doc.Part):
        return _fields(value, ordered=ordered)
    if isinstance(value, Mapping):
        items = sorted(value.items()) if ordered else value.items()
        return {key: tree(item, ordered=ordered) for key, item in items}
    if isinstance(value, tuple | list):
        return [tree(item, ordered=ordered) for item in value]
    return value


def _dependencies(value: tuple[doc.Dependency, ...], *, ordered: bool) -> Any:
    """Return what a service waits for: in the short form where that says all, as Docker prints it."""
    if all(one == doc.Dependency(service=one.service) for one in value):
        return [one.service for one in value]
    return tree(
        {one.service: {"condition": one.condition, **({} if one.required else {"required": False})} for one in value},
        ordered=ordered,
    )


def _fields(value: doc.Part, *, ordered: bool) -> dict[str, Any]:
    """Return the fields that say something, extensions last."""
    defaults = dict(zip(reversed(value.__struct_fields__), reversed(value.__struct_defaults__), strict=False))
    fields: dict[str, Any] = {}
    for name in value.__struct_fields__:
        given = getattr(value, name)
        elsewhere = name == "extensions" or (name == "name" and isinstance(value, doc.Service))
        if elsewhere or not (name in _ALWAYS or _says_something(given, defaults.get(name))):
            continue
        if name in _DURATIONS:
            fields[name] = go_duration(given)
        else:
            fields[name] = str(given) if name in _TEXTS else tree(given, ordered=ordered)
    fields.update(tree(getattr(value, "extensions", {}), ordered=ordered))
    return fields


def _says_something(value: Any, default: Any) -> bool:
    """Return whether a field was given; 0 and False say something only where the default is None."""
    if value is None or (isinstance(value, doc.Part) and default is not None):
        return value is not None and bool(_fields(value, ordered=False))
    return default is None or bool(value)
