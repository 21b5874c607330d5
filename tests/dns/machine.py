"""A node for tests of names on a real kernel: namespaces of tasks, a server above, and questions asked from inside."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.query
import dns.rcode

from tests.dns.world import shown
from tests.network.hosts import inside, loopback_up
from vault.lab.namespaces import make_network
from vault.network.kernel.namespaces import drop_namespace

RESOLVER = "127.0.0.11"
UPSTREAM = "127.0.0.53"  # An address that only the node itself can reach, as with systemd-resolved.
LIMIT_S = 10.0


class Node:
    """A run root, with namespaces of tasks in it."""

    def __init__(self, run_root: Path) -> None:
        self.run_root = run_root
        self.resolv_conf = run_root.parent / "resolv.conf"
        self.servers(UPSTREAM)
        (run_root / "netns").mkdir(parents=True)

    def servers(self, *addresses: str) -> None:
        """Say whom the node asks."""
        self.resolv_conf.write_text("search example\n" + "".join(f"nameserver {each}\n" for each in addresses))

    def namespace(self, task_id: str) -> Path:
        """Return a task's namespace, made when it is not there."""
        path = self.run_root / "netns" / task_id
        if not path.exists():
            make_network(path)
            inside(path, loopback_up)
        return path

    def processes(self) -> list[int]:
        """Return the processes of vault-dns: the parent, then the one that serves."""
        return processes(self.run_root)

    def clean(self) -> None:
        """End what runs, and let go of namespaces."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for each in self.run_root.glob("netns/*"):
            drop_namespace(each)


def processes(run_root: Path) -> list[int]:
    """Return the processes of a run root's vault-dns: the parent, then the one that serves."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"vault.dns.main" in command and str(run_root).encode() in command:
                started = int((entry / "stat").read_text().rpartition(")")[2].split()[19])
                found.append((started, int(entry.name)))
    return [pid for _, pid in sorted(found)]


def ask(name: str, type_: str = "A", *, at: Path, tcp: bool = False, timeout_s: float = 6.0) -> tuple[str, list[str]]:
    """Return what a task in a namespace is told: how it ended, and the values, sorted."""
    message = dns.message.make_query(name, type_)
    reply = exchange(message, at=at, tcp=tcp, timeout_s=timeout_s)
    assert message.is_response(reply)
    return shown(reply.to_wire())


def exchange(
    message: dns.message.Message, *, at: Path, tcp: bool = False, timeout_s: float = 6.0
) -> dns.message.Message:
    """Return the reply that a task in a namespace gets."""
    if tcp:
        return inside(at, lambda: dns.query.tcp(message, RESOLVER, timeout=timeout_s))
    with inside(at, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as one:
        one.settimeout(timeout_s)
        one.connect((RESOLVER, 53))  # So that the kernel tells when nobody serves.
        one.send(message.to_wire())
        return dns.message.from_wire(one.recv(65535), ignore_trailing=False)


async def asked(
    name: str, type_: str = "A", *, at: Path, tcp: bool = False, timeout_s: float = 6.0
) -> tuple[str, list[str]]:
    """Ask from a thread, while the loop goes on."""
    return await asyncio.to_thread(ask, name, type_, at=at, tcp=tcp, timeout_s=timeout_s)


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float = LIMIT_S) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(limit_s):
        while not await condition():
            await asyncio.sleep(0.01)


async def until_told(expected: tuple[str, list[str]], name: str, *, at: Path, limit_s: float = LIMIT_S) -> None:
    """Wait until a task is told something; that nobody answers for a moment is no failure."""

    async def so() -> bool:
        try:
            return await asked(name, at=at, timeout_s=0.3) == expected
        except OSError:
            return False

    await until(so, limit_s)


Reply = Callable[[dns.message.Message], dns.message.Message | bytes | list[bytes] | None]


class Upstream:
    """A server above, by UDP and TCP; it keeps what it was asked."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.heard: list[tuple[str, dns.message.Message]] = []
        self._over = threading.Event()

    def answered(self, data: bytes, kind: str) -> list[bytes]:
        """Return what to send back, one after the other."""
        message = dns.message.from_wire(data)
        self.heard.append((kind, message))
        reply = self.reply(message)
        if isinstance(reply, dns.message.Message):
            return [reply.to_wire(max_size=65535)]
        return reply if isinstance(reply, list) else [reply] if reply is not None else []

    def serve(self, datagrams: socket.socket, stream: socket.socket) -> None:
        """Serve until it is over."""
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                data, peer = datagrams.recvfrom(4096)
                for reply in self.answered(data, "udp"):
                    datagrams.sendto(reply, peer)
            with contextlib.suppress(TimeoutError):
                client, _ = stream.accept()
                with client:
                    client.settimeout(LIMIT_S)
                    data = client.recv(65537)[2:]
                    for reply in self.answered(data, "tcp"):
                        client.sendall(len(reply).to_bytes(2, "big") + reply)

    def end(self) -> None:
        """Serve no more."""
        self._over.set()


@contextmanager
def upstream(reply: Reply, address: str = UPSTREAM, *, at: Path | None = None) -> Iterator[Upstream]:
    """Run a server, on this node or in a namespace."""

    def make() -> tuple[socket.socket, socket.socket]:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (datagrams, stream):
            each.settimeout(0.01)
            each.bind((address, 53))
        stream.listen()
        return datagrams, stream

    server = Upstream(reply)
    datagrams, stream = make() if at is None else inside(at, make)
    with datagrams, stream, ThreadPoolExecutor(1) as thread:
        serving = thread.submit(server.serve, datagrams, stream)
        try:
            yield server
        finally:
            server.end()
            serving.result()


def records(*values: str, type_: str = "A") -> Reply:
    """Return a server that gives every name these values."""

    def reply(message: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(message)
        made.answer.append(dns.rrset.from_text(message.question[0].name, 30, "IN", type_, *values))
        return made

    return reply


def failing(rcode: dns.rcode.Rcode) -> Reply:
    """Return a server that only says no."""

    def reply(message: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(message)
        made.set_rcode(rcode)
        return made

    return reply


def soon(since: float, limit_s: float) -> None:
    """Fail when more time has gone by."""
    took = time.monotonic() - since
    assert took < limit_s, f"{took:.2f} s"
