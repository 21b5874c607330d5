"""DNS messages, read and written against another implementation; and bytes that are none."""

import struct

import dns.flags
import dns.message
import dns.opcode
import dns.rrset
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.dns.world import packed, query, shown
from vault.dns.wire import (
    MAX_MESSAGE_BYTES,
    Malformed,
    Query,
    Rcode,
    Type,
    answers_to,
    read_query,
    with_id,
    write_name,
    write_reply,
    write_truncated,
)

HEADER = bytes.fromhex("abcd 0100 0001 0000 0000 0000")
IN_A = bytes.fromhex("0001 0001")
labels = st.binary(min_size=1, max_size=63)


def refused(data: bytes) -> bytes | None:
    with pytest.raises(Malformed) as caught:
        read_query(data)
    return caught.value.reply


def test_a_query_is_read_as_another_implementation_wrote_it() -> None:
    data = query("Web.My-Net.", "AAAA", edns=True, payload=1400)
    read = read_query(data)
    assert read.labels == (b"Web", b"My-Net")
    assert (read.type, read.class_, read.udp_bytes, read.edns) == (28, 1, 1400, 0)
    assert read.id == dns.message.from_wire(data).id


def test_the_root_is_a_name_without_labels() -> None:
    assert read_query(query(".", "NS")).labels == ()


def test_a_client_that_takes_less_than_the_standard_size_gets_the_standard_size() -> None:
    assert read_query(query("web", edns=True, payload=20)).udp_bytes == 512


def test_edns_is_found_behind_other_records() -> None:
    message = dns.message.make_query("web", "A", use_edns=0, payload=2000)
    message.authority.append(dns.rrset.from_text("a.example.", 5, "IN", "NS", "ns.a.example."))
    assert read_query(message.to_wire()).udp_bytes == 2000


def test_a_reply_is_read_by_another_implementation() -> None:
    asked = query("web", edns=True)
    reply = write_reply(
        read_query(asked),
        Rcode.NOERROR,
        [(Type.A, one) for one in packed("10.0.1.2", "10.0.1.3")],
        max_bytes=512,
    )
    message = dns.message.from_wire(reply)
    assert dns.message.from_wire(asked).is_response(message)
    assert shown(reply) == ("NOERROR", ["10.0.1.2", "10.0.1.3"])
    assert [rrset.ttl for rrset in message.answer] == [0]
    assert message.flags & dns.flags.RA
    assert not message.flags & (dns.flags.TC | dns.flags.AA)
    assert message.edns == 0


@pytest.mark.parametrize(("edns", "most"), [(False, 512), (True, 1232)])
def test_what_does_not_fit_is_left_out_and_said(edns: bool, most: int) -> None:
    asked = read_query(query("tasks.web", edns=edns))
    every = [(Type.A, bytes((10, 0, n >> 8, n & 255))) for n in range(500)]
    reply = write_reply(asked, Rcode.NOERROR, every, max_bytes=asked.udp_bytes)
    assert most - 16 < len(reply) <= most
    assert dns.message.from_wire(reply).flags & dns.flags.TC
    whole = write_reply(asked, Rcode.NOERROR, every, max_bytes=MAX_MESSAGE_BYTES)
    assert len(shown(whole)[1]) == 500
    assert not dns.message.from_wire(whole).flags & dns.flags.TC


def test_a_client_can_be_sent_to_tcp_without_an_answer() -> None:
    message = dns.message.from_wire(write_truncated(read_query(query("big.example", "TXT", edns=True))))
    assert message.flags & dns.flags.TC
    assert message.question
    assert not message.answer


def test_an_unknown_version_of_edns_is_said_to_be_so() -> None:
    message = dns.message.make_query("web", "A", use_edns=1)
    read = read_query(message.to_wire())
    assert read.edns == 1
    assert shown(write_reply(read, Rcode.BADVERS, max_bytes=512)) == ("BADVERS", [])


def test_a_reply_is_no_query_and_is_never_answered() -> None:
    message = dns.message.make_response(dns.message.make_query("web", "A"))
    assert refused(message.to_wire()) is None


def test_another_operation_is_said_to_be_unknown() -> None:
    message = dns.message.make_query("web", "A")
    message.set_opcode(dns.opcode.UPDATE)
    reply = refused(message.to_wire())
    assert reply is not None
    assert struct.unpack(">HH", reply[:4])[1] & 15 == Rcode.NOTIMP


