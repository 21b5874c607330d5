"""`vault -H tcp://…` against the API that `vaultd --host` serves: mutual TLS, and what is said when it fails."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.client import Daemon
from tests.api.test_streams import CONTAINER
from tests.cli.certificates import ADDRESS, Files, authority, signed
from tests.cli.conftest import Result
from vault.cli.client import Client
from vault.cli.hosts import TLSFiles, default_files, place_of
from vault.cli.main import run
from vault.daemon.remote import BadRemote, Remote, remote_of
from vault.daemon.remote_server import common_name, listen, remote_server, tls_context

Served = tuple[str, Any]
Call = Callable[..., Result]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="session")
def ca(folder: Path) -> Path:
    return authority(folder, "ours")


@pytest.fixture(scope="session")
def client_files(folder: Path, ca: Path) -> Files:
    return signed(folder, ca, "operator")


@pytest.fixture(scope="session")
def served(folder: Path, ca: Path) -> Iterator[Served]:
    """The API over fakes, with a swarm, at an address of its own; and who asked last."""
    files = signed(folder, ca, "server")
    daemon = Daemon().with_swarm()
    daemon.node.held = [CONTAINER]
    callers: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        callers.append(scope.get("caller", ""))
        await daemon.app(scope, receive, send)

    remote = Remote(address=ADDRESS, port=0, ca=files.ca, certificate=files.certificate, key=files.key)
    listener = listen(remote)
    made = remote_server(app, remote)
    thread = threading.Thread(target=asyncio.run, args=(made.serve(sockets=[listener]),))
    thread.start()
    yield f"tcp://{ADDRESS}:{listener.getsockname()[1]}", callers
    made.should_exit = True
    thread.join(10)


@pytest.fixture
def vault(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: str) -> Result:
        code = run(list(words))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


def test_a_client_with_a_certificate_does_all_it_could_do_at_the_socket(
    served: Served, client_files: Files, vault: Call
) -> None:
    host, callers = served
    result = vault("-H", host, *client_files.words, "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
    assert (result.code, result.out, result.err) == (0, "vm Leader\n", "")
    assert callers[-1] == "certificate operator"


def test_exec_and_streams_go_over_tls_too(served: Served, client_files: Files, vault: Call) -> None:
    result = vault("-H", served[0], *client_files.words, "exec", CONTAINER.name, "true")
    assert (result.code, result.out, result.err) == (7, "out\n", "err\n")
    assert vault("-H", served[0], *client_files.words, "logs", CONTAINER.name).code == 0


def test_the_files_come_from_the_environment(
    served: Served, client_files: Files, vault: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VAULT_HOST", served[0])
    monkeypatch.setenv("VAULT_CERT_PATH", str(tmp_path))
    missing = vault("secret", "ls")
    assert missing.code == 1
    assert missing.err == (
        f"{served[0]} is reached by certificates, and {tmp_path}/ca.pem is missing: give --tlscacert, --tlscert and "
        "--tlskey, or keep ca.pem, cert.pem and key.pem in $VAULT_CERT_PATH\n"
    )
    for name, file in zip(("ca.pem", "cert.pem", "key.pem"), client_files, strict=True):
        (tmp_path / name).write_bytes(file.read_bytes())
    assert vault("secret", "ls").code == 0
    monkeypatch.setenv("VAULT_TLSKEY", "/nowhere")
    assert default_files("a", None, None) == TLSFiles("a", f"{tmp_path}/cert.pem", "/nowhere")


def test_a_certificate_of_another_ca_is_refused_on_either_side(
    served: Served, client_files: Files, folder: Path, vault: Call
) -> None:
    foreign = signed(folder, authority(folder, "theirs"), "stranger")
    stranger = vault("-H", served[0], *foreign._replace(ca=client_files.ca).words, "secret", "ls")
    assert (stranger.code, stranger.err) == (
        1,
        f"error during connect to {served[0]}: the daemon refused this client's certificate: "
        "use one that the CA of its --tlscacert signed\n",
    )
    distrust = vault("-H", served[0], *client_files._replace(ca=foreign.ca).words, "secret", "ls")
    assert (distrust.code, distrust.err) == (
        1,
        f"error during connect to {served[0]}: the daemon's certificate is not of the CA in --tlscacert: "
        "give the CA that signed it\n",
    )


def test_a_certificate_for_another_host_is_refused(served: Served, client_files: Files, vault: Call) -> None:
    elsewhere = served[0].replace(ADDRESS, "localhost")
    with socket.create_server(("127.0.0.1", 0)) as relay:
        threading.Thread(target=_relay, args=(relay, served[0]), daemon=True).start()
        host = f"{elsewhere.rpartition(':')[0]}:{relay.getsockname()[1]}"
        result = vault("-H", host, *client_files.words, "secret", "ls")
    assert result.err == (
        f"error during connect to {host}: the daemon's certificate is for another host: "
        "connect by a name or address that is in it\n"
    )


def _relay(listener: socket.socket, host: str) -> None:
    """Pass one connection's bytes on, both ways, until either end closes."""
    place = place_of(host)
    near, _ = listener.accept()
    with near, socket.create_connection((place.name, place.port)) as far:
        far.sendall(near.recv(65_536))
        near.sendall(far.recv(65_536))
        near.recv(65_536)


