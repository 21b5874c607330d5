"""Calls to the one member beside this process, with limits; the connection is made when it is needed, and again.

On one event loop.  Called by `vault.raftstore.engines.etcd` and its neighbours.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from vault.model.errors import NoLeader, StoreDamaged, VaultError
from vault.raftstore.engine import EngineStopped
from vault.raftstore.engines.etcd_api.exchange import Exchange, NoAnswer, Refused
from vault.raftstore.engines.etcd_api.http2 import Connection

# gRPC's codes, as far as they tell us something.  Source: https://grpc.io/docs/guides/status-codes/.
NOT_FOUND, EXHAUSTED, PRECONDITION, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS = 5, 8, 9, 11, 14, 15
NO_SPACE: Final = "etcdserver: mvcc: database space exceeded"
_LEARNER: Final = "etcdserver: rpc not supported for learner"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5


class EtcdClient:
    """Talks to the socket `name` in a directory.  End it with `close`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._stopped = ""
        self._final: VaultError | None = None  # More than that it was closed.
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # Named through a descriptor of its directory, since a socket's path has room for 107 bytes only.
        self._path = Path(f"/proc/self/fd/{self._directory}") / name
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()

    async def call(self, method: bytes, body: bytes, *, timeout_s: float) -> bytes:
        """Make a call once.  Raises `Refused`, `NoAnswer` or `EngineStopped`."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connected()
                return await connection.ask(method, body)
        except TimeoutError:
            raise NoAnswer("etcd did not answer in time", sent=connection is not None) from None

    async def ask(self, method: bytes, body: bytes, *, limit_s: float) -> bytes:
        """Make a call that does no harm when it is made twice, again and again until there is an answer.

        Raises `Refused` if another try would not help, `NoLeader`, `StoreDamaged` or `EngineStopped`.
        """
        pauses = Pauses(limit_s)
        while True:
            try:
                return await self.call(method, body, timeout_s=pauses.left_s)
            except (Refused, NoAnswer) as error:
                if not worth_another_try(error):
                    raise
            if not await pauses.another():
                raise NoLeader

    async def listen(self, method: bytes, body: bytes, *, timeout_s: float) -> Exchange:
        """Make a call with many answers.  Raises `NoAnswer` or `EngineStopped`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await (await self._connected()).listen(method, body)
        except TimeoutError:
            raise NoAnswer("etcd did not answer in time", sent=True) from None

    def stop(self, why: str, *, final: VaultError | None = None) -> None:
        """End all calls, and let there be no more.  final: what callers are told instead of that."""
        if not self._stopped:
            self._stopped, self._final = why, final
            if self._connection is not None:
                self._connection.close()
            os.close(self._directory)

    def check_running(self) -> None:
        """Raise `EngineStopped` after the end, or what is more to the point."""
        if self._stopped:
            raise EngineStopped(self._stopped) if self._final is None else self._final

    async def _connected(self) -> Connection:
        self.check_running()
        if self._connection is not None and self._connection.usable:
            return self._connection
        async with self._connecting:
            self.check_running()
            if self._connection is None or not self._connection.usable:
                try:
                    connection = await Connection.open(self._path)
                except OSError as error:
                    raise NoAnswer(f"etcd's socket does not answer: {error.strerror}", sent=False) from None
                if self._stopped:
                    connection.close()
                    self.check_running()
                self._connection = connection
            return self._connection


class Pauses:
    """Ever longer pauses between tries, up to a limit."""

    def __init__(self, limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + limit_s
        self._pause_s = FIRST_PAUSE_S

    @property
    def left_s(self) -> float:
        """How long the tries may take yet."""
        return max(0.001, self._until - self._loop.time())

    async def another(self) -> bool:
        """Wait, and return whether there is time for another try."""
        if self._loop.time() + self._pause_s >= self._until:
            return False
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return True


def worth_another_try(error: Refused | NoAnswer) -> bool:
    """Return whether a call may succeed later that failed now.  Raises `StoreDamaged` if none ever will."""
    if isinstance(error, NoAnswer):
        return True
    if error.code == DATA_LOSS:
        raise StoreDamaged("the store of this manager is not what the others have: remove this manager, and join anew")
    transient = error.code == UNAVAILABLE or (error.code == EXHAUSTED and error.message != NO_SPACE)
    return transient or error.message == _LEARNER
