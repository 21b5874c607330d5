"""Serving certificates: `ca.root` on every manager, `ca.issue` on the leader.

Not pure: commits, then answers, so that no certificate is out that the store does not know.  The daemon gives the
handlers to the RPC server and calls `renew_own` for this manager itself.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar

from vault.dispatcher import authority
from vault.dispatcher.authority import Admission
from vault.model.errors import NotLeading, Unavailable
from vault.model.ids import NewID
from vault.rpc.call import Call, Handler
from vault.rpc.errors import NotLeader
from vault.rpc.messages_ca import ISSUE, ROOT, AskRoot, CAMessage, Issued, IssueRequest, RootCA
from vault.store.changes import Change
from vault.store.snapshot import Snapshot

MessageT = TypeVar("MessageT", bound=CAMessage)
PATIENCE_S: Final = 10.0  # For a caller that says nothing.


class Store(Protocol):
    """What certificates need of the store."""

    @property
    def committed(self) -> Snapshot:
        """The newest committed snapshot."""
        ...

    async def submit(self, build: Callable[[Snapshot], Sequence[Change]], /) -> int:
        """Commit what `build` makes of the proposed snapshot; raises `NotLeading`."""
        ...


class AuthorityService:
    """Issues certificates."""

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], datetime],
        new_id: NewID,
        leader: Callable[[], tuple[str, str]],
    ) -> None:
        """`leader`: node id and address of who leads, as far as this manager knows; ("", "") unknown."""
        self._store = store
        self._now = now
        self._new_id = new_id
        self._leader = leader

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers which method."""
        return {ROOT: self.root, ISSUE: self.issue}

    async def root(self, call: Call) -> None:
        """Answer `ca.root`."""
        await _first(call, AskRoot)
        cluster = authority.cluster_of(self._store.committed)
        life = authority.life_of(cluster)
        await call.send(
            RootCA(certificate=cluster.tls_info.trust_root.encode(), now=self._now(), node_life_s=life.total_seconds())
        )

    async def issue(self, call: Call) -> None:
        """Answer `ca.issue`: a caller without a certificate joins, one with a certificate renews its own."""
        wanted = await _first(call, IssueRequest)
        peer, new_id = call.peer, self._new_id()

        def admission(snapshot: Snapshot) -> Admission:
            if peer is None:
                return authority.admit(snapshot, wanted, address=call.address, new_id=new_id, now=self._now())
            return authority.renew(snapshot, peer.node_id, wanted.request, now=self._now())

        await call.send(await self._committed(admission))

    async def renew_own(self, node_id: str, request: bytes) -> Issued:
        """Issue this manager's own next certificate, while it leads."""
        return await self._committed(lambda snapshot: authority.renew(snapshot, node_id, request, now=self._now()))

    async def _committed(self, admission: Callable[[Snapshot], Admission]) -> Issued:
        answers: list[Issued] = []

        def build(snapshot: Snapshot) -> tuple[Change, ...]:
            made = admission(snapshot)
            answers.append(made.answer)
            return made.changes

        try:
            await self._store.submit(build)
        except NotLeading:
            raise NotLeader(*self._leader()) from None
        return answers[-1]


async def _first(call: Call, type_: type[MessageT]) -> MessageT:
    """Return the one message of a caller."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await call.receive(type_)
    except TimeoutError:
        raise Unavailable("the caller asked for nothing in time") from None
