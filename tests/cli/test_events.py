"""`vault events` prints what the daemon tells, as `docker events` does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import FakeDaemon, Vault
from vault.cli.commands.events import lines_of

HEALTHY = {
    "Type": "container",
    "Action": "health_status: healthy",
    "Actor": {"ID": "ab12", "Attributes": {"name": "web.1.t1", "image": "busybox"}},
    "scope": "local",
    "time": 1795378704,
    "timeNano": 1795378704000000120,
}
BARE = {"Type": "secret", "Action": "remove", "Actor": {"ID": "s1", "Attributes": {}}, "timeNano": 1795378705 * 10**9}
STREAM = b"".join(json.dumps(one).encode() + b"\n" for one in (HEALTHY, BARE))


def test_events_are_printed_one_a_line(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/events", STREAM)
    assert vault("events").out == (
        "2026-11-22T20:18:24.000000120Z container health_status: healthy ab12 (image=busybox, name=web.1.t1)\n"
        "2026-11-22T20:18:25.000000000Z secret remove s1\n"
    )


def test_how_long_ago_is_counted_from_now(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/events", STREAM)
    vault("events", "--since", "10m", "--until", "0s")
    query = daemon.requests[-1].query
    assert float(query["until"]) - float(query["since"]) == pytest.approx(600)
    assert vault("events", "--since", "soon").err.startswith('invalid value for "since"')


def test_events_are_asked_for_and_printed_as_wanted(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/events", STREAM)
    words = ("--filter", "type=container", "--filter", "event=health_status", "--since", "2026-11-22T20:18:20Z")
    words += ("--until", "1795378706")
    assert vault("events", *words, "--format", "{{.Action}}").out == "health_status: healthy\nremove\n"
    query = daemon.requests[-1].query
    assert (query["since"], query["until"]) == ("1795378700.000000000", "1795378706")
    assert json.loads(query["filters"]) == {"type": {"container": True}, "event": {"health_status": True}}
    assert json.loads(vault("events", "--format", "json").out.splitlines()[0]) == HEALTHY


@given(st.lists(st.binary(max_size=8).filter(lambda line: line and b"\n" not in line)), st.data())
def test_lines_come_out_whole_however_they_were_cut(lines: list[bytes], data: st.DataObject) -> None:
    rest, pieces = b"".join(line + b"\n" for line in lines), []
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.append(rest[:size])
        rest = rest[size:]
    assert list(lines_of(pieces)) == lines