def test_no_certificate_no_old_tls_and_no_plain_http_get_in(served: Served, client_files: Files) -> None:
    place = place_of(served[0])
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(client_files.ca)
    with (
        socket.create_connection((place.name, place.port), 5) as plain,
        bare.wrap_socket(plain, server_hostname=ADDRESS) as wrapped,
    ):
        assert _answer_to_ping(wrapped) == b""
    bare.load_cert_chain(client_files.certificate, client_files.key)
    bare.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((place.name, place.port), 5) as plain, pytest.raises(ssl.SSLError):
        bare.wrap_socket(plain, server_hostname=ADDRESS)
    with socket.create_connection((place.name, place.port), 5) as plain:
        assert _answer_to_ping(plain) == b""


def _answer_to_ping(connection: socket.socket) -> bytes:
    try:
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection.recv(100)
    except OSError:  # Refused by an alert, or without a word.
        return b""


def test_what_speaks_no_tls_is_told_apart_from_what_is_not_there(client_files: Files, vault: Call) -> None:
    with socket.create_server((ADDRESS, 0)) as listener:
        host = f"tcp://{ADDRESS}:{listener.getsockname()[1]}"

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        result = vault("-H", host, *client_files.words, "secret", "ls")
        assert result.err == (f"error during connect to {host}: no TLS 1.3 is spoken there: is that vaultd's --host?\n")
    result = vault("-H", host, *client_files.words, "secret", "ls")
    assert result.err == f"Cannot connect to the vault daemon at {host}. Is vaultd running?\n"


def test_files_that_are_no_certificates_and_turned_off_checks_are_refused(
    client_files: Files, vault: Call, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("no pem")
    host = f"tcp://{ADDRESS}:1"
    result = vault("-H", host, *client_files._replace(ca=tmp_path / "x").words, "secret", "ls")
    assert result.err == f"{tmp_path / 'x'} holds no CA certificate in PEM\n"
    result = vault("-H", host, *client_files._replace(key=tmp_path / "x").words, "secret", "ls")
    assert result.err == (
        f"{client_files.certificate} and {tmp_path / 'x'} are no certificate and its key, unencrypted, in PEM\n"
    )
    result = vault("-H", host, "--tlsverify=false", "secret", "ls")
    assert (result.code, "TLS without verification" in result.err) == (1, True)


def test_an_address_has_a_port_of_its_own_or_dockers() -> None:
    assert place_of("tcp://node1")[1:] == ("node1", 2376)
    assert place_of("tcp://10.0.0.1:9999/")[1:] == ("10.0.0.1", 9999)
    assert place_of("tcp://[::1]:9999")[1:] == ("::1", 9999)
    assert place_of("tcp://[::1]")[1:] == ("::1", 2376)
    assert Client("unix:///x").place.path == "/x"


# What `vaultd --host` takes.


def test_a_host_needs_its_files_and_the_files_a_host() -> None:
    none = {"ca": "", "certificate": "", "key": ""}
    files = {"ca": "a", "certificate": "c", "key": "k"}
    assert remote_of("", **none) is None
    made = remote_of("tcp://0.0.0.0", **files)
    assert made is not None
    assert (made.address, made.port) == ("0.0.0.0", 2376)
    assert (remote_of("tcp://[::1]:99", **files) or made).address == "::1"
    with pytest.raises(BadRemote, match=r"needs --tlscacert and --tlscert and --tlskey: .* mutual TLS only"):
        remote_of("tcp://0.0.0.0:2375", **none)
    with pytest.raises(BadRemote, match="--tlscacert is for --host"):
        remote_of("", **files)
    for host in ("0.0.0.0:2376", "unix:///x", "tcp://a:0", "tcp://a:99999", "tcp://a/b", "http://a"):
        with pytest.raises(BadRemote, match="use tcp://ADDRESS:PORT"):
            remote_of(host, **files)


def test_files_that_cannot_be_served_are_named(client_files: Files, tmp_path: Path) -> None:
    good = Remote(
        address=ADDRESS, port=1, ca=client_files.ca, certificate=client_files.certificate, key=client_files.key
    )
    (tmp_path / "x").write_text("no pem")
    from dataclasses import replace

    for changed, reason in (
        (replace(good, ca=tmp_path / "none"), "cannot read .*none: no such file"),
        (replace(good, ca=tmp_path / "x"), "holds no CA certificate"),
        (replace(good, key=tmp_path / "x"), "are no certificate and its key"),
    ):
        with pytest.raises(BadRemote, match=reason):
            tls_context(changed)
    with socket.create_server((ADDRESS, 0)) as taken, pytest.raises(BadRemote, match="address already in use"):
        listen(replace(good, port=taken.getsockname()[1]))


def test_a_clients_name_is_printable() -> None:
    assert common_name({"subject": ((("commonName", "a\nb\x1b"),),)}) == "a?b?"
    assert common_name({}) == ""
