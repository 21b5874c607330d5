"""Small messages, and an identity, for the tests of the channel."""

from datetime import UTC, datetime, timedelta

import msgspec

from vault.crypto.certificates import Identity, Role

CLUSTER, NODE = "c" * 25, "n" * 25
SOMEBODY = Identity(
    cluster_id=CLUSTER,
    node_id=NODE,
    role=Role.WORKER,
    node_key=bytes(32),
    not_before=datetime(2026, 1, 1, tzinfo=UTC),
    not_after=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=90),
)


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A question."""

    text: str


class Tell(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An answer."""

    text: str
    payload: bytes = b""
