"""vaultd's side of vault-dns: starts it with the first task, tells it what is new, starts it again, takes one over.

Not pure.  Made by `vault.daemon.compose`, called by the node's networks.  One job holds the connection and tells what
differs between what should be and what the process at the other end knows.  So whatever happens on the way (an update
lost, a process killed, a vaultd restarted), the next round mends it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Final

from vault.dns.connection import LOST, Connection, connect, start
from vault.dns.messages import Served, Update
from vault.model.errors import VaultError
from vault.model.overlay import OverlayChange
from vault.network.overlay_state import OverlayState, differences

logger = logging.getLogger(__name__)
OPEN_LIMIT_S: Final = 15.0
CLOSE_LIMIT_S: Final = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
RESOLV_CONF: Final = Path("/etc/resolv.conf")
_Waiter = asyncio.Future[dict[str, str]]  # Why tasks are refused, by their ids.


class NamesFailed(VaultError):
    """A task cannot be served with names."""

    def __init__(self, why: str) -> None:
        super().__init__(f"no name resolution for the task: {why}")
        self.why = why


class Names:
    """The names that this node's tasks are served with."""

    def __init__(self, run_root: Path, *, resolv_conf: Path = RESOLV_CONF) -> None:
        """resolv_conf: names the servers that the node asks."""
        self._run_root, self._resolv_conf = run_root, resolv_conf
        self._state: OverlayState | None = None
        self._tasks: dict[str, Served] = {}
        self._reaps = 0  # With the first, a process that serves other tasks is to let go of them.
        self._waiters: list[_Waiter] = []
        self._news = asyncio.Event()
        self._job: asyncio.Task[None] | None = None

    def told(self, state: OverlayState) -> None:
        """Take what the node was told of overlay networks; a task opened after this finds it."""
        ingress = state.ingress  # Nobody is looked up there.
        self._state = state if ingress is None else OverlayState(state.overlays.remove(ingress.network.id))
        self._news.set()

    async def open(
        self, task_id: str, *, namespace: Path, networks: tuple[str, ...], nameservers: tuple[str, ...] = ()
    ) -> None:
        """Serve a task in its namespace, whose lo must be up; return when it is served.  Safe to repeat.

        networks: ids, in the order in which names are looked for.  nameservers: the task's own (IP addresses), asked
        from inside its namespace; without any, those of the node are asked from the node's.  Raises `NamesFailed`.
        """
        served = Served(task_id=task_id, namespace=str(namespace), networks=networks, nameservers=nameservers)
        self._tasks[task_id] = served
        try:
            async with asyncio.timeout(OPEN_LIMIT_S):
                refused = await self._in_force()
        except TimeoutError:
            self._forget(served)
            raise NamesFailed(f"vault-dns does not answer: look into {self._run_root}/dns.log") from None
        if task_id in refused:
            raise NamesFailed(refused[task_id])

    async def close(self, task_id: str) -> None:
        """Let go of a task's namespace; nothing to do is no error."""
        if self._tasks.pop(task_id, None) is not None:
            await self._let_go()

    async def reap(self, known: Collection[str]) -> None:
        """Let go of all tasks but these, also of those that an earlier vaultd opened."""
        for task_id in self._tasks.keys() - set(known):
            del self._tasks[task_id]
        self._reaps += 1
        await self._let_go()

    async def stop(self) -> None:
        """Say no more; the process goes on, and the next vaultd takes it over."""
        if self._job is not None:
            self._job.cancel()
            await asyncio.wait({self._job})
            self._job = None

    async def _let_go(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._in_force()
        except TimeoutError:
            logger.warning("names_not_let_go")  # The next round tells it.

    async def _in_force(self) -> dict[str, str]:
        """Wait until what should be is so; return which tasks are refused, and why."""
        if self._job is None or self._job.done():
            self._job = asyncio.create_task(self._keep_telling(), name="names")
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._news.set()
        return await waiter

    async def _keep_telling(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            connection = await self._connected()
            if connection is None:
                if self._tasks:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                else:  # Nobody serves, and nobody need.
                    self._news.clear()
                    _answer(self._waiters, {})
                    await self._news.wait()
                continue
            pause_s = _FIRST_PAUSE_S
            with contextlib.closing(connection):
                try:
                    await self._tell(connection)
                except LOST as error:
                    if self._tasks:
                        logger.warning("names_process_lost", extra={"reason": str(error) or type(error).__name__})

    async def _connected(self) -> Connection | None:
        """Return a connection to the process; started, if there is none and tasks need one."""
        try:
            connection = await connect(self._run_root, patient=bool(self._tasks))
            if connection is None and self._tasks:
                await start(self._run_root, self._resolv_conf)
                connection = await connect(self._run_root)
                logger.info("names_process_started", extra={"answers": connection is not None})
        except LOST as error:
            logger.warning("names_process_not_reached", extra={"reason": str(error) or type(error).__name__})
            return None
        return connection

    async def _tell(self, connection: Connection) -> None:
        """Tell what is new until the connection is lost.  Raises one of `LOST`."""
        state: OverlayState | None = None
        tasks: dict[str, Served] = {}
        reaps = 0
        while True:
            self._news.clear()
            waiters, self._waiters = self._waiters, []
            told, wanted = self._state, dict(self._tasks)
            only, reaps = self._reaps != reaps, self._reaps
            try:
                # A large network takes tens of milliseconds to compare; the event loop is not held meanwhile.
                update = await asyncio.to_thread(_update, state, told, tasks, wanted, only=only)
                refused = (await connection.ask(update)).refused if update is not None else {}
            except BaseException:
                self._waiters = waiters + self._waiters  # The next connection is told for them.
                raise
            state, tasks = told, {task_id: one for task_id, one in wanted.items() if task_id not in refused}
            for task_id, why in refused.items():
                logger.warning("task_without_names", extra={"task_id": task_id, "reason": why})
                self._forget(wanted[task_id])
            _answer(waiters, refused)
            await connection.until_lost_or(self._news)

    def _forget(self, served: Served) -> None:
        if self._tasks.get(served.task_id) is served:
            del self._tasks[served.task_id]


def _update(
    before: OverlayState | None,
    state: OverlayState | None,
    had: dict[str, Served],
    wanted: dict[str, Served],
    *,
    only: bool,
) -> Update | None:
    """Return what leads from one to the other; None when there is nothing to say.

    No state before: what the process knows is not known, as on a connection that was just made.
    """
    change = None
    if state is not None and state is not before:
        change = state.as_change() if before is None else _difference(before, state)
    # A task that was opened again is told again: its namespace may be another one of that name.
    put = tuple(one for task_id, one in wanted.items() if had.get(task_id) is not one)
    removed = tuple(task_id for task_id in had if task_id not in wanted)
    only_tasks = tuple(wanted) if only else None
    if change is None and not put and not removed and only_tasks is None:
        return None
    return Update(change=change, put_tasks=put, remove_tasks=removed, only_tasks=only_tasks)


def _difference(before: OverlayState, after: OverlayState) -> OverlayChange:
    every = list(differences(before, after))
    kept = [each for each in every if each.after is not None]
    return OverlayChange(
        put_networks=tuple(each.after.network for each in kept if each.after is not None and each.network_changed),
        remove_networks=tuple(each.network_id for each in every if each.after is None),
        put_endpoints=tuple(one for each in kept for one in each.put_endpoints),
        remove_endpoints=tuple(
            (each.network_id, one.task_id, one.node_id) for each in kept for one in each.removed_endpoints
        ),
        put_services=tuple(one for each in kept for one in each.put_services),
        remove_services=tuple((each.network_id, one.service_id) for each in kept for one in each.removed_services),
    )


def _answer(waiters: list[_Waiter], refused: dict[str, str]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(refused)
    waiters.clear()
