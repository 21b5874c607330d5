"""This node's agent and this manager's dispatcher, connected within one process.

Values are sealed to the node and opened again, as on the wire, so that there is one path for a secret.
Not pure.  Called by `vault.daemon.membership`.
"""

import asyncio
import logging

from vault.agent.values import Open
from vault.agent.worker import Gap, Worker
from vault.crypto import Plaintext
from vault.crypto.keyfile import NodeKeys
from vault.crypto.node_seal import open_at_node, seal_to_node
from vault.dispatcher.reports import observed
from vault.dispatcher.session import Seal, Session
from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.raftstore.store import Store
from vault.rpc.messages import Assignments, Report, SealedValue

logger = logging.getLogger(__name__)
RETRY_S = 0.5


def sealer(keys: NodeKeys, store: Store) -> Seal:
    """Return what seals a value for this node."""
    public = keys.node_key.public()

    def seal(kind: Kind, object_id: str, version: int, sequence: int, value: Plaintext) -> bytes:
        return seal_to_node(
            public,
            value,
            cluster_id=keys.cluster_id,
            node_id=keys.node_id,
            kind=kind,
            object_id=object_id,
            version=version,
            epoch=store.epoch,
            sequence=sequence,
        )

    return seal


def opener(keys: NodeKeys) -> Open:
    """Return what opens the values that were sealed for this node."""

    def open_sealed(sealed: SealedValue, message: Assignments) -> Plaintext:
        return open_at_node(
            keys.node_key,
            sealed.payload,
            cluster_id=keys.cluster_id,
            node_id=keys.node_id,
            kind=sealed.kind,
            object_id=sealed.id,
            version=sealed.version,
            epoch=(message.generation, message.counter),
            sequence=message.sequence,
        )

    return open_sealed


async def connect(store: Store, worker: Worker, node_id: str, seal: Seal) -> None:
    """Carry assignments and reports until cancelled; a gap starts a new session with a full set."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_assignments(store, worker, node_id, seal))
        group.create_task(_reports(store, worker, node_id))


async def _assignments(store: Store, worker: Worker, node_id: str, seal: Seal) -> None:
    while True:
        try:
            async for message in Session(store, node_id, seal).messages():
                await worker.assign(message)
        except Gap:
            logger.warning("assignments_gap", extra={"node_id": node_id})


async def _reports(store: Store, worker: Worker, node_id: str) -> None:
    async for report in worker.reports():
        while not await _reported(store, node_id, report):
            await asyncio.sleep(RETRY_S)


async def _reported(store: Store, node_id: str, report: Report) -> bool:
    try:
        await store.submit(lambda snap: observed(snap, node_id, report))
    except VaultError as error:  # A full disk, say: what was observed stays true and is written later.
        logger.warning("report_not_written", extra={"reason": error.message})
        return False
    return True
