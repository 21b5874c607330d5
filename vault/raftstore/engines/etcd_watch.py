"""Watching etcd: every commit, once and in order, across lost connections and restarts of the member.

Called by `vault.raftstore.engines.etcd`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import Final

from vault.model.errors import StoreDamaged
from vault.raftstore.engine import Beat, Seen, WatchLost, Write
from vault.raftstore.engines.etcd_api import messages
from vault.raftstore.engines.etcd_api.client import OUT_OF_RANGE, EtcdClient, Pauses, worth_another_try
from vault.raftstore.engines.etcd_api.exchange import Exchange, Finished, NoAnswer, Refused
from vault.raftstore.engines.etcd_api.messages import Event, WatchReply
from vault.raftstore.engines.etcd_reading import PREFIX, PREFIX_END
from vault.raftstore.keys import BEAT_KEY, HEAD_KEY

logger = logging.getLogger(__name__)
BEGIN_LIMIT_S: Final = 5.0
LONG_BYTES: Final = 1024 * 1024
FOREVER_S: Final = float("inf")
GATHER_S: Final = 0.01  # What comes within this time of the last commits is shown together: a fraction of the work.
_HEAD: Final = HEAD_KEY.encode()
_BEAT: Final = BEAT_KEY.encode()


async def watch(client: EtcdClient, revision: int) -> AsyncIterator[Sequence[Seen | Beat]]:
    """Yield what came after a revision; see `Engine.watch`."""
    while True:
        exchange = await _begin(client, revision + 1)
        held: list[Event] = []  # Of a revision that is perhaps not whole yet.
        try:
            canceled = False
            while not canceled:
                events, fragment = [*held], False
                for message in await exchange.receive_all():
                    reply = await _read(message)
                    if reply.compact_revision:
                        raise WatchLost
                    if canceled := reply.canceled:
                        break
                    events += reply.events
                    fragment = reply.fragment
                last = events[-1].mod_revision if events else 0
                held = [event for event in events if event.mod_revision == last] if fragment else []
                whole = events[: len(events) - len(held)]
                if whole:
                    yield list(_grouped(whole))
                    revision = whole[-1].mod_revision
                    await asyncio.sleep(GATHER_S)
        except Refused as error:
            if error.code == OUT_OF_RANGE:
                raise WatchLost from None
            worth_another_try(error)
        except (NoAnswer, Finished):
            pass
        finally:
            exchange.close()
        client.check_running()
        logger.info("etcd_watch_resumed", extra={"revision": revision})


async def _read(message: bytes) -> WatchReply:
    """Return what a message says; a long one, after much was missed, does not hold the event loop meanwhile."""
    if len(message) < LONG_BYTES:
        return WatchReply.from_bytes(message)
    return await asyncio.to_thread(WatchReply.from_bytes, message)


async def _begin(client: EtcdClient, revision: int) -> Exchange:
    """Return a watch from a revision on, as soon as there is a member to ask."""
    request = messages.watch_request(PREFIX, PREFIX_END, start_revision=revision)
    pauses = Pauses(FOREVER_S)
    while True:
        try:
            return await client.listen(messages.WATCH, request, timeout_s=BEGIN_LIMIT_S)
        except NoAnswer:
            await pauses.another()


def _grouped(events: Iterable[Event]) -> Iterable[Seen | Beat]:
    """Yield what each revision was: a commit, or a beat."""
    for revision, group in groupby(events, key=lambda event: event.mod_revision):
        values = {event.key: event.value for event in group}
        head, beat = values.pop(_HEAD, None), values.pop(_BEAT, None)
        if head is not None:
            yield Seen(head, [Write(key.decode("ascii", "replace"), value) for key, value in values.items()])
        elif beat is not None and not values:
            yield Beat(beat)
        else:
            raise StoreDamaged(f"something else than vault wrote to the store (revision {revision}): restore a backup")
