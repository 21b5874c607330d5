"""This node's agent and this manager's dispatcher, connected within one process.

They talk as over a connection, and values are sealed to the node and opened again, so that there is one path.
Not pure.  Called by `vault.daemon.membership`.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager

from vault.agent.connection import Connection, Node
from vault.agent.values import Open
from vault.agent.worker import Worker
from vault.crypto import Plaintext
from vault.crypto.certificates import Identity, Role
from vault.crypto.keyfile import NodeKeys
from vault.crypto.node_seal import open_at_node
from vault.dispatcher.service import Dispatcher
from vault.model.base import EPOCH
from vault.raftstore.store import Store
from vault.rpc.call import Call
from vault.rpc.messages import SESSION, Assignments, ManagerAddress, SealedValue
from vault.rpc.pipe import local_call


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


class InMemory:
    """What the connection remembers while this process lives; implements `vault.agent.connection.Memory`."""

    def __init__(self, managers: tuple[ManagerAddress, ...]) -> None:
        self.epoch = (0, 0)
        self.managers = managers

    async def remember_epoch(self, epoch: tuple[int, int]) -> None:
        """Keep a higher epoch."""
        self.epoch = epoch

    async def remember_managers(self, managers: tuple[ManagerAddress, ...]) -> None:
        """Keep another list of managers."""
        self.managers = managers


async def connect(store: Store, worker: Worker, keys: NodeKeys) -> None:
    """Run the dispatcher of a lone manager and its own node's connection until cancelled."""
    identity = Identity(
        cluster_id=keys.cluster_id,
        node_id=keys.node_id,
        role=Role.MANAGER,
        node_key=keys.node_key.public(),
        not_before=EPOCH,
        not_after=EPOCH,
    )
    dispatcher = Dispatcher(store, monotonic=time.monotonic, now=store.now_s, confirm=store.barrier)

    def dial(address: str, method: str) -> AbstractAsyncContextManager[Call]:
        return local_call(dispatcher.serve if method == SESSION else dispatcher.serve_logs, identity, method)

    here = store.committed.nodes[keys.node_id]
    connection = Connection(
        worker,
        dial=dial,
        memory=InMemory((ManagerAddress(node_id=here.id, addr=here.status.addr),)),
        node=Node(description=lambda: store.committed.nodes[keys.node_id].description, addr=here.status.addr),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(dispatcher.run())
        group.create_task(connection.run())
