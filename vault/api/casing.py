"""Names of fields in whatever case they were posted, as Go's decoder takes them.  Pure.

`{"name": "web"}` means the same to Docker as `{"Name": "web"}`; a decoder that knows only the latter would pass the
other over without a word.  Called by `vault.api.bodies`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import inspect


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a type has fields: an object's own, those of its parts, those of each part of a list or a map."""

    names: frozenset[str] | None = None  # None: any name is one, as in a map.
    folded: Mapping[str, str] = field(default_factory=dict)  # From lower case.
    parts: Mapping[str, "Shape"] = field(default_factory=dict)
    each: "Shape | None" = None


_SHAPES: dict[Any, Shape | None] = {}  # Of the types that the API decodes, each worked out once.


def shape_of(type_: Any) -> Shape | None:
    """Return the shape of a type; None where nothing in it has fields."""
    if type_ not in _SHAPES:
        _SHAPES[type_] = _shape(inspect.type_info(type_))
    return _SHAPES[type_]


def _shape(info: inspect.Type) -> Shape | None:
    match info:
        case inspect.UnionType(types=types):
            return next((found for found in map(_shape, types) if found is not None), None)
        case inspect.StructType(fields=fields):
            inside = {one.encode_name: _shape(one.type) for one in fields}
            return Shape(
                names=frozenset(inside),
                folded={name.lower(): name for name in inside},
                parts={name: part for name, part in inside.items() if part is not None},
            )
        case inspect.ListType(item_type=inner) | inspect.VarTupleType(item_type=inner):
            each = _shape(inner)
        case inspect.DictType(value_type=inner):
            each = _shape(inner)
        case _:
            return None
    return None if each is None else Shape(each=each)


def name_fields(value: object, shape: Shape | None) -> None:
    """Give the fields of a decoded document their own names, in place; one that has its name already stays."""
    if shape is None:
        return
    if isinstance(value, list):
        for item in value:
            name_fields(item, shape.each)
    elif isinstance(value, dict):
        if shape.names is None:
            for item in value.values():
                name_fields(item, shape.each)
            return
        for key in [key for key in value if key not in shape.names and key.lower() in shape.folded]:
            value.setdefault(shape.folded[key.lower()], value.pop(key))
        for name, part in shape.parts.items():
            if name in value:
                name_fields(value[name], part)
