"""The engine of a swarm with several managers: the etcd member beside this process.

A commit is one transaction of etcd with one condition, on head.  When its answer is lost, the same bytes are sent again
with the same condition until head tells how it ended.  All reads are linearizable: the member beside this process may
be behind, even while it leads, since what it acknowledged before it was restarted is applied again only later.
The history that readings and watches need is kept for `KEPT_REVISIONS`; see `etcd_upkeep`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from vault.crypto.plaintext import Plaintext
from vault.model.errors import DiskFull, NoLeader, OutcomeUnknown, VaultError
from vault.raftstore.engine import Beat, Commit, EngineStopped, HeadMoved, Member, Reading, Seen
from vault.raftstore.engines import etcd_members
from vault.raftstore.engines.etcd_api import messages
from vault.raftstore.engines.etcd_api.client import NO_SPACE, EtcdClient, Pauses, worth_another_try
from vault.raftstore.engines.etcd_api.exchange import NoAnswer, Refused
from vault.raftstore.engines.etcd_errors import unexpected
from vault.raftstore.engines.etcd_reading import EtcdReading
from vault.raftstore.engines.etcd_upkeep import compact_for_ever
from vault.raftstore.engines.etcd_watch import watch
from vault.raftstore.keys import BEAT_KEY, HEAD_KEY

READ_LIMIT_S: Final = 5.0
COMMIT_LIMIT_S: Final = 10.0
COMMIT_TRY_S: Final = 4.0  # After which the same bytes are sent again; a transaction of 8 MiB takes less.
BEAT_LIMIT_S: Final = 1.0
STATUS_LIMIT_S: Final = 0.5
_HEAD: Final = HEAD_KEY.encode()
_BEAT: Final = BEAT_KEY.encode()


class Owned(Protocol):
    """The process of the member."""

    def tell_when_over(self, tell: Callable[[VaultError], None]) -> None:
        """Call back, with the reason, when the member never will serve again: it was removed, or is damaged."""
        ...

    async def renew(self, certificate_pem: bytes, key: Plaintext) -> None:
        """Go on with another peer certificate."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


class EtcdEngine:
    """Records in etcd.  Make one with `etcd_process.start_etcd`; end it with `close`, which ends the member too."""

    def __init__(self, client: EtcdClient, process: Owned | None = None) -> None:
        self._client = client
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vault-etcd")
        self._turn = asyncio.Lock()  # Those who wait for it get it in order.
        self._commits: set[asyncio.Task[Commit]] = set()
        self._newest: asyncio.Task[Commit] | None = None
        self._closed = False
        self._upkeep = self._loop.create_task(compact_for_ever(client), name="etcd-upkeep")
        if process is not None:
            process.tell_when_over(lambda error: client.stop("its member is of no more use", final=error))

    async def head(self) -> bytes | None:
        """See `Engine`."""
        return (await self._read(HEAD_KEY))[1]

    async def read(self) -> EtcdReading:
        """See `Engine`."""
        return EtcdReading(self._client, *await self._read(HEAD_KEY))

    def watch(self, after: Reading) -> AsyncIterator[Sequence[Seen | Beat]]:
        """See `Engine`; `after` is a reading of an engine of this kind."""
        assert isinstance(after, EtcdReading)
        return watch(self._client, after.revision)

    async def beat(self, payload: bytes) -> None:
        """See `Engine`."""
        try:
            await self._client.call(messages.PUT, messages.put_request(_BEAT, payload), timeout_s=BEAT_LIMIT_S)
        except (Refused, NoAnswer):
            raise NoLeader from None

    async def raft_leads(self) -> bool:
        """See `Engine`; a member that does not answer does not lead."""
        try:
            answer = await self._client.call(messages.STATUS, messages.EMPTY, timeout_s=STATUS_LIMIT_S)
        except (Refused, NoAnswer):
            return False
        status = messages.StatusReply.from_bytes(answer)
        return status.leader != 0 and status.leader == status.header.member_id

    async def get(self, key: str) -> bytes | None:
        """See `Engine`."""
        if self._newest is not None and not self._newest.done():
            await asyncio.wait([self._newest])
        return (await self._read(key))[1]

    def commit(self, make: Callable[[], Commit], *, brief: bool = False) -> Awaitable[Commit]:
        """See `Engine`.  Goes on when its caller does not wait any more."""
        task = self._newest = self._loop.create_task(self._commit(make, brief=brief))
        self._commits.add(task)
        task.add_done_callback(self._ended)
        return asyncio.shield(task)

    async def members(self) -> Sequence[Member]:
        """See `Engine`."""
        return await etcd_members.members(self._client)

    async def add_member(self, peer_url: str) -> Member:
        """See `Engine`."""
        return await etcd_members.add(self._client, peer_url)

    async def promote_member(self, member_id: int) -> None:
        """See `Engine`."""
        await etcd_members.promote(self._client, member_id)

    async def remove_member(self, member_id: int) -> None:
        """See `Engine`."""
        await etcd_members.remove(self._client, member_id)

    async def transfer(self, member_id: int) -> None:
        """See `Engine`."""
        await etcd_members.transfer(self._client, member_id)

    async def renew_peer(self, certificate_pem: bytes, key: Plaintext) -> None:
        """Let the member go on with another peer certificate, for which it is started again."""
        self._check_running()
        if self._process is not None:
            await self._process.renew(certificate_pem, key)

    async def close(self) -> None:
        """See `Engine`."""
        first, self._closed = not self._closed, True
        if self._commits:
            await asyncio.wait(self._commits)
        if first:
            self._upkeep.cancel()
            await asyncio.wait([self._upkeep])
            self._client.stop("it was closed")
            self._thread.shutdown(wait=False)
            if self._process is not None:
                await self._process.stop()

    async def _read(self, key: str) -> tuple[int, bytes | None]:
        """Return a revision and what a key holds at it, as of some moment after the call."""
        self._check_running()
        request = messages.range_request(key.encode())
        try:
            answer = await self._client.ask(messages.RANGE, request, limit_s=READ_LIMIT_S)
        except Refused as error:
            raise unexpected(error) from None
        reply = messages.RangeReply.from_bytes(answer)
        return reply.header.revision, reply.pairs[0].value if reply.pairs else None

    async def _commit(self, make: Callable[[], Commit], *, brief: bool) -> Commit:
        if self._closed:
            raise EngineStopped("it was closed")
        async with self._turn:
            self._client.check_running()
            if brief:  # A thread costs more, and waits for the interpreter's lock while the loop has it.
                commit, request = _made(make)
            else:
                commit, request = await self._loop.run_in_executor(self._thread, _made, make)
            return await _carry_out(self._client, commit, request)

    def _ended(self, task: "asyncio.Task[Commit]") -> None:
        self._commits.discard(task)
        if not task.cancelled():
            task.exception()  # Somebody looked, even if nobody waits any more.

    def _check_running(self) -> None:
        if self._closed:
            raise EngineStopped("it was closed")
        self._client.check_running()


