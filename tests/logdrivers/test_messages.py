"""What goes with lines, and the messages that are made of them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vault.agent.logdrivers.attributes import Logged, attributes_of, tag_of
from vault.agent.logdrivers.journald import entry, field_name, fields_of
from vault.agent.logdrivers.syslog import PIECE_BYTES, message, pieces
from vault.agent.logdrivers.target import Origin
from vault.agent.logs import LogLine
from vault.model.log_options import log_settings
from vault.model.log_syslog import SyslogServer
from vault.store.template import TemplateFailed

CONTAINER = Logged(
    id="0123456789abcdef" * 4,
    name="web.1.xyz",
    image="shop/web:2",
    image_id="sha256:" + "e" * 64,
    command=("nginx", "-g", "daemon off;"),
    env={"TEAM": "a", "TIER": "front", "PASSWORD": "p"},
    labels={"com.example.team": "a", "com.example.tier": "b", "other": "c"},
)
ORIGIN = Origin(tag="web", hostname="node1", pid=42)
AT_NS = 1_795_386_385_123_456_789  # 2026-11-22 22:26:25 UTC


def line(text: bytes, stream: str = "stdout") -> LogLine:
    return LogLine(at_ns=AT_NS, stream=stream, data=text)


@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        ({}, {}),
        ({"labels": "other,missing", "env": "TEAM"}, {"other": "c", "TEAM": "a"}),
        (
            {"labels-regex": r"^com\.example", "env-regex": "^TI"},
            {"com.example.team": "a", "com.example.tier": "b", "TIER": "front"},
        ),
    ],
)
def test_labels_and_variables_go_with_lines_when_asked_for(options: dict[str, str], attributes: dict[str, str]) -> None:
    assert attributes_of(log_settings("json-file", options), CONTAINER) == attributes


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("", "0123456789ab"),
        ("plain", "plain"),
        ("{{.ImageName}}/{{.Name}}/{{.ID}}", "shop/web:2/web.1.xyz/0123456789ab"),
        ("{{.FullID}}", CONTAINER.id),
        ("{{.ImageID}} {{.DaemonName}}", "sha256:eeeee docker"),
        ("{{.Command}}", "nginx -g daemon off;"),
        ("a\nb", "a_b"),
    ],
)
def test_a_tag_says_which_container_it_is(template: str, tag: str) -> None:
    assert tag_of(log_settings("syslog", {"tag": template}), CONTAINER) == tag


@pytest.mark.parametrize("template", ["{{.Secret}}", '{{secret "x"}}', "{{.ID", "{{.Service.Name}}"])
def test_a_tag_reads_nothing_but_its_container(template: str) -> None:
    with pytest.raises(TemplateFailed):
        tag_of(log_settings("syslog", {"tag": template}), CONTAINER)


@pytest.mark.parametrize(
    ("server", "stream", "expected"),
    [
        (SyslogServer(), "stdout", b"<30>Nov 22 22:26:25 web[42]: hello\n"),
        (SyslogServer(format="rfc3164"), "stderr", b"<27>Nov 22 22:26:25 node1 web[42]: hello\n"),
        (
            SyslogServer(format="rfc5424", facility=23),
            "stdout",
            b"<190>1 2026-11-22T22:26:25Z node1 web 42 web - hello\n",
        ),
        (
            SyslogServer(format="rfc5424micro", facility=0),
            "stderr",
            b"<3>1 2026-11-22T22:26:25.123456Z node1 web 42 web - hello\n",
        ),
        (
            SyslogServer(format="rfc5424", scheme="tcp+tls"),
            "stdout",
            b"51 <30>1 2026-11-22T22:26:25Z node1 web 42 web - hello",
        ),
    ],
)
def test_a_line_is_a_message_in_the_form_that_was_asked_for(server: SyslogServer, stream: str, expected: bytes) -> None:
    assert message(server, ORIGIN, line(b"hello\n", stream), b"hello") == expected


@given(st.binary(max_size=3 * PIECE_BYTES))
def test_the_pieces_of_a_line_are_the_line(text: bytes) -> None:
    text = text.replace(b"\n", b" ")
    made = list(pieces(line(text + b"\n")))
    assert b"".join(made) == text
    assert all(0 < len(piece) <= PIECE_BYTES for piece in made)


def parsed(datagram: bytes) -> dict[str, bytes]:
    """Read an entry as the journal does: NAME=value, or NAME, its length, and the value."""
    fields, rest = {}, datagram
    while rest:
        head, _, tail = rest.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if equals:
            fields[name.decode()], rest = value, tail
        else:
            size = int.from_bytes(tail[:8], "little")
            fields[name.decode()], rest = tail[8 : 8 + size], tail[8 + size + 1 :]
    return fields


@example(b"what was said", {"message": "something else", "priority": "0"})
@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=5))
def test_an_entry_of_the_journal_is_read_back_whole(text: bytes, attributes: dict[str, str]) -> None:
    attributes = {key: value.encode(errors="replace").decode() for key, value in attributes.items()}
    fields = fields_of(CONTAINER, "web", attributes)
    text = text.replace(b"\n", b" ")
    found = parsed(entry(Origin(tag="web", hostname="h", pid=1, fields=fields), line(text + b"\n", "stderr")))
    assert found["MESSAGE"] == text
    assert found["PRIORITY"] == b"3"
    assert found["SYSLOG_TIMESTAMP"] == b"2026-11-22T22:26:25.123456789Z"
    assert found["CONTAINER_NAME"] == b"web.1.xyz"
    own = {"MESSAGE", "PRIORITY", "SYSLOG_TIMESTAMP"}
    assert all(found[name] == value.encode() for name, value in fields.items() if name not in own)


def test_names_of_attributes_are_made_fit_for_the_journal_and_never_replace_its_own_fields() -> None:
    assert field_name("com.example.team") == "COM_EXAMPLE_TEAM"
    assert field_name("_1.x-é") == "X__"
    assert field_name("é") == ""
    fields = fields_of(CONTAINER, "web", {"container.name": "forged", "a" * 100: "long"})
    assert fields["CONTAINER_NAME"] == "web.1.xyz"
    assert fields["A" * 64] == "long"
    assert not any(name.startswith("_") for name in fields)
