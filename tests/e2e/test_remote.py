"""`vault -H tcp://…` from another machine against a real vaultd: a certificate is served, all else is told why not."""

import os
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.certificates import Files, authority, signed
from tests.e2e.node import BIN, Node, Said

pytestmark = pytest.mark.machine
PORT = 2376


class World:
    """A vaultd that serves the network too, and the files of who may ask it."""

    def __init__(self, root: Path) -> None:
        self.node = Node(root)
        self.host = f"tcp://{self.node.address}:{PORT}"
        ca = authority(root, "ours")
        serves = signed(root, ca, "server", alternative=f"IP:{self.node.address}")
        self.operator = signed(root, ca, "operator")
        self.stranger = signed(root, authority(root, "theirs"), "stranger")
        self.node.start("--host", self.host, *serves.words)

    def vault(self, *words: str, files: Files | None = None, stdin: bytes = b"", host: str = "") -> Said:
        """Run `vault` as somebody who has no socket here, with the certificate that `files` name, if any."""
        named = ("--tlsverify", *files.words) if files is not None else ()
        done = subprocess.run(
            [BIN / "vault", "-H", host or self.host, *named, *words],
            input=stdin,
            capture_output=True,
            timeout=60,
            env=os.environ | {"HOME": "/nowhere"},
        )
        return Said(done.stdout.decode(), done.stderr.decode(), done.returncode, done.stdout)

    def stream(self) -> ssl.SSLSocket:
        """Return a connection over which events come, and go on coming."""
        context = ssl.create_default_context(cafile=str(self.operator.ca))
        context.load_cert_chain(self.operator.certificate, self.operator.key)
        plain = socket.create_connection((self.node.address, PORT), 10)
        stream = context.wrap_socket(plain, server_hostname=self.node.address)
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.recv(1000).startswith(b"HTTP/1.1 200")
        return stream


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="vr-", dir="/tmp", ignore_cleanup_errors=True) as place:
        made = World(Path(place))
        try:
            yield made
        finally:
            made.node.close()


def test_an_operator_with_a_certificate_makes_a_swarm_and_its_secrets_from_elsewhere(world: World) -> None:
    init = world.vault("swarm", "init", "--advertise-addr", world.node.address, files=world.operator)
    assert (init.code, "is now a manager" in init.out) == (0, True)
    made = world.vault("secret", "create", "far", "-", files=world.operator, stdin=b"value")
    assert (made.code, made.err) == (0, "")
    listed = world.vault("secret", "ls", "--format", "{{.ID}} {{.Name}}", files=world.operator)
    assert listed.out == f"{made.out.strip()} far\n"
    assert world.node.vault("secret", "ls", "-q").out == made.out


def test_whoever_has_no_good_certificate_is_told_in_one_sentence_and_changes_nothing(world: World) -> None:
    before = world.node.vault("secret", "ls", "--format", "{{.ID}} {{.Name}}").out
    plain_http = world.host.replace("tcp", "http")
    connecting = f"error during connect to {world.host}: "
    for files, host, said in (
        (
            None,
            world.host,
            f"{world.host} is reached by certificates, and /nowhere/.vault/ca.pem is missing: give --tlscacert, "
            "--tlscert and --tlskey, or keep ca.pem, cert.pem and key.pem in $VAULT_CERT_PATH",
        ),
        (
            world.stranger._replace(ca=world.operator.ca),
            world.host,
            connecting + "the daemon refused this client's certificate: use one that the CA of its --tlscacert signed",
        ),
        (
            world.operator._replace(ca=world.stranger.ca),
            world.host,
            connecting + "the daemon's certificate is not of the CA in --tlscacert: give the CA that signed it",
        ),
        (
            None,
            plain_http,
            f"unable to parse daemon host '{plain_http}': use unix:///path/to/vault.sock, or tcp://HOST:PORT with "
            "certificates",
        ),
    ):
        refused = world.vault("secret", "create", "s", "-", files=files, host=host, stdin=b"x")
        assert (refused.code, refused.out, refused.err) == (1, "", f"{said}\n")
    for bare in (b"GET /secrets HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01"):
        with socket.create_connection((world.node.address, PORT), 10) as plain:
            plain.sendall(bare)
            plain.shutdown(socket.SHUT_WR)
            assert plain.recv(100)[:4] != b"HTTP"
    assert world.node.vault("secret", "ls", "--format", "{{.ID}} {{.Name}}").out == before


def test_streams_to_elsewhere_are_cut_when_vaultd_ends_and_its_log_stays_quiet(world: World) -> None:
    with world.stream() as stream:
        assert world.node.stop() == 0
        assert b"0\r\n\r\n" not in stream.recv(1000), "what is cut must not look complete"
    assert "Traceback" not in world.node.log.read_text()
    world.node.start()
