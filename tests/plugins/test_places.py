"""Where plugins are looked for, and what is in the files that name them."""

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.plugins.errors import PluginFailed, PluginNotFound
from vault.plugins.places import Place, _described, find


@pytest.fixture
def where(tmp_path: Path) -> tuple[Path, tuple[Path, Path]]:
    made = tmp_path / "run", (tmp_path / "etc", tmp_path / "lib")
    for path in (made[0], *made[1]):
        path.mkdir()
    return made


def listen(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize("below", ["safe.sock", "safe/safe.sock"])
def test_a_socket_of_that_name_is_a_plugin(where: tuple[Path, tuple[Path, Path]], below: str) -> None:
    sockets, specs = where
    listen(sockets / below)
    assert find("safe", sockets=sockets, specs=specs) == Place(socket=str(sockets / below))


def test_a_link_to_the_socket_of_a_plugin_that_docker_runs_will_do(where: tuple[Path, tuple[Path, Path]]) -> None:
    sockets, specs = where
    listen(sockets / "0123abc" / "plugin.sock")
    (sockets / "safe.sock").symlink_to(sockets / "0123abc" / "plugin.sock")
    assert find("safe", sockets=sockets, specs=specs).socket == str(sockets / "safe.sock")


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("safe.spec", "unix:///run/safe.sock\n", Place(socket="/run/safe.sock")),
        ("safe/safe.spec", "tcp://localhost:8080", Place(host="localhost", port=8080)),
        ("safe.json", '{"Name": "safe", "Addr": "tcp://[::1]:80"}', Place(host="::1", port=80)),
    ],
)
def test_a_file_names_the_address_of_a_plugin(
    where: tuple[Path, tuple[Path, Path]], file: str, text: str, place: Place
) -> None:
    sockets, specs = where
    (specs[1] / file).parent.mkdir(exist_ok=True)
    (specs[1] / file).write_text(text)
    assert find("safe", sockets=sockets, specs=specs) == place


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("safe.spec", "", "names no address of a plugin: write unix:///PATH or tcp://HOST:PORT, not ''"),
        ("safe.spec", "http://h:80", "not 'http://h:80'"),
        ("safe.spec", "tcp://h:port", "not 'tcp://h:port'"),
        ("safe.json", "{", "is no description of a plugin"),
        ("safe.json", '{"Addr": "tcp://h:1", "TLSConfig": {"CAFile": "/nowhere"}}', "its TLS files cannot be used"),
    ],
)
def test_a_file_that_names_none_is_said_to_be_wrong(
    where: tuple[Path, tuple[Path, Path]], file: str, text: str, why: str
) -> None:
    sockets, specs = where
    (specs[0] / file).write_text(text)
    with pytest.raises(PluginFailed) as raised:
        find("safe", sockets=sockets, specs=specs)
    assert str(specs[0] / file) in raised.value.message
    assert why in raised.value.message


def test_what_is_not_there_is_looked_for_in_named_places(where: tuple[Path, tuple[Path, Path]]) -> None:
    sockets, specs = where
    (sockets / "safe.sock").write_text("no socket")
    with pytest.raises(PluginNotFound) as raised:
        find("safe", sockets=sockets, specs=specs)
    assert raised.value.message == (
        'plugin "safe" not found: the manager that leads has no such socket or spec '
        f"in {sockets}, {specs[0]}, {specs[1]}"
    )


@given(st.text() | st.sampled_from(("..", "../safe", "a/b", "a\0b", "-", "x" * 200)))
def test_a_name_never_leads_elsewhere(name: str) -> None:
    nowhere = Path("/nowhere")
    with pytest.raises(PluginNotFound):
        find(name, sockets=nowhere, specs=(nowhere,))


@given(st.text() | st.from_regex(r"(unix|tcp)://.*"))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        place = Place.of(text, Path("x.spec"))
    except PluginFailed:
        return
    assert place.socket.startswith("/") or (place.host and 0 < place.port < 65536)


@given(st.text() | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(repr))
def test_any_file_is_a_description_or_refused(text: str) -> None:
    with pytest.raises(PluginFailed):
        _described(text, Path("x.json"))
