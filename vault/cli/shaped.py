"""Objects of the API that know which fields they may have, for `inspect --format`.  Pure.

The API leaves out what is empty, so that a field is missing tells nothing: an object's type in `vault.model` does.
Called by `vault.cli.inspection`.
"""

from importlib import import_module
from typing import Any, Final

import msgspec.inspect

from vault.cli.template import Named, Shaped

_KINDS: Final = {
    "config": ("vault.model.secret", "Config"),
    "node": ("vault.model.node", "Node"),
    "secret": ("vault.model.secret", "Secret"),
    "service": ("vault.model.service", "Service"),
}


def shaped(value: Any, kind: msgspec.inspect.Type) -> Any:
    """Return a decoded value in which each object of a known type is a `Shaped`, and each map a `Named`."""
    match kind, value:
        case msgspec.inspect.UnionType(), _:
            return shaped(value, next(one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType)))
        case msgspec.inspect.StructType(), dict():
            fields = {field.encode_name: field.type for field in kind.fields}
            found = Shaped(
                {name: shaped(part, fields[name]) if name in fields else part for name, part in value.items()}
            )
            found.fields = frozenset(fields)
            return found
        case msgspec.inspect.DictType(), dict():
            return Named(value)
        case _:
            return value


def complete(value: dict[str, Any]) -> Shaped:
    """Return an object of which the API leaves out nothing, as its networks, volumes and containers are."""
    found = Shaped({name: Named(part) if isinstance(part, dict) else part for name, part in value.items()})
    found.fields = frozenset(value)
    return found


def kind_of(name: str) -> msgspec.inspect.Type:
    """Return the type of what `vault NAME inspect` shows."""
    module, title = _KINDS[name]
    return msgspec.inspect.type_info(getattr(import_module(module), title))
