"""The messages of etcd's API v3 that the engine uses, in what etcd 3.4 to 3.6 have in common.  Pure.

Requests are functions that return bytes; replies are read with `from_bytes`, which raises `Malformed`.  The numbers
are those of the fields in etcd's API: https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Self

from vault.raftstore.engines.etcd_api.wire import Malformed, bytes_field, bytes_head, fields, number_field

RANGE: Final = b"/etcdserverpb.KV/Range"
PUT: Final = b"/etcdserverpb.KV/Put"
TXN: Final = b"/etcdserverpb.KV/Txn"
COMPACT: Final = b"/etcdserverpb.KV/Compact"
WATCH: Final = b"/etcdserverpb.Watch/Watch"
STATUS: Final = b"/etcdserverpb.Maintenance/Status"
DEFRAGMENT: Final = b"/etcdserverpb.Maintenance/Defragment"
ALARM: Final = b"/etcdserverpb.Maintenance/Alarm"
MOVE_LEADER: Final = b"/etcdserverpb.Maintenance/MoveLeader"
MEMBER_LIST: Final = b"/etcdserverpb.Cluster/MemberList"
MEMBER_ADD: Final = b"/etcdserverpb.Cluster/MemberAdd"
MEMBER_REMOVE: Final = b"/etcdserverpb.Cluster/MemberRemove"
MEMBER_UPDATE: Final = b"/etcdserverpb.Cluster/MemberUpdate"
MEMBER_PROMOTE: Final = b"/etcdserverpb.Cluster/MemberPromote"

EMPTY: Final = b""  # A request that says nothing.
_CREATE_REVISION, _VALUE = 1, 3  # What a comparison looks at; it asks for equality, which is 0.
_DEACTIVATE, _NOSPACE = 2, 1


class Header(NamedTuple):
    """Who answers, and the newest revision it knows."""

    member_id: int = 0
    revision: int = 0

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        member_id = revision = 0
        for field, value in fields(data):
            if field == 2:
                member_id = _number(value)
            elif field == 3:
                revision = _number(value)
        return cls(member_id, revision)


class KeyValue(NamedTuple):
    """A key as of a revision."""

    key: bytes
    mod_revision: int
    value: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        key = value = b""
        mod_revision = 0
        for field, content in fields(data):
            if field == 1:
                key = _bytes(content)
            elif field == 3:
                mod_revision = _number(content)
            elif field == 5:
                value = _bytes(content)
        return cls(key, mod_revision, value)


class RangeReply(NamedTuple):
    """What a range holds, in the order of the keys."""

    header: Header
    pairs: Sequence[KeyValue]
    more: bool  # The limit kept some back.

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        header, pairs, more = Header(), [], False
        for field, content in fields(data):
            if field == 1:
                header = Header.from_bytes(_bytes(content))
            elif field == 2:
                pairs.append(KeyValue.from_bytes(_bytes(content)))
            elif field == 3:
                more = bool(content)
        return cls(header, pairs, more)


class TxnReply(NamedTuple):
    """How a transaction went; if it did not, what the compared key holds instead."""

    revision: int
    succeeded: bool
    found: bytes | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        revision, succeeded, found = 0, False, None
        for field, content in fields(data):
            if field == 1:
                revision = Header.from_bytes(_bytes(content)).revision
            elif field == 2:
                succeeded = bool(content)
            elif field == 3:
                for kind, reply in fields(_bytes(content)):
                    pairs = RangeReply.from_bytes(_bytes(reply)).pairs if kind == 1 else ()
                    found = pairs[0].value if pairs else found
        return cls(revision, succeeded, found)


class Event(NamedTuple):
    """A key was written; or removed, then the value is None."""

    key: bytes
    mod_revision: int
    value: bytes | None

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        removed, pair = False, KeyValue(b"", 0, b"")
        for field, content in fields(data):
            if field == 1:
                removed = content == 1
            elif field == 2:
                pair = KeyValue.from_bytes(_bytes(content))
        return cls(pair.key, pair.mod_revision, None if removed else pair.value)


class WatchReply(NamedTuple):
    """What a watch saw; a fragment is followed by more, perhaps of its last revision."""

    events: Sequence[Event]
    canceled: bool
    compact_revision: int
    fragment: bool

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        events, canceled, compact_revision, fragment = [], False, 0, False
        for field, content in fields(data):
            if field == 11:
                events.append(Event.from_bytes(_bytes(content)))
            elif field == 4:
                canceled = bool(content)
            elif field == 5:
                compact_revision = _number(content)
            elif field == 7:
                fragment = bool(content)
        return cls(events, canceled, compact_revision, fragment)


class StatusReply(NamedTuple):
    """What a member knows of itself."""

    header: Header
    leader: int = 0  # 0 = it knows of none.
    used_bytes: int = 0  # Of the database, without what is free in it.
    errors: Sequence[str] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        header, leader, used_bytes, errors = Header(), 0, 0, []
        for field, content in fields(data):
            if field == 1:
                header = Header.from_bytes(_bytes(content))
            elif field == 4:
                leader = _number(content)
            elif field == 8:
                errors.append(_text(content))
            elif field == 9:
                used_bytes = _number(content)
        return cls(header, leader, used_bytes, errors)


class EtcdMember(NamedTuple):
    """A member as the cluster lists it."""

    id: int = 0
    name: str = ""
    peer_urls: Sequence[str] = ()
    learner: bool = False

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        member_id, name, learner = 0, "", False
        urls = []
        for field, content in fields(data):
            if field == 1:
                member_id = _number(content)
            elif field == 2:
                name = _text(content)
            elif field == 3:
                urls.append(_text(content))
            elif field == 5:
                learner = bool(content)
        return cls(member_id, name, urls, learner)


def member_list(data: bytes) -> Sequence[EtcdMember]:
    """Return the members in the reply to a list."""
    return [EtcdMember.from_bytes(_bytes(content)) for field, content in fields(data) if field == 2]


def added_member(data: bytes) -> EtcdMember:
    """Return the new member in the reply to an addition."""
    return next((EtcdMember.from_bytes(_bytes(content)) for field, content in fields(data) if field == 2), EtcdMember())


def range_request(
    key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0, serializable: bool = False
) -> bytes:
    """Ask for one key, or for those from key up to and without end.  serializable: without asking other members."""
    return (
        bytes_field(1, key)
        + (bytes_field(2, end) if end else b"")
        + number_field(3, limit)
        + number_field(4, revision)
        + number_field(7, serializable)
    )


def put_request(key: bytes, value: bytes) -> bytes:
    """Ask for one key to be written."""
    return bytes_field(1, key) + bytes_field(2, value)


def txn_request(key: bytes, expected: bytes | None, puts: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    """Ask for writes (None = removal) if a key holds `expected` (None = nothing); otherwise for what it holds."""
    condition = bytes_field(3, key)
    if expected is None:
        condition += number_field(2, _CREATE_REVISION) + b"\x28\0"  # Created at 0, told although it is zero.
    else:
        condition += number_field(2, _VALUE) + bytes_field(7, expected)
    parts = [bytes_field(1, condition)]
    for name, value in puts:
        if value is None:
            parts.append(bytes_field(2, bytes_field(3, bytes_field(1, name))))
            continue
        put = bytes_field(1, name) + bytes_head(2, len(value))
        operation = bytes_head(2, len(put) + len(value)) + put
        parts += (bytes_head(2, len(operation) + len(value)) + operation, value)  # The value is copied only once.
    parts.append(bytes_field(3, bytes_field(1, range_request(key))))
    return b"".join(parts)


def watch_request(key: bytes, end: bytes, *, start_revision: int) -> bytes:
    """Ask for what happens to a range from a revision on, large replies in fragments."""
    wanted = bytes_field(1, key) + bytes_field(2, end) + number_field(3, start_revision) + number_field(8, 1)
    return bytes_field(1, wanted)


def compact_request(revision: int) -> bytes:
    """Ask for the history before a revision to be forgotten, and for an answer when its space is free."""
    return number_field(1, revision) + number_field(2, 1)


def alarms_request() -> bytes:
    """Ask which alarms there are."""
    return EMPTY


def no_space_members(data: bytes) -> Sequence[int]:
    """Return the members that have raised the alarm that space has run out, from the reply."""
    alarms = [dict(fields(_bytes(content))) for field, content in fields(data) if field == 2]
    return [_number(alarm.get(1, 0)) for alarm in alarms if alarm.get(2) == _NOSPACE]


def no_space_is_over(member_id: int) -> bytes:
    """Ask for a member's alarm that space has run out to be lifted."""
    return number_field(1, _DEACTIVATE) + number_field(2, member_id) + number_field(3, _NOSPACE)


def member_add_request(peer_url: str) -> bytes:
    """Ask for a new member, a learner."""
    return bytes_field(1, peer_url.encode()) + number_field(2, 1)


def member_update_request(member_id: int, peer_url: str) -> bytes:
    """Ask for a member to be found elsewhere."""
    return number_field(1, member_id) + bytes_field(2, peer_url.encode())


def member_request(member_id: int) -> bytes:
    """Ask for something to happen to a member: the request of removal, promotion and transfer."""
    return number_field(1, member_id)


def _number(content: int | bytes) -> int:
    if not isinstance(content, int):
        raise Malformed
    return content


def _bytes(content: int | bytes) -> bytes:
    if isinstance(content, int):
        raise Malformed
    return content


def _text(content: int | bytes) -> str:
    return _bytes(content).decode("utf-8", "replace")
