"""The listener on 2377/tcp: who may come in, how many, and which handler serves what they call.

Every connection is TLS 1.3.  One without a certificate is a stranger; what strangers may call is `authorize`'s
decision, how many there may be and how much they may send is bounded here.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from vault.crypto.certificates import Role
from vault.crypto.errors import InvalidCertificate
from vault.model.errors import Unavailable
from vault.rpc.asks import Answering
from vault.rpc.attend import attend
from vault.rpc.call import Authorize, Call, Handler
from vault.rpc.connection import SILENT, Connection, close_all
from vault.rpc.credentials import Credentials
from vault.rpc.errors import CallBroken, NoSuchMethod
from vault.rpc.exchange import Exchange
from vault.rpc.frames import ASKS_PATH, CALLS_PATH, METHOD, VERSION_HEADER, VERSIONS, VERSIONS_HEADER, spoken
from vault.rpc.limits import MAX_FRAME_BYTES, Limits
from vault.rpc.stream import Stream

logger = logging.getLogger(__name__)

_PAUSE_S = 0.1  # After an accept that failed, most likely for want of descriptors.


class CannotListen(Unavailable):
    """The address for the control plane cannot be used."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"cannot listen on {host}:{port}: {why}")


def listening(host: str, port: int, *, backlog: int = 1) -> socket.socket:
    """Return a socket that listens.  host: an address; port: 0 for any.  Raises `CannotListen`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        raise CannotListen(host, port, os.strerror(error.errno or 0).lower()) from None


class Server:
    """Serves methods to other nodes."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        credentials: Credentials,
        authorize: Authorize,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._handlers = handlers
        self._credentials = credentials
        self._authorize = authorize
        self._limits = limits or Limits()
        self._listener: socket.socket | None = None
        self._running: asyncio.Task[None] | None = None
        self._jobs: asyncio.TaskGroup | None = None
        self._greeting: Counter[str] = Counter()  # Connections without a hello yet, by host.
        self._room = asyncio.Event()
        self._closing = False
        self._connections: defaultdict[str, set[Connection]] = defaultdict(set)  # By node id, "" for strangers.

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._listener is not None
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def connected(self) -> frozenset[str]:
        """The nodes that have a connection here."""
        return frozenset(node for node, connections in self._connections.items() if node and connections)

    async def start(self, host: str, port: int) -> None:
        """Listen and serve, until `close`.  host: an address; port: 0 for any.  Raises `CannotListen`."""
        self._listener = listening(host, port, backlog=self._limits.backlog)
        self._listener.setblocking(False)
        started = asyncio.Event()
        self._running = asyncio.create_task(self._run(started))
        await started.wait()

    async def close(self) -> None:
        """Listen no longer, end every handler, and close every connection."""
        if self._running is None or self._listener is None:
            return
        self._closing = True
        self._running.cancel()
        await asyncio.wait((self._running,))
        self._listener.close()
        await close_all(self._all(), self._limits.close_s)

    def close_peer(self, node_id: str) -> None:
        """End all connections of a node that was removed, at once; that it cannot come back is for `authorize`."""
        for connection in tuple(self._connections.get(node_id, ())):
            connection.abort("this node was removed")

    def end_calls(self, node_id: str, prefix: str) -> None:
        """End a node's open calls of methods that begin so; what it asked in one message is answered yet."""
        for connection in tuple(self._connections.get(node_id, ())):
            if connection.method.startswith(prefix):
                connection.abort("this node has another role now")

    # -- Coming in.

    async def _run(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._jobs:
            started.set()
            await self._accept(self._jobs)

    async def _accept(self, jobs: asyncio.TaskGroup) -> None:
        assert self._listener is not None
        loop, limits = asyncio.get_running_loop(), self._limits
        while True:
            while self._greeting.total() >= limits.greeting:
                self._room.clear()
                await self._room.wait()
            try:
                accepted, address = await loop.sock_accept(self._listener)
            except OSError as error:
                logger.warning("rpc_accept_failed", extra={"reason": error.strerror})
                await asyncio.sleep(_PAUSE_S)
                continue
            host = str(address[0])
            if self._greeting[host] >= limits.greeting_of_host:
                accepted.close()
                continue
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._greeting[host] += 1
            jobs.create_task(self._admit(accepted, host))

    async def _admit(self, accepted: socket.socket, host: str) -> None:
        """Take one connection through TLS and hello, within the limits of time."""
        limits = self._limits
        connection = Connection(ServerProtocol(max_size=MAX_FRAME_BYTES, logger=SILENT), limits, address=host)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._credentials.server_context(),
                ssl_handshake_timeout=limits.handshake_s,
                ssl_shutdown_timeout=limits.close_s,
            )
            async with asyncio.timeout(limits.hello_s):
                hello = await connection.hello
            self._welcome(connection, hello)
        except ssl.SSLCertVerificationError as error:
            logger.info("rpc_peer_refused", extra={"address": host, "reason": error.verify_message})
        except ssl.SSLError as error:
            logger.info("rpc_peer_refused", extra={"address": host, "reason": (error.reason or "TLS failed").lower()})
        except InvalidCertificate as error:
            logger.info("rpc_peer_refused", extra={"address": host, "reason": error.why})
            connection.abort(error.why)
        except TimeoutError:
            connection.abort("it said no hello in time")
        except OSError:
            connection.abort("it went away")
        finally:
            self._greeting[host] -= 1
            self._greeting = +self._greeting  # Drops hosts that have none.
            self._room.set()

    def _welcome(self, connection: Connection, hello: Request | Response) -> None:
        """Answer a hello: who it is, a version that both speak, a path that there is, and room for one more."""
        ws = connection.ws
        assert isinstance(hello, Request)
        assert isinstance(ws, ServerProtocol)
        connection.peer = self._credentials.peer_of(connection.ssl_object())
        common = spoken(",".join(hello.headers.get_all(VERSIONS_HEADER))) & frozenset(VERSIONS)
        method = hello.path.removeprefix(CALLS_PATH)
        if not common:
            response = ws.reject(426, f"this manager speaks version {max(VERSIONS)} of the control protocol\n")
            response.headers[VERSIONS_HEADER] = ",".join(map(str, VERSIONS))
        elif hello.path != ASKS_PATH and METHOD.fullmatch(method) is None:
            response = ws.reject(404, "this manager has no such path\n")
        elif not self._keep(connection):
            response = ws.reject(503, "too many connections of this node are open\n")
        else:
            response = ws.accept(hello)
        if response.status_code != 101:
            connection.say(response)
            return
        response.headers[VERSION_HEADER] = str(max(common))
        if hello.path == ASKS_PATH:
            connection.tenant = Answering(connection, self._limits, self._begin)
            connection.say(response)
        else:
            connection.tenant = stream = Stream(connection)
            connection.method = method
            connection.say(response)
            self._begin(stream.exchange, method, lambda: None)

    def _keep(self, connection: Connection) -> bool:
        """Keep an open connection in mind; return False when its node has too many."""
        peer, node_id, limits = connection.peer, "", self._limits
        if peer is None:
            allowed, connection.max_received = limits.strangers, limits.stranger_bytes
        else:
            node_id, connection.max_received = peer.node_id, None
            allowed = limits.of_manager if peer.role is Role.MANAGER else limits.of_worker
        if len(self._connections[node_id]) >= allowed:
            logger.warning("rpc_too_many_connections", extra={"node_id": node_id, "address": connection.address})
            return False
        self._connections[node_id].add(connection)
        connection.gone.add_done_callback(lambda _: self._forget(node_id, connection))
        return True

    def _forget(self, node_id: str, connection: Connection) -> None:
        of_node = self._connections[node_id]
        of_node.discard(connection)
        if not of_node:
            del self._connections[node_id]

    def _all(self) -> list[Connection]:
        return [connection for of_node in self._connections.values() for connection in of_node]

    # -- Serving.

    def _begin(self, exchange: Exchange, method: str, done: Callable[[], None]) -> None:
        async def authorized(call: Call) -> None:
            self._authorize(method, call.peer)
            handler = self._handlers.get(method)
            if handler is None:
                raise NoSuchMethod
            await handler(call)

        assert self._jobs is not None
        if self._closing:
            exchange.finish(CallBroken("this manager", "it is stopping"))
            done()
            return
        self._jobs.create_task(attend(authorized, exchange, method)).add_done_callback(lambda _: done())
