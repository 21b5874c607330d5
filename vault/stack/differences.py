"""What of a service a deploy would change, field by field.

Pure; called by `vault.stack.carry` with specs as they are stored.  A field is named as in the Engine API, without what
stands in front of nearly all of them; lists whose items have a name (variables, secrets, mounts, ports) are compared
item by item.  No value of a secret or config is in a spec, so none can be in a difference.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from vault.model.service import ServiceSpec

_PREFIXES: Final = ("TaskTemplate.ContainerSpec.", "TaskTemplate.")
_MAX_TEXT: Final = 200  # Characters of one value that are shown.


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field; None = it is not there.  Long values are cut off."""

    field: str
    old: str | None
    new: str | None


REORDERED: Final = FieldChange(field="(the order of a list)", old=None, new=None)


def differences(old: ServiceSpec, new: ServiceSpec, networks: Mapping[str, str]) -> tuple[FieldChange, ...]:
    """Return what is different in `new`, in the order of the old spec's fields, then the new one's.

    networks: names by id.
    """
    before, after = fields_of(old, networks), fields_of(new, networks)
    found = tuple(
        FieldChange(field=_short(field), old=_cut(before.get(field)), new=_cut(after.get(field)))
        for field in dict.fromkeys((*before, *after))
        if before.get(field) != after.get(field)
    )
    return found or ((REORDERED,) if old != new else ())


def label_differences(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FieldChange, ...]:
    """Return the labels that are different."""
    return tuple(
        FieldChange(field=f"Labels.{key}", old=_cut(old.get(key)), new=_cut(new.get(key)))
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    )


def fields_of(spec: ServiceSpec, networks: Mapping[str, str]) -> dict[str, str]:
    """Return every field of a spec that says something, by its path, as text."""
    return dict(_flat("", msgspec.to_builtins(spec), networks))


def _flat(path: str, value: Any, networks: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for key, item in value.items():
                yield from _flat(f"{path}.{key}" if path else key, item, networks)
        case list() | tuple():
            yield from _items(path, value, networks)
        case None:
            return
        case _:
            yield path, _text(value)


def _items(path: str, items: list[Any] | tuple[Any, ...], networks: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the items of a list under their names, or the list as a whole where they have none."""
    match path.rpartition(".")[2]:
        case "Env":
            yield from ((f"{path}.{key}", value) for key, _, value in (item.partition("=") for item in items))
        case "Secrets" | "Configs" as kind:
            for item in items:
                file = item.get("File", {})
                owner = f"{file.get('UID', '0')}:{file.get('GID', '0')}"
                yield (
                    f"{path}.{file.get('Name', '')}",
                    f"{item.get(f'{kind[:-1]}Name', '')} ({owner}, mode {file.get('Mode', 0):04o})",
                )
        case "Mounts":
            for item in items:
                rest = {key: part for key, part in item.items() if key != "Target"}
                yield f"{path}.{item.get('Target', '')}", _text(rest)
        case "Ports":
            for item in items:
                what = f"{item.get('PublishedPort', 0)}:{item.get('TargetPort', 0)}/{item.get('Protocol', 'tcp')}"
                yield f"{path}.{what}", item.get("PublishMode", "")
        case "Networks":
            for item in items:
                target = item.get("Target", "")
                rest = {key: part for key, part in item.items() if key != "Target" and part}
                yield f"{path}.{networks.get(target, target)}", _text(rest)
        case _:
            if items:
                yield path, _text(list(items))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _short(field: str) -> str:
    for prefix in _PREFIXES:
        field = field.removeprefix(prefix)
    return field
