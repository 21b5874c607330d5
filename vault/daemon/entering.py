"""How a node becomes a manager: the leader's answer to `manager.enter`, and the node's side of it.

Not pure.  The leader moves its store to the engine of several managers if it must, issues the peer certificate, adds
the member, and hands over the keys, sealed to the node.  A node that asks again, since a crash came between, gets a
fresh part.  Called by `vault.daemon.managing` (leader) and `vault.daemon.part` (node).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vault.crypto.certificates import new_tls_key
from vault.crypto.ids import new_id
from vault.crypto.manager_seal import open_at_manager
from vault.crypto.peers import request_peer
from vault.crypto.plaintext import Plaintext
from vault.daemon.engines import starter
from vault.daemon.holding import Holding
from vault.daemon.identity import Identity, Peer, root_key
from vault.dispatcher.entering import Entering, enter, peer_revocations, sealed_keys
from vault.model.errors import Unavailable
from vault.raftstore import files
from vault.raftstore.engine import Member
from vault.raftstore.files import EngineFile
from vault.raftstore.store import Store
from vault.rpc import messages_manager as messages
from vault.rpc.call import Call
from vault.rpc.errors import NotLeader
from vault.store.changes import Change
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)
ADD_LIMIT_S = 30.0  # Until the engine takes one more member: the one before has to be there first.
RETRY_S = 0.3


class Entrance:
    """Lets nodes in as managers, one at a time, while this manager leads."""

    def __init__(
        self,
        store: Store,
        holding: Holding,
        *,
        leader: Callable[[], tuple[str, str]],
        added: Callable[[], None],
    ) -> None:
        """leader: node id and host:port of who leads.  added: told when the engine has a new member."""
        self._store = store
        self._holding = holding
        self._leader = leader
        self._added = added
        self._turn = asyncio.Lock()

    async def serve(self, call: Call) -> None:
        """Answer `manager.enter`."""
        wanted = await call.receive(messages.Enter)
        assert call.peer is not None, "only managers may call this"
        node_id = call.peer.node_id
        if not self._store.leads:
            raise NotLeader(*self._leader())
        async with self._turn:
            await self._be_one_of_several()
            entering = await _entered(self._store, node_id, wanted)
            peers = await self._with_room(node_id, entering.peer_url)
        self._added()
        snapshot, epoch = self._store.committed, self._store.epoch
        await call.send(
            messages.Entered(
                generation=epoch[0],
                counter=epoch[1],
                keys=sealed_keys(snapshot, node_id, root_key(self._holding.identity), epoch=epoch),
                peer_certificate=entering.certificate,
                peer_authority=entering.authority,
                revocation_list=_revocations(self._store),
                engine_dir=await asyncio.to_thread(self._engine_directory),
                peers=peers,
            )
        )

    def _engine_directory(self) -> str:
        """Return the name of the engine's directory, which all managers share."""
        content = files.read(self._holding.files.store)
        assert content is not None, "this manager has a store"
        return content.directory

    async def _be_one_of_several(self) -> None:
        """Move the store to etcd, unless it is there."""
        if self._store.engine_name == "etcd":
            return
        await with_new_peer(self._store, self._holding)
        logger.info("moving_to_etcd")
        await self._store.move(EngineFile("etcd", f"etcd-{new_id()}"), starter(self._holding))

    async def _with_room(self, node_id: str, url: str) -> tuple[messages.Peer, ...]:
        """Make room for the node's member in the engine; return all members as it has to be told."""
        try:
            async with asyncio.timeout(ADD_LIMIT_S):
                while True:
                    try:
                        members = await self._with_member(node_id, url)
                        break
                    except Unavailable as error:
                        logger.info("member_not_added_yet", extra={"node_id": node_id, "reason": error.message})
                        await asyncio.sleep(RETRY_S)
        except TimeoutError:
            raise Unavailable(
                "the managers' store took no new member in time: see that all managers are reachable, and try again"
            ) from None
        return tuple(
            messages.Peer(name=node_id if member.peer_url == url else member.name or f"member-{member.id:x}",
                          url=member.peer_url)
            for member in members
        )  # fmt: skip

    async def _with_member(self, node_id: str, url: str) -> Sequence[Member]:
        members = await self._store.members()
        ours = [member for member in members if member.name == node_id or member.peer_url == url]
        for member in ours:
            if member.name:  # It had a part, and has lost what belongs to it.
                await self._store.remove_member(member.id)
        if not any(not member.name for member in ours):
            await self._store.add_member(url)
        return await self._store.members()


async def with_new_peer(store: Store, holding: Holding) -> tuple[bytes, Plaintext]:
    """Give this manager, which leads, a certificate and a key for other managers' etcd at its address of now."""
    identity, key = holding.identity, new_tls_key()
    wanted = messages.Enter(
        peer_request=request_peer(key), peer_address=identity.address, control_address=identity.control_address
    )
    entering = await _entered(store, holding.node_id, wanted)
    peer = Peer(
        authority=entering.authority.decode(),
        certificate=entering.certificate.decode(),
        revoked=_revocations(store).decode(),
    )
    await holding.change(lambda had: replace(had, keys=replace(had.keys, peer_key=key), peer=peer))
    return entering.certificate, key


async def _entered(store: Store, node_id: str, wanted: messages.Enter) -> Entering:
    """Issue a peer certificate, and note it."""
    made: list[Entering] = []

    def build(snapshot: Snapshot) -> Sequence[Change]:
        made.append(enter(snapshot, node_id, wanted, now=_now()))
        return made[-1].changes

    await store.submit(build)
    return made[-1]


def _revocations(store: Store) -> bytes:
    """Return the list of revoked peers, empty perhaps: etcd has to be given its file from the start."""
    cluster = store.committed.cluster
    assert cluster is not None, "a store has a cluster"
    return peer_revocations(cluster, now=_now())


async def enter_as_manager(
    holding: Holding, ask: Callable[[messages.Enter], Awaitable[messages.Entered]]
) -> messages.Entered:
    """Ask the leader for a manager's part, and keep what it gives; the store can be entered then."""
    identity = holding.identity
    key = new_tls_key()
    wanted = messages.Enter(
        peer_request=request_peer(key), peer_address=identity.address, control_address=identity.control_address
    )
    entered = await ask(wanted)
    await holding.change(lambda identity: _as_manager(identity, entered, key))
    return entered


def _as_manager(identity: Identity, entered: messages.Entered, peer_key: Plaintext) -> Identity:
    keys = open_at_manager(
        identity.keys.node_key,
        entered.keys,
        cluster_id=identity.keys.cluster_id,
        node_id=identity.keys.node_id,
        epoch=(entered.generation, entered.counter),
    )
    return replace(
        identity,
        keys=replace(identity.keys, root_key=keys.root_key, peer_key=peer_key),
        peer=Peer(
            authority=entered.peer_authority.decode(),
            certificate=entered.peer_certificate.decode(),
            revoked=entered.revocation_list.decode(),
        ),
        unlock=keys.unlock_key or identity.unlock,
        unlock_version=keys.unlock_version,
        locks=keys.unlock_key is not None,
    )


def others_of(entered: messages.Entered, node_id: str) -> dict[str, str]:
    """Return the members that were there before: name -> peer URL."""
    return {peer.name: peer.url for peer in entered.peers if peer.name != node_id}


def _now() -> datetime:
    return datetime.now(UTC)
