"""One task's resolver: queries at 127.0.0.11 in its namespace, by UDP and TCP, answered or forwarded.

Not pure.  Made by `vault.dns.process`.  A task can ask as much as it likes and hinders no other: what is under way for
it is bounded, and what is more is refused.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import Final

from vault.dns.answering import answer
from vault.dns.forwarding import Forwarder
from vault.dns.messages import RESOLVER, Served
from vault.dns.names import Directory, NetworkNames
from vault.dns.nodeservers import usable
from vault.dns.sockets import Namespace, listen
from vault.dns.wire import (
    MAX_MESSAGE_BYTES,
    Malformed,
    Query,
    Rcode,
    read_query,
    write_reply,
    write_truncated,
)

MAX_FORWARDED: Final = 128
MAX_CONNECTIONS: Final = 32
IDLE_S: Final = 10.0
_BATCH: Final = 32  # Datagrams before others get a turn.
_MAX_QUERY_BYTES: Final = 4096


class Resolver:
    """Answers one task."""

    def __init__(
        self, served: Served, names: Directory, forwarder: Forwarder, node_servers: Callable[[], tuple[str, ...]]
    ) -> None:
        """Open its sockets.  Raises `OSError`."""
        self._names, self._forwarder, self._node_servers = names, forwarder, node_servers
        self._namespace = Namespace(served.namespace)
        try:
            self._datagrams, self._stream = self._namespace.run(listen)
        except OSError:
            self._namespace.close()
            raise
        self._jobs: set[asyncio.Task[None]] = set()
        self._forwarded = self._connections = 0
        self.describe(served)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._datagrams, self._take_datagrams)
        loop.add_reader(self._stream, self._take_connection)

    def describe(self, served: Served) -> None:
        """Take what is new about the task; its namespace stays."""
        self.served = served
        self._own_servers = tuple(server for server in usable(served.nameservers) if server != RESOLVER)

    def is_in(self, namespace: str) -> bool:
        """Return whether the file is still the namespace that is served."""
        try:
            found = Namespace(namespace)
        except OSError:
            return False
        found.close()
        return found.identity == self._namespace.identity

    def close(self) -> None:
        """Answer no more."""
        loop = asyncio.get_running_loop()
        for one in (self._datagrams, self._stream):
            loop.remove_reader(one)
            one.close()
        for job in self._jobs:
            job.cancel()
        self._namespace.close()

    def _take_datagrams(self) -> None:
        for _ in range(_BATCH):
            try:
                data, peer = self._datagrams.recvfrom(_MAX_QUERY_BYTES)
            except OSError:  # Nothing is left, or the client of an earlier answer has gone.
                return
            try:
                query = read_query(data)
            except Malformed as error:
                reply = error.reply
            else:
                reply = answer(query, self._networks(), over_tcp=False)
                if reply is None:
                    self._start(self._forward_datagram(query, data, peer))
            if reply is not None:
                self._send(reply, peer)

    async def _forward_datagram(self, query: Query, data: bytes, peer: tuple[str, int]) -> None:
        reply = await self._forward(query, data, over_tcp=False)
        self._send(reply if len(reply) <= query.udp_bytes else write_truncated(query), peer)

    def _send(self, reply: bytes, peer: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):  # Its buffers are full, or it has gone: it asks again.
            self._datagrams.sendto(reply, peer)

    def _take_connection(self) -> None:
        try:
            connection, _ = self._stream.accept()
        except OSError:
            return
        if self._connections >= MAX_CONNECTIONS:
            connection.close()
            return
        connection.setblocking(False)
        self._connections += 1
        self._start(self._converse(connection))

    async def _converse(self, connection: socket.socket) -> None:
        """Answer a client of TCP, one query after the other, until it ends or says nothing for a while."""
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
            with contextlib.closing(writer), contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(IDLE_S):
                        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                    reply = await self._reply_over_tcp(data)
                    if reply is None:
                        return
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    async with asyncio.timeout(IDLE_S):
                        await writer.drain()
        finally:
            self._connections -= 1
            connection.close()

    async def _reply_over_tcp(self, data: bytes) -> bytes | None:
        try:
            query = read_query(data)
        except Malformed as error:
            return error.reply
        reply = answer(query, self._networks(), over_tcp=True)
        return await self._forward(query, data, over_tcp=True) if reply is None else reply

    async def _forward(self, query: Query, data: bytes, *, over_tcp: bool) -> bytes:
        """Return what the servers above say; a failure when there are none, or they cannot."""
        reply, (servers, namespace) = None, self._servers()
        if servers and self._forwarded < MAX_FORWARDED:
            self._forwarded += 1
            try:
                reply = await self._forwarder.ask(query, data, servers, namespace, over_tcp=over_tcp)
            finally:
                self._forwarded -= 1
        if reply is None:
            return write_reply(query, Rcode.SERVFAIL, max_bytes=MAX_MESSAGE_BYTES)
        return reply

    def _servers(self) -> tuple[tuple[str, ...], Namespace | None]:
        """Return whom to ask, and from where.

        A task's own servers are asked the way that the task itself would take, which on internal networks may lead
        nowhere.  The node's may be at an address that only the node has, as 127.0.0.53: they are asked from the node's
        namespace, and not for a task that has only internal networks, for which that would be a way out.
        """
        if self._own_servers:
            return self._own_servers, self._namespace
        return self._node_servers() if self.served.outward else (), None

    def _networks(self) -> list[NetworkNames]:
        return list(self._names.on(self.served.networks))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
