"""Who takes part in etcd: listing, adding, promoting, removing, handing over.

etcd refuses changes while it is busy with the last one or a member is out of reach; such answers are waited for within
a limit.  Every change is made so that a lost answer does no harm: the list tells whether it happened.
Called by `vault.raftstore.engines.etcd`.
"""

from collections.abc import Sequence
from typing import Final

from vault.model.errors import NoLeader, Unavailable
from vault.raftstore.engine import Member
from vault.raftstore.engines.etcd_api import messages
from vault.raftstore.engines.etcd_api.client import NOT_FOUND, EtcdClient, Pauses, worth_another_try
from vault.raftstore.engines.etcd_api.exchange import NoAnswer, Refused
from vault.raftstore.engines.etcd_api.messages import EtcdMember, StatusReply
from vault.raftstore.engines.etcd_errors import unexpected

READ_LIMIT_S: Final = 3.0
CHANGE_LIMIT_S: Final = 10.0
_TAKEN: Final = ("etcdserver: Peer URLs already exists", "etcdserver: member ID already exist")
_NO_LEARNER: Final = "etcdserver: can only promote a learner member"
_WORDS: Final = {
    "etcdserver: can only promote a learner member which is in sync with leader": (
        "the new manager has not caught up with the others yet: try again in a moment"
    ),
    "etcdserver: too many learner members in cluster": "another manager is just joining: try again in a moment",
    "etcdserver: re-configuration failed due to not enough started members": (
        "too few managers would be online: start those that are down, and try again"
    ),
    "etcdserver: unhealthy cluster": "the managers are not all connected yet: try again in a moment",
}


class NotTheLeader(Unavailable):
    """The lead was to be handed over by a member that has none."""

    def __init__(self) -> None:
        super().__init__("another manager leads now: try again")


async def members(client: EtcdClient) -> Sequence[Member]:
    """Return who takes part, as the member beside this process knows it."""
    try:
        listed = messages.member_list(await client.ask(messages.MEMBER_LIST, b"", limit_s=READ_LIMIT_S))
        status = StatusReply.from_bytes(await client.ask(messages.STATUS, b"", limit_s=READ_LIMIT_S))
    except Refused as error:
        raise unexpected(error) from None
    return [_member(found, leader=status.leader) for found in listed]


async def add(client: EtcdClient, peer_url: str) -> Member:
    """Add a learner; one that was added for the same URL and never started is that one."""
    request = messages.member_add_request(peer_url)
    try:
        added = messages.added_member(await _change(client, messages.MEMBER_ADD, request))
    except Refused as error:
        if error.message not in _TAKEN:
            raise _in_words(error) from None
        return await _unstarted(client, peer_url)
    return _member(added)


async def promote(client: EtcdClient, member_id: int) -> None:
    """Let a learner vote; one that votes already is no error."""
    try:
        await _change(client, messages.MEMBER_PROMOTE, messages.member_request(member_id))
    except Refused as error:
        if error.message != _NO_LEARNER:
            raise _in_words(error) from None


async def remove(client: EtcdClient, member_id: int) -> None:
    """Remove a member; one that is gone already is no error."""
    try:
        await _change(client, messages.MEMBER_REMOVE, messages.member_request(member_id))
    except Refused as error:
        if error.code != NOT_FOUND:
            raise _in_words(error) from None


async def transfer(client: EtcdClient, member_id: int) -> None:
    """Hand the lead over; only the member that leads can."""
    status = StatusReply.from_bytes(await client.ask(messages.STATUS, b"", limit_s=READ_LIMIT_S))
    if status.leader == member_id:
        return
    if status.leader != status.header.member_id:
        raise NotTheLeader
    try:
        await client.call(messages.MOVE_LEADER, messages.member_request(member_id), timeout_s=CHANGE_LIMIT_S)
    except Refused as error:
        raise _in_words(error) from None
    except NoAnswer:
        raise Unavailable("handing the lead over took too long: try again") from None


async def move(client: EtcdClient, peer_url: str) -> None:
    """Let the others find the member beside this process at another URL."""
    status = StatusReply.from_bytes(await client.ask(messages.STATUS, b"", limit_s=READ_LIMIT_S))
    request = messages.member_update_request(status.header.member_id, peer_url)
    try:
        await _change(client, messages.MEMBER_UPDATE, request)
    except Refused as error:
        raise _in_words(error) from None


async def _change(client: EtcdClient, method: bytes, request: bytes) -> bytes:
    """Ask for a change until it is made, or refused for good, or the limit is over."""
    pauses = Pauses(CHANGE_LIMIT_S)
    while True:
        try:
            return await client.call(method, request, timeout_s=pauses.left_s)
        except NoAnswer:
            error: Refused | None = None
        except Refused as refused:
            if refused.message not in _WORDS and not worth_another_try(refused):
                raise
            error = refused
        if not await pauses.another():
            raise NoLeader if error is None else _in_words(error)


async def _unstarted(client: EtcdClient, peer_url: str) -> Member:
    """Return the member that was added for a URL, and never started."""
    for member in await members(client):
        if member.peer_url == peer_url and not member.name:
            return member
    raise Unavailable(f"a manager at {peer_url} takes part already: remove it from the swarm, and try again")


def _member(found: EtcdMember, *, leader: int = 0) -> Member:
    url = found.peer_urls[0] if found.peer_urls else ""
    return Member(id=found.id, name=found.name, peer_url=url, learner=found.learner, leads=found.id == leader)


def _in_words(error: Refused) -> Unavailable:
    words = _WORDS.get(error.message)
    return unexpected(error) if words is None else Unavailable(words)
