"""DNS messages: queries read, replies written.  Pure, and bounded: a message is gone through once, from left to right.

Only what a resolver of a few names needs: of a query the question and EDNS, of a reply the names asked for.  What is
forwarded goes on as it came, so records of other types need not be understood.
Source: RFC 1035, section 4; RFC 6891 (EDNS); RFC 7766 (TCP).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

HEADER_BYTES: Final = 12
MAX_MESSAGE_BYTES: Final = 65_535
MIN_UDP_BYTES: Final = 512  # What every client of UDP takes.
OUR_UDP_BYTES: Final = 4096  # What EDNS says that we take; it stays inside the machine.
_MAX_LABEL_BYTES: Final = 63
_MAX_NAME_BYTES: Final = 255
_HEADER: Final = struct.Struct(">6H")
_TYPE_AND_CLASS: Final = struct.Struct(">HH")
_RECORD: Final = struct.Struct(">HHIH")
_SAME_NAME: Final = b"\xc0\x0c"  # A pointer to the question's name, which always begins at byte 12.
_IS_REPLY: Final = 0x8000
_OPCODE: Final = 0x7800
_TRUNCATED: Final = 0x0200
_KEPT: Final = 0x0110  # Recursion desired, checking disabled.
_WE_RECURSE: Final = 0x0080
_OPT_BYTES: Final = 11


class Type(IntEnum):
    """Types of records that we know."""

    A = 1
    PTR = 12
    AAAA = 28
    OPT = 41
    ANY = 255


class Rcode(IntEnum):
    """How a query ended."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


INTERNET: Final = 1


class Malformed(Exception):
    """The bytes are no query of ours; `reply` is what to answer, None for nothing."""

    def __init__(self, reply: bytes | None = None) -> None:
        super().__init__("not a query")
        self.reply = reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question."""

    id: int
    flags: int
    labels: tuple[bytes, ...]  # Of the name, as asked; () for the root.
    type: int
    class_: int
    question: bytes  # As it came: name, type and class.
    udp_bytes: int = MIN_UDP_BYTES  # What the client takes by UDP.
    edns: int | None = None  # The version; None when the client does not speak EDNS.


def read_query(data: bytes) -> Query:
    """Return the question of a query.  Raises `Malformed`."""
    if not HEADER_BYTES <= len(data) <= MAX_MESSAGE_BYTES:
        raise Malformed
    id_, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & _IS_REPLY:
        raise Malformed  # Answering it could go round and round.
    if flags & _OPCODE:
        raise Malformed(_bare(id_, flags, Rcode.NOTIMP))
    try:
        if questions != 1:
            raise ValueError
        labels, at = _labels(data)
        type_, class_ = _TYPE_AND_CLASS.unpack_from(data, at)
        at += _TYPE_AND_CLASS.size
        udp_bytes, edns = _find_edns(data, at, answers + authorities, additional)
    except (ValueError, IndexError, struct.error):
        raise Malformed(_bare(id_, flags, Rcode.FORMERR)) from None
    return Query(
        id=id_,
        flags=flags,
        labels=labels,
        type=type_,
        class_=class_,
        question=data[HEADER_BYTES:at],
        udp_bytes=max(MIN_UDP_BYTES, udp_bytes),
        edns=edns,
    )


def write_reply(
    query: Query, rcode: Rcode, records: Sequence[tuple[Type, bytes]] = (), *, max_bytes: int, ttl_s: int = 0
) -> bytes:
    """Return a reply whose records all have the question's name; those that do not fit are left out, and it says so."""
    room = max_bytes - HEADER_BYTES - len(query.question) - (_OPT_BYTES if query.edns is not None else 0)
    body = []
    for type_, value in records:
        record = _SAME_NAME + _RECORD.pack(type_, INTERNET, ttl_s, len(value)) + value
        room -= len(record)
        if room < 0:
            break
        body.append(record)
    flags = _IS_REPLY | query.flags & _KEPT | _WE_RECURSE | rcode & 15
    if len(body) < len(records):
        flags |= _TRUNCATED
    edns = _opt(rcode) if query.edns is not None else b""
    return b"".join((_HEADER.pack(query.id, flags, 1, len(body), 0, 1 if edns else 0), query.question, *body, edns))


def write_truncated(query: Query) -> bytes:
    """Return the reply that sends a client of UDP to TCP."""
    whole = bytearray(write_reply(query, Rcode.NOERROR, max_bytes=MIN_UDP_BYTES))
    whole[2] |= _TRUNCATED >> 8
    return bytes(whole)


def with_id(message: bytes, id_: int) -> bytes:
    """Return a message under another id."""
    return id_.to_bytes(2, "big") + message[2:]


def answers_to(query: Query, reply: bytes, id_: int) -> bool:
    """Return whether a reply is one to this question, sent under that id."""
    if len(reply) < HEADER_BYTES:
        return False
    got, flags, questions = struct.unpack_from(">3H", reply)
    if got != id_ or not flags & _IS_REPLY:
        return False
    if questions == 0:  # Some servers leave the question out when they refuse it.
        return bool(flags & 15)
    asked, repeated = query.question, reply[HEADER_BYTES : HEADER_BYTES + len(query.question)]
    return bool(questions == 1 and asked[:-4].lower() == repeated[:-4].lower() and asked[-4:] == repeated[-4:])


def rcode_of(reply: bytes) -> int:
    """Return how a reply that `answers_to` accepted says the query ended."""
    return reply[3] & 15


def questions_of(reply: bytes) -> int:
    """Return how many questions a reply repeats."""
    return int.from_bytes(reply[4:6], "big")


def write_name(name: str) -> bytes | None:
    """Return a name as labels; None for one that DNS cannot say."""
    labels = [label.encode() for label in name.split(".")]
    if not all(0 < len(label) <= _MAX_LABEL_BYTES for label in labels):
        return None
    whole = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return whole if len(whole) <= _MAX_NAME_BYTES else None


def _labels(data: bytes) -> tuple[tuple[bytes, ...], int]:
    """Return the labels of the question's name and where it ends.  There is nothing before it to point to."""
    labels, at = [], HEADER_BYTES
    while length := data[at]:
        end = at + 1 + length
        if length > _MAX_LABEL_BYTES or end - HEADER_BYTES >= _MAX_NAME_BYTES or end >= len(data):
            raise ValueError
        labels.append(data[at + 1 : end])
        at = end
    return tuple(labels), at + 1


def _find_edns(data: bytes, at: int, before: int, additional: int) -> tuple[int, int | None]:
    """Return the size and version that EDNS says, if it is there."""
    for number in range(before + additional):
        at = _past_name(data, at)
        type_, class_, ttl, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size + length
        if at > len(data):
            raise ValueError
        if type_ == Type.OPT and number >= before:
            return class_, ttl >> 16 & 255
    return MIN_UDP_BYTES, None


def _past_name(data: bytes, at: int) -> int:
    """Return where a name ends; a pointer ends it and is not followed."""
    while length := data[at]:
        if length >= 0xC0:
            return at + 2
        if length > _MAX_LABEL_BYTES:
            raise ValueError
        at += 1 + length
    return at + 1


def _opt(rcode: int) -> bytes:
    return b"\0" + _RECORD.pack(Type.OPT, OUR_UDP_BYTES, rcode >> 4 << 24, 0)


def _bare(id_: int, flags: int, rcode: Rcode) -> bytes:
    return _HEADER.pack(id_, _IS_REPLY | flags & (_OPCODE | _KEPT) | rcode, 0, 0, 0, 0)
