"""Keeping etcd small: old history is forgotten, and an alarm for want of space is lifted when there is space again.

Every member's process runs it; only the one whose member leads acts on the history, which all share.
Called by `vault.raftstore.engines.etcd`.
"""

import asyncio
import logging
from typing import Final

from vault.model.errors import VaultError
from vault.raftstore.engines.etcd_api import messages
from vault.raftstore.engines.etcd_api.client import EtcdClient
from vault.raftstore.engines.etcd_api.exchange import NoAnswer, Refused
from vault.raftstore.engines.etcd_api.messages import StatusReply

logger = logging.getLogger(__name__)
LOOK_EVERY_S: Final = 10.0
COMPACT_EVERY_S: Final = 20.0
KEPT_REVISIONS: Final = 5_000
KEPT_WHEN_LARGE: Final = 500
QUOTA_BYTES: Final = 8 * 1024**3  # What etcd's database may grow to.
LARGE_BYTES: Final = 2 * 1024**3  # From here on less history is kept.
CALL_LIMIT_S: Final = 30.0
_NO_SPACE: Final = "NOSPACE"


async def compact_for_ever(client: EtcdClient) -> None:
    """Do the upkeep until cancelled; what fails is tried again at the next turn."""
    since_s = 0.0
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        since_s += LOOK_EVERY_S
        try:
            status = StatusReply.from_bytes(await client.ask(messages.STATUS, b"", limit_s=CALL_LIMIT_S))
            large = status.used_bytes > LARGE_BYTES
            if large or since_s >= COMPACT_EVERY_S:
                since_s = 0.0
                await compact(client, status, keep=KEPT_WHEN_LARGE if large else KEPT_REVISIONS)
            if any(_NO_SPACE in error for error in status.errors):
                await make_space(client, status)
        except (Refused, NoAnswer, VaultError) as error:
            logger.info("etcd_upkeep_failed", extra={"why": str(error)})


async def compact(client: EtcdClient, status: StatusReply, *, keep: int) -> None:
    """Forget the history before the last `keep` revisions, if this member leads."""
    revision = status.header.revision - keep
    if revision <= 0 or status.leader != status.header.member_id:
        return
    try:
        await client.call(messages.COMPACT, messages.compact_request(revision), timeout_s=CALL_LIMIT_S)
    except Refused as error:
        if "has been compacted" not in error.message:
            raise


async def make_space(client: EtcdClient, status: StatusReply) -> None:
    """Give back what is free inside this member's database, if that is much; the one that leads lifts the alarms then.

    A member whose own turn has not come yet raises its alarm again, until it has made space too.
    """
    if status.used_bytes > QUOTA_BYTES * 3 // 4:
        return
    logger.warning("etcd_makes_space", extra={"used_bytes": status.used_bytes})
    await client.call(messages.DEFRAGMENT, messages.EMPTY, timeout_s=CALL_LIMIT_S)
    if status.leader != status.header.member_id:
        return
    alarms = await client.call(messages.ALARM, messages.alarms_request(), timeout_s=CALL_LIMIT_S)
    for member_id in messages.no_space_members(alarms):
        await client.call(messages.ALARM, messages.no_space_is_over(member_id), timeout_s=CALL_LIMIT_S)
