"""A server in a namespace, by TCP or UDP, that tells its clients what a test wants to know of them."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.network.hosts import inside

Say = Callable[[str, bytes], str]  # The client's address, and what it sent, in; what it is told out.
_LOOK_S: Final = 0.02
_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@contextmanager
def serving(
    namespace: Path | int | None, port: int, say: Say, *, kind: str = "tcp", address: str = "::", stays: bool = False
) -> Iterator[None]:
    """Serve while the body runs; `::` is every address, of IPv4 too.

    stays: a stream is answered again and again, each time when something has come; else once, unasked.
    """
    one = _made(port, kind, address) if namespace is None else inside(namespace, lambda: _made(port, kind, address))
    ended = threading.Event()

    def serve() -> None:
        talks = []
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                if kind == "udp":
                    data, peer = one.recvfrom(100)
                    one.sendto(say(_plain(peer[0]), data).encode(), peer)
                    continue
                client, peer = one.accept()
                talks.append(threading.Thread(target=_talk, args=(client, _plain(peer[0]), say, ended, stays)))
                talks[-1].start()
        for talk in talks:
            talk.join()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        one.close()


def _talk(client: socket.socket, peer: str, say: Say, ended: threading.Event, stays: bool) -> None:
    with client, contextlib.suppress(OSError):
        if not stays:
            client.sendall(say(peer, b"").encode())
            return
        client.settimeout(_LOOK_S)
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                if not (data := client.recv(100)):
                    return
                client.sendall(say(peer, data).encode())


@contextmanager
def served(namespace: Path | int | None, port: int, kind: str = "tcp", address: str = "0.0.0.0") -> Iterator[None]:
    """Serve; each client is told the address it comes from."""
    with serving(namespace, port, lambda peer, _: peer, kind=kind, address=address):
        yield


@contextmanager
def backend(namespace: Path, port: int = 80, kind: str = "tcp", address: str = "::") -> Iterator[None]:
    """Serve; each client is told the task's name and the address it comes from."""
    own = namespace.name.rstrip("x")
    with serving(namespace, port, lambda peer, _: f"{own} {peer}", kind=kind, address=address):
        yield


def _made(port: int, kind: str, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, _KINDS[kind])
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == "tcp")
    one.settimeout(_LOOK_S)
    one.bind((address, port))
    if kind == "tcp":
        one.listen()
    return one


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")
