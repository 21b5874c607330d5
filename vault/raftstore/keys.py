"""Where a record lives: `/v1/<kind>/<id>`.  A key shows only the kind and a random id.  Pure."""

import re
from typing import Final, NamedTuple

from vault.model.errors import StoreDamaged
from vault.model.ids import Kind

VALUE_KINDS: Final = {Kind.SECRET: "secret-value", Kind.CONFIG: "config-value"}
OBJECT_KINDS: Final = {kind.value: kind for kind in Kind}
_OBJECT_KIND_OF: Final = OBJECT_KINDS | {word: kind for kind, word in VALUE_KINDS.items()}
KEYRING: Final = "keyring"
_KEY: Final = re.compile(r"/v1/([a-z][a-z-]{0,30})/([0-9a-z]{1,25})")


class Place(NamedTuple):
    """A record's kind (an object's, a value's, or the keyring's) and id."""

    kind: str
    id: str

    @property
    def key(self) -> str:
        """The key in the engine."""
        return f"/v1/{self.kind}/{self.id}"

    @property
    def is_value(self) -> bool:
        """Whether it holds the value of a secret or config."""
        return self.kind in VALUE_KINDS.values()

    @property
    def object_kind(self) -> Kind:
        """The kind of the object it holds, or whose value it holds."""
        return _OBJECT_KIND_OF[self.kind]

    @property
    def number(self) -> int:
        """The place as one number, its bytes big endian, from which `place_of` finds it again."""
        return int.from_bytes(f"{self.kind}/{self.id}".encode(), "big")


KEYRING_PLACE: Final = Place(KEYRING, "ring")


def object_place(kind: Kind, object_id: str) -> Place:
    """Return where an object is kept."""
    return Place(kind.value, object_id)


def value_place(kind: Kind, object_id: str) -> Place:
    """Return where the value of a secret or config is kept."""
    return Place(VALUE_KINDS[kind], object_id)


def parse(key: str) -> Place:
    """Return the place a key names.  Raises `StoreDamaged` for a key this store never writes."""
    match = _KEY.fullmatch(key)
    known = match is not None and match[1] in (*OBJECT_KINDS, *VALUE_KINDS.values(), KEYRING)
    if match is None or not known:
        raise StoreDamaged("the store holds a record under a key that vault does not write: restore it from a backup")
    return Place(match[1], match[2])


def place_of(number: int) -> str:
    """Return `kind/id` of a `Place.number`, or "" if it is none."""
    text = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if not text.isascii() or _KEY.fullmatch("/v1/" + text.decode("ascii")) is None:
        return ""
    return text.decode("ascii")
