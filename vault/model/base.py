"""What every model object shares: one shape for store, API and validation.

Frozen structs with Docker's JSON names; a field equal to its default is left out, as Docker leaves it out, except
those made with `always`, which Docker always sends.  `null` never decodes: the API drops nulls before it decodes.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

import msgspec

T = TypeVar("T")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZERO_TIME = "0001-01-01T00:00:00Z"  # How Go prints "never".
SECOND_NS = 1_000_000_000


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True, gc=False):
    """A part of an object.

    The garbage collector does not look at it: frozen, it is in no cycle, and there are hundreds of thousands of them.
    """


class Version(Shape, frozen=True, kw_only=True):
    """Commit index of the last write of an object; the optimistic lock of the API."""

    index: int = msgspec.field(default_factory=lambda: 0)


class Object(Shape, frozen=True, kw_only=True):
    """A stored object of the cluster.  `version.index` 0 means: not stored yet."""

    id: str = msgspec.field(name="ID")  # 25 characters [0-9a-z].
    version: Version = msgspec.field(default_factory=lambda: Version())
    created_at: datetime = msgspec.field(default_factory=lambda: EPOCH)  # Set by the store at the first commit.
    updated_at: datetime = msgspec.field(default_factory=lambda: EPOCH)  # Set by the store at every commit.


def always(value: T) -> T:
    """Return a field default that is encoded even when the field still has it."""
    # msgspec compares only defaults and empty containers of built-in factories, so another factory is never left out.
    default: T = msgspec.field(default_factory=lambda: value)
    return default


def _new_map() -> dict[str, str]:
    # Not `dict` itself: msgspec would leave an empty one out.
    return {}


def no_labels() -> dict[str, str]:
    """Return an empty label map as a field default that is encoded as {}."""
    labels: dict[str, str] = msgspec.field(default_factory=_new_map)
    return labels


@lru_cache(maxsize=8)
def from_s(now_s: float) -> datetime:
    """Return the UTC time of `now_s`, seconds since 1970; whoever is part of one decision asks for the same."""
    return datetime.fromtimestamp(now_s, UTC)
