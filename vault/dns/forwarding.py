"""Names that nobody here has: the servers above are asked, and their reply is passed on as it came, but for its id.

Not pure.  Each try has a socket and a random id of its own, connected, so that the kernel takes datagrams of that
server only.  The next server is asked when one says that it failed, or after `TRY_S` while the first may still answer.
The client hears of a failure before glibc's five seconds are over.  Called by `vault.dns.serving`.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from vault.dns.sockets import Namespace
from vault.dns.wire import MAX_MESSAGE_BYTES, Query, Rcode, answers_to, questions_of, rcode_of, with_id

TRY_S: Final = 1.5
LIMIT_S: Final = 4.5
TRIES: Final = 3
PORT: Final = 53
MAX_IN_FLIGHT: Final = 1024  # As Docker has it.
SILENT_S: Final = 10.0  # So long a server that did not answer is asked last.
_MAX_SILENT: Final = 1024
_FAILURES: Final = (Rcode.SERVFAIL, Rcode.REFUSED)
_AskOne = Callable[[Query, bytes, str, Namespace | None], Awaitable[bytes]]


class Forwarder:
    """Asks the servers above, for all tasks of the node."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._silent: dict[str, float] = {}  # Until when, by server.

    async def ask(
        self, query: Query, message: bytes, servers: Sequence[str], namespace: Namespace | None, *, over_tcp: bool
    ) -> bytes | None:
        """Return the reply of the first server that has one; None when none has in time, or too much is under way.

        servers: IP addresses.  namespace: where to ask from; None = from where this process is.
        """
        if not servers or self._in_flight >= MAX_IN_FLIGHT:
            return None
        self._in_flight += 1
        tries: set[asyncio.Task[bytes | None]] = set()
        try:
            async with asyncio.timeout(LIMIT_S):
                return await self._first(tries, query, message, servers, namespace, over_tcp=over_tcp)
        except TimeoutError:
            return None
        finally:
            self._in_flight -= 1
            for each in tries:
                each.cancel()

    async def _first(
        self,
        tries: "set[asyncio.Task[bytes | None]]",
        query: Query,
        message: bytes,
        servers: Sequence[str],
        namespace: Namespace | None,
        *,
        over_tcp: bool,
    ) -> bytes | None:
        """Return the first reply; None when every try has failed."""
        ordered = self._ordered(servers)
        ask_one = _by_stream if over_tcp else _by_datagrams
        for server in (ordered * TRIES)[: max(TRIES, len(ordered))]:
            tries.add(asyncio.create_task(self._try(ask_one, query, message, server, namespace)))
            done, _ = await asyncio.wait(tries, timeout=TRY_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self._is_silent(server)
            if (reply := _reply_of(tries, done)) is not None:
                return reply
        while tries:
            done, _ = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            if (reply := _reply_of(tries, done)) is not None:
                return reply
        return None

    async def _try(
        self, ask_one: _AskOne, query: Query, message: bytes, server: str, namespace: Namespace | None
    ) -> bytes | None:
        """Return a server's reply; None when it says that it failed, or cannot be reached."""
        try:
            reply = await ask_one(query, message, server, namespace)
        except OSError:  # Refused, unreachable; or the connection ended early.
            return None
        self._silent.pop(server, None)
        return None if rcode_of(reply) in _FAILURES or not questions_of(reply) else with_id(reply, query.id)

    def _ordered(self, servers: Sequence[str]) -> list[str]:
        now = asyncio.get_running_loop().time()
        return sorted(servers, key=lambda server: self._silent.get(server, 0.0) > now)

    def _is_silent(self, server: str) -> None:
        if len(self._silent) >= _MAX_SILENT:
            self._silent.clear()
        self._silent[server] = asyncio.get_running_loop().time() + SILENT_S


def _reply_of(tries: "set[asyncio.Task[bytes | None]]", done: "set[asyncio.Task[bytes | None]]") -> bytes | None:
    """Return a reply among the tries that have ended, and take them away."""
    tries -= done
    return next((reply for each in done if (reply := each.result()) is not None), None)


async def _by_datagrams(query: Query, message: bytes, server: str, namespace: Namespace | None) -> bytes:
    """Return a server's reply by UDP.  Raises `OSError`."""
    loop, id_ = asyncio.get_running_loop(), _random_id()
    with _make(server, socket.SOCK_DGRAM, namespace) as one:
        one.connect((server, PORT))
        await loop.sock_sendall(one, with_id(message, id_))
        while True:
            reply = await loop.sock_recv(one, MAX_MESSAGE_BYTES)
            if answers_to(query, reply, id_):
                return reply


async def _by_stream(query: Query, message: bytes, server: str, namespace: Namespace | None) -> bytes:
    """Return a server's reply by TCP.  Raises `OSError`."""
    loop, id_ = asyncio.get_running_loop(), _random_id()
    with _make(server, socket.SOCK_STREAM, namespace) as one:
        await loop.sock_connect(one, (server, PORT))
        await loop.sock_sendall(one, len(message).to_bytes(2, "big") + with_id(message, id_))
        reply = await _read(one, int.from_bytes(await _read(one, 2), "big"))
    if not answers_to(query, reply, id_):
        raise ConnectionError("not the answer")
    return reply


async def _read(one: socket.socket, size: int) -> bytes:
    """Return so many bytes of a connection.  Raises `ConnectionError` when it ends before."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        more = await loop.sock_recv(one, size - len(data))
        if not more:
            raise ConnectionError("ended early")
        data += more
    return data


def _make(server: str, kind: int, namespace: Namespace | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET

    def make() -> socket.socket:
        return socket.socket(family, kind | socket.SOCK_NONBLOCK)

    return make() if namespace is None else namespace.run(make)


def _random_id() -> int:
    return int.from_bytes(os.urandom(2), "big")
