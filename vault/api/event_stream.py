"""/events: what changes in the cluster, and what happens to the containers of the node that was asked.

Not pure: listens.  The manager that leads tells of the cluster, first what it remembers, then what comes, and says in a
header how many lines are of the past; the node that was asked puts its own among them by their times.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.context import Context, Endpoint, Reach
from vault.api.events import Event, Wanted, event_of, events_between, passes
from vault.api.filters import parse_filters
from vault.api.ports import ContainerEvent, Store
from vault.api.streams import Streamed, Write
from vault.api.times import nanoseconds
from vault.model.base import SECOND_NS
from vault.model.errors import BadRequest, NotAManager
from vault.store.snapshot import Snapshot

FILTERS: Final = (
    *("type", "event", "scope", "label", "container", "image", "volume", "daemon", "plugin"),
    *("node", "service", "network", "secret", "config"),
)
MAX_WAIT_S: Final = 10 * 365 * 86400.0
PAST: Final = b"vault-past-events"  # The header; it goes from manager to manager and to no client.


class Events:
    """The handler of /events."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        query = ("since", "until", "filters")
        how: dict[str, Any] = {"query": query, "reach": Reach.BOTH, "streams": True, "beside": self.with_own}
        return [Endpoint("GET", "/events", self.events, replies=Event, **how)]

    async def events(self, request: Request) -> Response:
        """Tell what changed in the cluster and happened to this node's containers, and what does from now on."""
        wanted = wanted_by(request)
        manager, now_s = self.context.manager, self.context.now_s
        store: Store | None = None
        before: Snapshot = Snapshot()
        past: list[Event] = []
        with suppress(NotAManager):  # What a worker has to tell, it says beside this.
            store = manager.store()
            before = store.committed
            recent = manager.recent_events()
            recent.look(before, now_s())
            past = wanted.of_the_past(recent.events)

        async def produce(write: Write) -> None:
            nonlocal before
            if past:
                await write(b"".join(map(_line, past)))
            wait_s = _wait_s(wanted, now_s())
            if wait_s <= 0:
                return
            try:
                async with asyncio.timeout(wait_s):
                    if store is None:
                        await asyncio.Event().wait()
                        return
                    async for after in store.snapshots():
                        for event in events_between(before, after, now_s()):
                            if passes(wanted.filters, event):
                                await write(_line(event))
                        before = after
            except TimeoutError:
                return

        streamed = Streamed(produce, answers.JSON)
        streamed.raw_headers.append((PAST, str(len(past)).encode()))
        return streamed

    def with_own(self, request: Request, swarm: Streamed) -> Streamed:
        """Return a stream of the cluster's events with those of this node's containers; it ends when the first ends."""
        wanted = wanted_by(request)
        headers = dict(swarm.raw_headers)
        count = int(headers.get(PAST, b"0"))

        async def produce(write: Write) -> None:
            async with aclosing(self.context.node.container_events()) as happenings:
                past = wanted.of_the_past(map(event_of, await anext(happenings)))
                merged = Merged(write, list(map(_line, past)), count)
                async with asyncio.TaskGroup() as group:
                    beside = group.create_task(_tell(happenings, wanted, merged))
                    await merged.begin()
                    await swarm.produce(merged.take)
                    beside.cancel()

        both = Streamed(produce, answers.JSON, watch=swarm.watch)
        both.status_code = swarm.status_code
        both.raw_headers = [(name, value) for name, value in swarm.raw_headers if name != PAST]
        return both


class Merged:
    """Writes lines of two sources: first those of the past, once all are there, by time; then each as it comes.

    count: how many lines of the past come from the swarm.
    """

    def __init__(self, write: Write, own: Sequence[bytes], count: int) -> None:
        self.begun = asyncio.Event()  # Set once the past is told.
        self._write = write
        self._own = own
        self._count = count
        self._held = b""

    async def begin(self) -> None:
        """Tell this node's past, if the swarm has none to tell."""
        if not self._count:
            await self._tell_past([])

    async def take(self, data: bytes) -> None:
        """Take what comes from the swarm: whole lines, or pieces of them."""
        if self.begun.is_set():
            await self._write(data)
            return
        self._held += data
        *lines, rest = self._held.split(b"\n", self._count)
        if len(lines) == self._count:
            self._held = b""
            await self._tell_past([line + b"\n" for line in lines])
            if rest:
                await self._write(rest)

    async def _tell_past(self, lines: Iterable[bytes]) -> None:
        told = sorted([*lines, *self._own], key=_time_ns)
        if told:
            await self._write(b"".join(told))
        self.begun.set()


class Stamped(msgspec.Struct, frozen=True):
    """What of an event says when it was."""

    time_ns: int = msgspec.field(name="timeNano")


def wanted_by(request: Request) -> Wanted:
    """Return which events a request asks for.  Raises `BadRequest`, in Docker's words where it has some."""
    since, until = (request.query_params.get(name, "") for name in ("since", "until"))
    since_ns, until_ns = nanoseconds(since), nanoseconds(until)
    if since_ns is not None and until_ns is not None and until_ns < since_ns:
        raise BadRequest(f"`since` time ({since}) cannot be after `until` time ({until})")
    filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
    return Wanted(since_ns=since_ns, until_ns=until_ns, filters=filters)


async def _tell(happenings: AsyncGenerator[Sequence[ContainerEvent], None], wanted: Wanted, merged: Merged) -> None:
    await merged.begun.wait()
    async for some in happenings:
        for event in map(event_of, some):
            if passes(wanted.filters, event):
                await merged.take(_line(event))


def _wait_s(wanted: Wanted, now_s: float) -> float:
    return MAX_WAIT_S if wanted.until_ns is None else wanted.until_ns / SECOND_NS - now_s


def _line(event: Event) -> bytes:
    return answers.encode(event) + b"\n"


def _time_ns(line: bytes) -> int:
    return msgspec.json.decode(line, type=Stamped).time_ns
