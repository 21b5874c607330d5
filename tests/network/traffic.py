"""Traffic that must not notice what is done to the nodes: numbered datagrams one way, and talk over one connection.

Each is begun and ended by `with`, runs in threads of its own, and counts.  `frames_heard` listens to all that crosses a
namespace.  Sockets belong to the namespace in which they were made, wherever the threads are.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.network.hosts import inside

_BUFFER_BYTES = 1 << 22
_RCVBUFFORCE = 33  # Of <asm/socket.h>: more than the limit of the system, which holds 0.3 s of it.
_DRAIN_S = 0.5  # So long may the last one be under way.
_CATCH_UP_S = 0.02  # Of what was to be sent, when there was no processor for it.


class Datagrams:
    """Numbered datagrams at an even rate, and which of them arrived."""

    def __init__(self, out: socket.socket, into: socket.socket, every_s: float = 0.001, mark: bytes = b"") -> None:
        """out: connected to where `into` is bound; both are closed at the end.  mark: goes along with each number."""
        self.sent = 0
        self.arrived: set[int] = set()
        self.longest_gap_s = 0.0  # Between two that arrived.
        self._out, self._in, self._every_s, self._mark = out, into, every_s, mark
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    @classmethod
    def between(cls, sender: Path | int, receiver: Path | int, to: str, port: int, **more: float | bytes) -> Self:
        """Return datagrams from one namespace to another, which has the address `to`."""
        into = inside(receiver, lambda: bound(to, port))
        out = inside(sender, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        inside(sender, lambda: out.connect((to, port)))
        return cls(out, into, **more)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._in.close()
        self._out.close()

    @property
    def lost(self) -> int:
        """How many did not arrive; exact only after the end."""
        return self.sent - len(self.arrived)

    def _send(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            with contextlib.suppress(OSError):  # No way to the peer; counted as lost.
                self._out.send(self.sent.to_bytes(8, "big") + self._mark)
            self.sent += 1
            due = max(due + self._every_s, time.monotonic() - _CATCH_UP_S)  # A burst may be more than a queue holds.
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        self._in.settimeout(_DRAIN_S)
        last_s: float | None = None
        while True:
            try:
                number = int.from_bytes(self._in.recv(1500)[:8], "big")
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            self.arrived.add(number)
            now_s = time.monotonic()
            if last_s is not None:
                self.longest_gap_s = max(self.longest_gap_s, now_s - last_s)
            last_s = now_s


class Talk:
    """One TCP connection over which numbers go and come back, one after the other."""

    def __init__(self, one: Path | int, other: Path | int, to: str, port: int, every_s: float = 0.01) -> None:
        """From the namespace `one` to `other`, which has the address `to`."""
        self.answered = 0
        self.longest_s = 0.0  # Until an answer.
        self.broken = ""  # Why the connection ended before its time.
        self._every_s = every_s
        self._ended = threading.Event()
        self._listener = inside(other, lambda: socket.create_server((to, port)))
        self._client = inside(one, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        self._client.settimeout(10)
        inside(one, lambda: self._client.connect((to, port)))
        self._server, _ = self._listener.accept()
        self._threads = [threading.Thread(target=self._talk), threading.Thread(target=self._echo)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._threads[0].join()
        self._client.close()
        with contextlib.suppress(OSError):  # The client's end may not have come through.
            self._server.shutdown(socket.SHUT_RDWR)
        self._threads[1].join()
        self._server.close()
        self._listener.close()

    def _talk(self) -> None:
        try:
            while not self._ended.is_set():
                asked_s = time.monotonic()
                question = (self.answered).to_bytes(8, "big")
                self._client.sendall(question)
                answer = b""
                while len(answer) < len(question):
                    if not (more := self._client.recv(8 - len(answer))):
                        raise ConnectionError("it was closed at the other end")
                    answer += more
                assert answer == question
                self.answered += 1
                self.longest_s = max(self.longest_s, time.monotonic() - asked_s)
                self._ended.wait(self._every_s)
        except OSError as error:
            self.broken = str(error) or type(error).__name__

    def _echo(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(4096):
                self._server.sendall(data)


@contextmanager
def frames_heard(within: Path | int) -> Iterator[list[bytes]]:
    """Yield the frames that cross a namespace, as they come."""
    frames: list[bytes] = []
    ended = threading.Event()
    packets = inside(within, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    packets.settimeout(0.05)

    def listen() -> None:
        while not ended.is_set():
            try:
                frames.append(packets.recv(65536))
            except TimeoutError:
                continue

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield frames
    finally:
        ended.set()
        thread.join()
        packets.close()


def bound(address: str, port: int) -> socket.socket:
    """Return a socket for datagrams, with room for many, in the calling thread's namespace."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER_BYTES)
    one.bind((address, port))
    return one
