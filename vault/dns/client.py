"""vaultd's side of vault-dns: starts it with the first task, tells it what is new, starts it again, takes one over.

Not pure.  Made by `vault.daemon.compose`, called by `vault.network.node`.  One job holds the connection and tells what
differs between what should be and what the process at the other end knows.  So whatever happens on the way (an update
lost, a process killed, a vaultd restarted), the next round mends it.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from vault.dns.connection import COME_BACK_S, LOST, START_LIMIT_S, Connection, connect, start
from vault.dns.messages import Served, Update
from vault.dns.redirect import redirect
from vault.model.errors import VaultError
from vault.model.overlay import OverlayChange
from vault.network.overlay.listener import AttachedTask
from vault.network.overlay.state import OverlayState, differences

logger = logging.getLogger(__name__)
READY_LIMIT_S: Final = 20.0
FEW: Final = 200  # Endpoints and services that are compared in less than a millisecond.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
RESOLV_CONF: Final = Path("/etc/resolv.conf")


class NamesFailed(VaultError):
    """A task cannot be served with names."""

    def __init__(self, why: str) -> None:
        super().__init__(f"no name resolution for the task: {why}")
        self.why = why


class Names:
    """The names that this node's tasks are served with; implements `vault.network.overlay.listener.OverlayListener`."""

    def __init__(self, run_root: Path, *, resolv_conf: Path = RESOLV_CONF) -> None:
        """resolv_conf: names the servers that the node asks."""
        self._run_root, self._resolv_conf = run_root, resolv_conf
        self._state: OverlayState | None = None
        self._tasks: dict[str, Served] = {}
        self._refused: dict[str, str] = {}  # Why, by the task's id.
        self._waiters: list[asyncio.Future[None]] = []
        self._news = asyncio.Event()
        self._job: asyncio.Task[None] | None = None

    def told(self, state: OverlayState) -> None:
        """Take what the node was told of overlay networks."""
        ingress = state.ingress  # Nobody is looked up there.
        self._state = state if ingress is None else OverlayState(state.overlays.remove(ingress.network.id))
        self._work()

    def opened(self, network_id: str, namespace: Path) -> None:
        """Nothing to do: names do not pass through a network's own namespace."""

    def attached(self, task: AttachedTask) -> None:
        """Serve a task in its namespace, whose lo must be up; `ready` returns when that is so."""
        self._refused.pop(task.task_id, None)
        self._tasks[task.task_id] = Served(
            task_id=task.task_id,
            namespace=str(task.namespace),
            networks=task.networks,
            nameservers=task.nameservers,
            outward=bool(task.link_address),
        )
        self._work()

    def detached(self, task_id: str) -> None:
        """Let go of a task's namespace; one that is not served is no error."""
        self._refused.pop(task_id, None)
        if self._tasks.pop(task_id, None) is not None:
            self._work()

    async def ready(self, task_id: str) -> None:
        """Return when a task that was attached is served, with all that was told before.  Raises `NamesFailed`."""
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await self.settle()
        except TimeoutError:
            raise NamesFailed(f"vault-dns does not answer: look into {self._run_root}/dns.log") from None
        if (why := self._refused.get(task_id)) is not None:
            raise NamesFailed(why)

    async def settle(self) -> None:
        """Return when all that was said is in force."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._work()
        await waiter

    async def close(self) -> None:
        """Say no more; the process goes on, and the next vaultd takes it over."""
        if self._job is not None:
            self._job.cancel()
            await asyncio.wait({self._job})
            self._job = None

    def _work(self) -> None:
        self._news.set()
        if self._job is None or self._job.done():
            self._job = asyncio.create_task(self._keep_telling(), name="names")

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
                    _release(self._waiters)
                    await self._news.wait()
                continue
            pause_s = _FIRST_PAUSE_S
            with contextlib.closing(connection):
                try:
                    await self._tell(connection)
                except LOST as error:
                    if isinstance(error, TimeoutError):
                        connection.kill_other()
                    if self._tasks:
                        logger.warning("names_process_lost", extra={"reason": str(error) or type(error).__name__})

    async def _connected(self) -> Connection | None:
        """Return a connection to the process; started, if there is none and tasks need one."""
        try:
            connection = await connect(self._run_root, refused_s=COME_BACK_S if self._tasks else 0.0)
            if connection is None and self._tasks:
                await start(self._run_root, self._resolv_conf)
                connection = await connect(self._run_root, absent_s=START_LIMIT_S)
                logger.info("names_process_started", extra={"answers": connection is not None})
        except LOST as error:
            logger.warning("names_process_not_reached", extra={"reason": str(error) or type(error).__name__})
            return None
        return connection

    async def _tell(self, connection: Connection) -> None:
        """Tell what is new until the connection is lost.  Raises one of `LOST`."""
        state: OverlayState | None = None
        tasks: dict[str, Served] | None = None
        while True:
            self._news.clear()
            waiters, self._waiters = self._waiters, []
            told, wanted = self._state, dict(self._tasks)
            try:
                update = await _compared(state, told, tasks, wanted)
                refused = await _in_force(connection, update) if update is not None else {}
            except BaseException:  # Cancelled too: whoever waits must never be left behind.
                self._waiters = waiters + self._waiters  # The next connection is told for them.
                raise
            for task_id, why in refused.items():
                logger.warning("task_without_names", extra={"task_id": task_id, "reason": why})
                if self._tasks.get(task_id) is wanted.get(task_id):
                    self._refused[task_id] = why
            state, tasks = told, wanted
            _release(waiters)
            await connection.until_lost_or(self._news)


async def _in_force(connection: Connection, update: Update) -> dict[str, str]:
    """Carry an update out; return which tasks cannot be served, and why.  Raises one of `LOST`."""
    refused = await redirect(update.put_tasks) if update.put_tasks else {}
    put = tuple(task for task in update.put_tasks if task.task_id not in refused)
    return refused | (await connection.ask(replace(update, put_tasks=put))).refused


async def _compared(
    before: OverlayState | None, state: OverlayState | None, had: dict[str, Served] | None, wanted: dict[str, Served]
) -> Update | None:
    """Return what `_update` does.

    A large network takes tens of milliseconds to compare; the event loop is not held meanwhile.
    """
    size = sum(len(one.endpoints) + len(one.services) for one in state or ())
    if size <= FEW:
        return _update(before, state, had, wanted)
    return await asyncio.to_thread(_update, before, state, had, wanted)


def _update(
    before: OverlayState | None, state: OverlayState | None, had: dict[str, Served] | None, wanted: dict[str, Served]
) -> Update | None:
    """Return what leads from one to the other; None when there is nothing to say.

    None before: what the process knows is not known, as on a connection that was just made.
    """
    change = None
    if state is not None and state is not before:
        change = state.as_change() if before is None else _difference(before, state)
    if had is None:
        return Update(change=change, put_tasks=tuple(wanted.values()), only_these=True)
    # A task that was attached again is told again: its namespace may be another one of that name.
    put = tuple(one for task_id, one in wanted.items() if had.get(task_id) is not one)
    removed = tuple(task_id for task_id in had if task_id not in wanted)
    if change is None and not put and not removed:
        return None
    return Update(change=change, put_tasks=put, remove_tasks=removed)


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


def _release(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
