"""Calls to other nodes: streams on connections of their own, asks together on one connection for each address.

Nothing is ever sent a second time: after `CallBroken` and `NoAnswer` the caller decides, for only it knows whether a
repeat does harm.  What is raised before anything was sent is a `CannotReach`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec
from websockets.client import ClientProtocol
from websockets.http11 import Response
from websockets.uri import parse_uri

from vault.crypto.certificates import Role
from vault.crypto.errors import InvalidCertificate
from vault.rpc.addresses import split_address
from vault.rpc.asks import Asking
from vault.rpc.call import Call
from vault.rpc.coding import decode, encode
from vault.rpc.connection import SILENT, Connection, Tenant, close_all
from vault.rpc.credentials import ClientCredentials
from vault.rpc.errors import CannotReach, NoAnswer, PeerRefused, VersionMismatch
from vault.rpc.frames import ASKS_PATH, CALLS_PATH, VERSIONS, VERSIONS_HEADER, spoken
from vault.rpc.limits import MAX_FRAME_BYTES, Limits
from vault.rpc.stream import Stream
from vault.rpc.tls_errors import explained

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")

_SERVER_NAME = Role.MANAGER.value  # A DNS name that only managers' certificates carry.


class Client:
    """Calls methods of managers, as the node that its credentials name."""

    def __init__(self, credentials: ClientCredentials, *, limits: Limits | None = None) -> None:
        self._credentials = credentials
        self._limits = limits or Limits()
        self._pooled: dict[str, _Pooled] = {}
        self._connections: set[Connection] = set()

    @asynccontextmanager
    async def call(self, address: str, method: str) -> AsyncIterator[Call]:
        """Call a method of the manager at `host:port`; the call ends with the block.

        Raises `CannotReach` or one of its kinds when no connection comes about.
        """
        connection = await self._connect(address)
        stream = Stream(connection)
        await self._greet(connection, CALLS_PATH + method, stream)
        try:
            yield stream.exchange
        finally:
            stream.exchange.finish(None)

    async def ask(
        self, address: str, method: str, message: msgspec.Struct, reply_type: "TypeForm[T]", timeout_s: float
    ) -> T:
        """Send one message to the manager at `host:port`; return the one that answers it.

        Raises `CannotReach` when nothing was sent; `NoAnswer` and `CallBroken` when it may have been carried out;
        else what the handler raised, as `Call.receive` does.
        """
        data, sent = encode(message), False
        try:
            async with asyncio.timeout(timeout_s):
                asking = await self._ready(address)
                sent = True
                return decode(await asking.ask(method, data), reply_type)
        except TimeoutError:
            if sent:
                raise NoAnswer(address, timeout_s) from None
            raise CannotReach(address, f"no connection within {timeout_s:g} s") from None

    async def close(self) -> None:
        """Close every connection; asks and calls that are open break."""
        pooled, self._pooled = self._pooled, {}
        for one in pooled.values():
            one.task.cancel()
        await close_all(tuple(self._connections), self._limits.close_s)

    # -- Asks share a connection.

    async def _ready(self, address: str) -> Asking:
        """Return a connection to the address that takes one more ask."""
        while True:
            pooled = self._pooled.get(address)
            if pooled is None or pooled.generation != self._credentials.generation or pooled.unusable:
                self._retire(pooled)
                task = asyncio.create_task(self._open_for_asks(address))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())  # Nobody may be left to ask.
                pooled = self._pooled[address] = _Pooled(generation=self._credentials.generation, task=task)
            asking = pooled.task.result() if pooled.task.done() else await asyncio.shield(pooled.task)
            await asking.room()
            if asking.usable and not asking.crowded:
                return asking

    async def _open_for_asks(self, address: str) -> Asking:
        connection = await self._connect(address)
        asking = Asking(connection, self._limits)
        await self._greet(connection, ASKS_PATH, asking)
        return asking

    def _retire(self, pooled: "_Pooled | None") -> None:
        """Let the asks on an older connection end, and close it then."""
        if pooled is not None and not pooled.unusable and pooled.task.done():
            pooled.task.result().close_when_idle()

    # -- Connections.

    async def _connect(self, address: str) -> Connection:
        """Return a connection over TLS to a manager of our cluster.  Raises `CannotReach`."""
        host, port = split_address(address)
        ws = ClientProtocol(parse_uri(f"wss://{_SERVER_NAME}/"), max_size=MAX_FRAME_BYTES, logger=SILENT)
        connection = Connection(ws, self._limits, address=host, name=address)
        try:
            async with asyncio.timeout(self._limits.connect_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    host,
                    port,
                    ssl=self._credentials.client_context(),
                    server_hostname=_SERVER_NAME,
                    ssl_shutdown_timeout=self._limits.close_s,
                )
            connection.peer = self._credentials.manager_of(connection.ssl_object())
        except (OSError, TimeoutError) as error:
            raise explained(address, error, own=self._credentials.own, now=datetime.now(UTC)) from None
        except InvalidCertificate as error:
            connection.abort(error.why)
            raise PeerRefused(address, error.message) from None
        connection.max_received = None
        self._connections.add(connection)
        connection.gone.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    async def _greet(self, connection: Connection, path: str, tenant: Tenant) -> None:
        """Say hello and wait for the answer.  Raises `CannotReach`."""
        connection.tenant = tenant
        assert isinstance(connection.ws, ClientProtocol)
        hello = connection.ws.connect()
        hello.path = path
        hello.headers[VERSIONS_HEADER] = ",".join(map(str, VERSIONS))
        connection.say(hello)
        own, now = self._credentials.own, datetime.now(UTC)
        try:
            async with asyncio.timeout(self._limits.connect_s):
                answer = await connection.hello
        except (OSError, TimeoutError) as error:
            connection.abort("there was no hello")
            raise explained(connection.name, error, own=own, now=now) from None
        except asyncio.CancelledError:
            connection.abort("this end gave it up")
            raise
        assert isinstance(answer, Response)
        if connection.ws.handshake_exc is not None:
            connection.abort("hello was refused")
            raise _refused(connection.name, answer)


def _refused(address: str, answer: Response) -> CannotReach:
    """Return why a hello was refused."""
    theirs = spoken(",".join(answer.headers.get_all(VERSIONS_HEADER)))
    if answer.status_code == 426 and theirs:
        return VersionMismatch(address, ours=max(VERSIONS), theirs=max(theirs))
    if answer.status_code == 503:
        return CannotReach(address, "too many connections of this node are open there")
    return CannotReach(address, f"it refused hello with HTTP status {answer.status_code}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pooled:
    """A connection for asks, or the making of one."""

    generation: int  # Of the credentials that it was made with.
    task: "asyncio.Task[Asking]"

    @property
    def unusable(self) -> bool:
        """Whether it could not be made, or is gone."""
        if not self.task.done():
            return False
        return self.task.cancelled() or self.task.exception() is not None or not self.task.result().usable