@pytest.mark.parametrize(
    "data",
    [
        HEADER,  # No question at all.
        HEADER + b"\x03web",  # Ends in the name.
        HEADER + b"\x03web\0\0",  # Ends in the type.
        HEADER + b"\xc0\x0c" + IN_A,  # A name that points to itself.
        HEADER + b"\x03web\xc0\x0c" + IN_A,
        HEADER + b"\xff" * 300,
        HEADER + b"\x40" + b"x" * 64 + b"\0" + IN_A,  # A label of 64 bytes.
        HEADER + (b"\x3f" + b"x" * 63) * 4 + b"\0" + IN_A,  # A name of 257 bytes.
        HEADER + b"\x01a" * 40_000 + b"\0" + IN_A,
        bytes.fromhex("abcd 0100 0002 0000 0000 0000") + b"\x03web\0" + IN_A,  # Two questions.
        bytes.fromhex("abcd 0100 0000 0000 0000 0000"),
        bytes.fromhex("abcd 0100 0001 0000 0000 ffff") + b"\x03web\0" + IN_A,  # 65,535 records that are not there.
        bytes.fromhex("abcd 0100 0001 ffff ffff ffff") + b"\x03web\0" + IN_A + b"\xc0\x0c" * 30_000,
    ],
)
def test_what_cannot_be_read_is_answered_with_its_id_and_format_error(data: bytes) -> None:
    reply = refused(data)
    if len(data) > MAX_MESSAGE_BYTES:
        assert reply is None
    else:
        assert reply is not None
        assert reply[:2] == b"\xab\xcd"
        assert reply[2] & 0x80
        assert reply[3] & 15 == Rcode.FORMERR


def test_the_longest_name_is_read() -> None:
    longest = (b"\x3f" + b"x" * 63) * 3 + b"\x3d" + b"x" * 61 + b"\0"
    assert len(longest) == 255
    assert len(read_query(HEADER + longest + IN_A).labels) == 4


def test_too_few_bytes_for_an_id_get_no_answer() -> None:
    assert refused(b"") is refused(HEADER[:11]) is None


@settings(deadline=None)
@given(st.binary(max_size=600))
@example(HEADER + b"\xc0\x0c" + IN_A)
def test_whatever_comes_is_a_query_or_is_not(data: bytes) -> None:
    try:
        reply: bytes | None = write_reply(read_query(data), Rcode.NOERROR, max_bytes=512)
    except Malformed as error:
        reply = error.reply
    assert reply is None or reply[:2] == data[:2]


@settings(deadline=None)
@given(st.data())
def test_a_query_with_bytes_changed_never_does_harm(data: st.DataObject) -> None:
    wire = bytearray(query("tasks.web.my-net", edns=True))
    for _ in range(data.draw(st.integers(1, 6))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    wire = wire[: data.draw(st.integers(0, len(wire)))] if data.draw(st.booleans()) else wire
    try:
        read = read_query(bytes(wire))
    except Malformed:
        return
    assert sum(len(label) + 1 for label in read.labels) < 255
    assert bytes(wire[12:]).startswith(read.question)


@settings(deadline=None)
@given(st.lists(labels, min_size=1, max_size=3))
def test_a_name_of_any_bytes_is_read_as_another_implementation_reads_it(name: list[bytes]) -> None:
    wire = HEADER + b"".join(bytes((len(label),)) + label for label in name) + b"\0" + IN_A
    assert read_query(wire).labels == dns.message.from_wire(wire).question[0].name.labels[:-1]


def test_a_reply_counts_only_for_its_question_and_its_id() -> None:
    asked = query("Web.example", "HTTPS")
    read, reply = read_query(asked), dns.message.make_response(dns.message.from_wire(asked)).to_wire()
    assert answers_to(read, reply, read.id)
    assert answers_to(read, reply.replace(b"Web", b"wEB"), read.id), "servers may change the case of letters"
    assert answers_to(read, with_id(reply, 7), 7)
    assert not answers_to(read, reply, read.id ^ 1)
    assert not answers_to(read, asked, read.id), "an echo is no reply"
    assert not answers_to(read, reply.replace(b"Web", b"Wob"), read.id)
    a_type_64_higher = reply[:-4] + bytes((reply[-4], reply[-3] ^ 32)) + reply[-2:]
    assert not answers_to(read, a_type_64_higher, read.id)
    assert not answers_to(read, reply[:11], read.id)
    assert not answers_to(read, reply[:20], read.id)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_whatever_a_server_says_is_an_answer_or_is_not(reply: bytes) -> None:
    answers_to(read_query(query("web")), reply, 1)


def test_a_name_that_dns_cannot_say_is_not_written() -> None:
    assert write_name("web.1.back") == b"\x03web\x011\x04back\0"
    for name in ("", "a..b", "x" * 64, ".".join(["x" * 63] * 4), "ü" * 40):
        assert write_name(name) is None


def test_a_message_full_of_records_is_read() -> None:
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 0)
    wire = struct.pack(">6H", 1, 0, 1, 0, 0, 5000) + b"\x03web\0" + IN_A + record * 5000
    assert isinstance(read_query(wire), Query)
