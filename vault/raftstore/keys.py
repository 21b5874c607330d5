"""Where a record lives: `/v1/<kind>/<id>`.  A key shows only the kind and a random id.  Pure."""

import re
from typing import Final

from vault.model.errors import StoreDamaged
from vault.model.ids import Kind

VALUE_KINDS: Final = {
    Kind.SECRET: "secret-value",
    Kind.CONFIG: "config-value",
    Kind.REGISTRY_AUTH: "auth-value",
}
OBJECT_KINDS: Final = {kind.value: kind for kind in Kind}
KEYRING_KEY: Final = "/v1/keyring/ring"
HEAD_KEY: Final = "/v1/head"  # Neither is a record: an engine with keys of one kind only keeps its head here,
BEAT_KEY: Final = "/v1/beat"  # and what whoever leads last said of itself.
_KINDS: Final = OBJECT_KINDS | {word: kind for kind, word in VALUE_KINDS.items()}
_OBJECT_PREFIX: Final = {kind: f"/v1/{kind}/" for kind in Kind}
_VALUE_PREFIX: Final = {kind: f"/v1/{word}/" for kind, word in VALUE_KINDS.items()}
_KEY: Final = re.compile(rf"/v1/(?:{'|'.join(_KINDS)})/[0-9a-z]{{1,25}}|{KEYRING_KEY}")


def object_key(kind: Kind, object_id: str) -> str:
    """Return where an object is kept."""
    return _OBJECT_PREFIX[kind] + object_id


def value_key(kind: Kind, object_id: str) -> str:
    """Return where the value of a secret or config, or of credentials, is kept."""
    return _VALUE_PREFIX[kind] + object_id


def split(key: str) -> tuple[str, str]:
    """Return the kind (an object's, a value's, or `keyring`) and the id in a key of ours."""
    _, _, kind, object_id = key.split("/")
    return kind, object_id


def kind_in(key: str) -> Kind:
    """Return the kind of the object that a key of ours, but for the keyring's, holds, or holds the value of."""
    return _KINDS[split(key)[0]]


def is_value(key: str) -> bool:
    """Return whether a key of ours is for the value of a secret or config."""
    return key.startswith(tuple(_VALUE_PREFIX.values()))


def check(key: str) -> None:
    """Raise `StoreDamaged` for a key this store never writes."""
    if _KEY.fullmatch(key) is None:
        raise StoreDamaged("the store holds a record under a key that vault does not write: restore it from a backup")


def number_of(key: str) -> int:
    """Return a key of ours as one number below 2^336, from which `key_of` finds it again."""
    return int.from_bytes(key.encode(), "big")


def key_of(number: int) -> str:
    """Return the key of a `number_of`, or "" if it is none of ours."""
    text = number.to_bytes((number.bit_length() + 7) // 8, "big").decode("ascii", "replace")
    return text if _KEY.fullmatch(text) else ""