def _made(make: Callable[[], Commit]) -> tuple[Commit, bytes]:
    """Make a commit, and its transaction."""
    commit = make()
    puts = [(write.key.encode(), write.value) for write in commit.writes]
    return commit, messages.txn_request(_HEAD, commit.expected, [*puts, (_HEAD, commit.head)])


async def _carry_out(client: EtcdClient, commit: Commit, request: bytes) -> Commit:
    """Send a transaction until head tells how it ended; see `Engine.commit`."""
    pauses = Pauses(COMMIT_LIMIT_S)
    perhaps_written = False  # By an earlier try, which may yet arrive.
    while True:
        try:
            if await _try(client, commit, request, limit_s=min(COMMIT_TRY_S, pauses.left_s)):
                return commit
            raise OutcomeUnknown if perhaps_written else HeadMoved
        except DiskFull:
            if not perhaps_written:
                raise
        except EngineStopped:
            if not perhaps_written:
                raise
            raise OutcomeUnknown from None
        except NoAnswer as error:
            perhaps_written |= error.sent
        if not await pauses.another():
            raise OutcomeUnknown


async def _try(client: EtcdClient, commit: Commit, request: bytes, *, limit_s: float) -> bool:
    """Send a transaction once, and return whether head is now the commit's: by this try, or by one before.

    Raises `NoAnswer` if head does not tell, `DiskFull` if this try wrote nothing for want of space.
    """
    try:
        answer = await client.call(messages.TXN, request, timeout_s=limit_s)
    except Refused as error:
        if error.message != NO_SPACE:
            if worth_another_try(error):
                raise NoAnswer(error.message, sent=True) from None
            raise unexpected(error) from None
    else:
        reply = messages.TxnReply.from_bytes(answer)
        return reply.succeeded or reply.found == commit.head
    # The transaction that fills the space up is refused with the same words as those after it, but it is made.
    head = await _head_now(client, limit_s)
    if head == commit.expected:
        raise DiskFull
    return head == commit.head


async def _head_now(client: EtcdClient, limit_s: float) -> bytes | None:
    """Return head, asked for once, after a transaction was sent.  Raises `NoAnswer`."""
    try:
        answer = await client.call(messages.RANGE, messages.range_request(_HEAD), timeout_s=limit_s)
    except (Refused, NoAnswer) as error:
        raise NoAnswer(str(error), sent=True) from None
    pairs = messages.RangeReply.from_bytes(answer).pairs
    return pairs[0].value if pairs else None
