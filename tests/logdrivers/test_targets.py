"""Log servers: lines arrive over every kind of connection, and again after trouble."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from tests.cli.certificates import authority, signed
from vault.agent.logdrivers.journald import JournalTarget
from vault.agent.logdrivers.journald import why_not as why_no_journal
from vault.agent.logdrivers.syslog import SyslogTarget, why_not
from vault.agent.logdrivers.target import Origin
from vault.agent.logs import LogLine
from vault.model.log_syslog import SyslogServer

ORIGIN = Origin(tag="web", hostname="node1", pid=42, fields={"CONTAINER_NAME": "web"})
LINES = [LogLine(at_ns=n, stream="stdout", data=b"line %d\n" % n) for n in range(3)]
HEAD = b"<30>Jan  1 00:00:00 web[42]: "
EXPECTED = [HEAD + b"line %d\n" % n for n in range(3)]


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run in the event loop that vaultd has."""

    async def limited() -> None:
        async with asyncio.timeout(10):
            await story()

    uvloop.run(limited())


@pytest.mark.parametrize("local", [False, True])
def test_lines_go_to_a_socket_as_datagrams(tmp_path: Path, local: bool) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        wanted = SyslogServer() if local else SyslogServer(scheme="unixgram", path=path)

        async def story() -> None:
            target = SyslogTarget(wanted, ORIGIN, local=(str(tmp_path / "missing"), path))
            await target.send(LINES)
            await target.close()

        run(story)
        server.settimeout(5)
        assert [server.recv(4096) for _ in LINES] == EXPECTED


def test_lines_go_over_udp_and_nobody_minds_that_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        wanted = SyslogServer(scheme="udp", host="127.0.0.1", port=server.getsockname()[1])

        async def story() -> None:
            target = SyslogTarget(wanted, ORIGIN)
            await target.send(LINES)
            await target.close()

        run(story)
        server.settimeout(5)
        assert [server.recv(4096) for _ in LINES] == EXPECTED
    run(story)
    run(story)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_lines_go_over_a_stream_and_again_over_a_new_one(tmp_path: Path, kind: str) -> None:
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(await reader.readexactly(len(b"".join(EXPECTED))))
        writer.close()

    async def story() -> None:
        if kind == "unix":
            server = await asyncio.start_unix_server(serve, str(tmp_path / "log"))
            wanted = SyslogServer(scheme="unix", path=str(tmp_path / "log"))
        else:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            wanted = SyslogServer(scheme="tcp", host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        target = SyslogTarget(wanted, ORIGIN)
        async with server:
            await target.send(LINES)
            while not taken:
                await asyncio.sleep(0)
            assert target._stream is not None
            while not target._stream[0].at_eof():  # The server has hung up.
                await asyncio.sleep(0)
            await target.send(LINES)
            while len(taken) < 2:
                await asyncio.sleep(0)
        await target.close()

    run(story)
    assert taken[:2] == [b"".join(EXPECTED)] * 2


def test_a_server_that_is_not_there_is_an_error_to_try_again_after() -> None:
    async def story() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            wanted = SyslogServer(scheme="tcp", host="127.0.0.1", port=unused.getsockname()[1])
            with pytest.raises(OSError, match=r"refused|Connect call failed"):
                await SyslogTarget(wanted, ORIGIN).send(LINES)

    run(story)


def test_over_tls_the_server_is_checked_unless_that_is_waived(tmp_path: Path) -> None:
    files = signed(tmp_path, authority(tmp_path, "ca"), "server", alternative="IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(await reader.readline())
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        plain = SyslogServer(scheme="tcp+tls", host="127.0.0.1", port=port)
        async with server:
            with pytest.raises(OSError, match="certificate"):
                await SyslogTarget(plain, ORIGIN).send(LINES)
            for wanted in (
                SyslogServer(scheme="tcp+tls", host="127.0.0.1", port=port, ca_cert=str(files.ca)),
                SyslogServer(scheme="tcp+tls", host="127.0.0.1", port=port, verify=False),
            ):
                target = SyslogTarget(wanted, ORIGIN)
                await target.send(LINES)
                while not taken:
                    await asyncio.sleep(0)
                assert taken.pop() == EXPECTED[0]
                await target.close()

    run(story)


def test_lines_go_to_the_journal_long_ones_as_a_sealed_file(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    assert why_no_journal(path) == "journald is not enabled on this host"
    long = LogLine(at_ns=1, stream="stderr", data=b"x" * (1 << 20) + b"\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        assert why_no_journal(path) == ""

        async def story() -> None:
            target = JournalTarget(ORIGIN, path)
            await target.send([LINES[0], LogLine(at_ns=1, stream="stdout", data=b"\n"), long])
            await target.close()

        run(story)
        server.settimeout(5)
        assert b"MESSAGE=line 0\n" in server.recv(4096)
        data, fds, _, _ = socket.recv_fds(server, 4096, 1)
        assert data == b""
        with open(fds[0], "rb") as file:
            file.seek(0)
            assert b"x" * (1 << 20) in file.read()


def test_what_is_missing_on_a_node_is_told_before_a_task_starts(tmp_path: Path) -> None:
    assert why_not(SyslogServer()) == ""
    assert why_not(SyslogServer(scheme="udp", host="nosuch", port=1)) == ""
    missing = str(tmp_path / "missing")
    assert why_not(SyslogServer(scheme="unix", path=missing)) == f"stat {missing}: no such file or directory"
    tls = SyslogServer(scheme="tcp+tls", host="h", port=1, ca_cert=missing)
    assert why_not(tls) == f"could not load X509 key pair: open {missing}: no such file or directory"
    (tmp_path / "bad.pem").write_text("nonsense")
    bad = SyslogServer(scheme="tcp+tls", host="h", port=1, ca_cert=str(tmp_path / "bad.pem"))
    assert why_not(bad).startswith("could not load X509 key pair: ")
