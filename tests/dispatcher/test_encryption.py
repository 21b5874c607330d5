"""Nodes on encrypted networks have keys that only they can open, rotated once every node uses the new ones."""

from __future__ import annotations

from itertools import count

import pytest
from msgspec.structs import replace

from tests.dispatcher.world import CLUSTER, key_of, node, task
from vault.crypto.errors import Altered
from vault.crypto.node_seal import NodeKey
from vault.crypto.wireguard_seal import WireGuardKey, open_wireguard_key
from vault.dispatcher.encryption import NODES_AT_ONCE, PERIOD, Encryption
from vault.model.cluster import DEFAULT_SPEC, Cluster, EncryptionEpochs
from vault.model.errors import FailedPrecondition
from vault.model.ids import Kind
from vault.model.network import Network, NetworkAttachment, NetworkSpec
from vault.model.node import EncryptionKey, EncryptionMeans, Node, NodeAttachment, NodeStatus
from vault.model.secret import Driver
from vault.model.task import State, Task, TaskStatus
from vault.store.changes import AnyObject, Delete, Put, kind_of
from vault.store.rules_network import keys_to_rotate
from vault.store.snapshot import Snapshot

PERIOD_S = PERIOD.total_seconds()
START_S = 1_000_000.0


def network(network_id: str = "secret", *, encrypted: bool = True, ingress: bool = False) -> Network:
    options = {"encrypted": ""} if encrypted else {}
    spec = NetworkSpec(name=network_id, driver_configuration=Driver(name="overlay", options=options), ingress=ingress)
    return Network(id=network_id, spec=spec, driver_state=Driver(name="overlay"))


def on(task_id: str, node_id: str, where: Network | None = None, state: State = State.RUNNING) -> Task:
    """Return a task on a network."""
    attached = NetworkAttachment(network=where or network(), addresses=("10.0.0.9/24",))
    return task(task_id, node_id, state=state, networks_attachments=(attached,))


class World:
    """A store, with the decider behind it."""

    def __init__(self, *objects: AnyObject) -> None:
        self.now_s = START_S
        self.snap = Snapshot()
        self._index = count(1)
        self.decide = Encryption()
        self._before: Snapshot | None = None
        self.ask_again_s: float | None = None
        self.put(Cluster(id=CLUSTER, spec=DEFAULT_SPEC), network(), *objects)

    def put(self, *objects: AnyObject) -> None:
        """Write objects, and let keys follow."""
        puts = []
        for obj in objects:
            old = self.snap.get(kind_of(obj), obj.id)
            puts.append(Put(replace(obj, version=old.version if old is not None else type(obj.version)())))
        self._apply(puts)
        self.settle()

    def delete(self, kind: Kind, object_id: str) -> None:
        """Remove an object, and let keys follow."""
        old = self.snap.get(kind, object_id)
        assert old is not None
        self._apply([Delete(kind, object_id, old.version.index)])
        self.settle()

    def _apply(self, changes: list[Put] | list[Delete]) -> None:
        self.snap = self.snap.apply(changes, index=next(self._index), now_s=self.now_s)

    def settle(self) -> int:
        """Decide until nothing is decided; return how many changes that took."""
        made = 0
        for _ in range(100):
            decision = self.decide(self._before, self.snap, now_s=self.now_s, new_id=lambda: "")
            self._before, self.ask_again_s = self.snap, decision.ask_again_s
            if not decision.changes:
                return made
            made += len(decision.changes)
            assert len(decision.changes) <= NODES_AT_ONCE
            self._apply(list(decision.changes))  # type: ignore[arg-type]
        raise AssertionError("it never comes to rest")

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        self.settle()

    def uses(self, node_id: str, epoch: int) -> None:
        """Let a node say which epoch it uses."""
        had = self.node(node_id)
        means = EncryptionMeans(by="kernel", epoch=epoch)
        self.put(replace(had, description=replace(had.description, encryption=means)))

    def node(self, node_id: str) -> Node:
        return self.snap.nodes[node_id]

    def epochs(self, node_id: str) -> list[int]:
        """Return the epochs of a node's keys."""
        had = self.node(node_id).encryption
        return [key.epoch for key in had.keys] if had is not None else []

    @property
    def state(self) -> EncryptionEpochs | None:
        return self.snap.cluster.encryption if self.snap.cluster is not None else None


def opened(key: EncryptionKey, node_key: NodeKey, node_id: str, epoch: int) -> WireGuardKey:
    return open_wireguard_key(node_key, key.sealed, cluster_id=CLUSTER, node_id=node_id, epoch=epoch)


def test_only_nodes_on_an_encrypted_network_have_keys() -> None:
    world = World(node("n1"), node("n2"), node("n3"), on("t1", "n1"), on("t2", "n2", network("plain", encrypted=False)))
    assert [world.epochs(one) for one in ("n1", "n2", "n3")] == [[1], [], []]
    world.put(on("t3", "n3", state=State.ASSIGNED))
    assert world.epochs("n3") == [1]


def test_a_swarm_without_encrypted_networks_is_told_nothing() -> None:
    world = World(node("n1"), on("t1", "n1", network("plain", encrypted=False)))
    assert world.state is None
    assert world.ask_again_s is None


def test_a_key_opens_at_its_node_only_and_its_public_half_is_the_right_one() -> None:
    world = World(node("n1"), node("n2"), on("t1", "n1"), on("t2", "n2"))
    had = world.node("n1").encryption
    assert had is not None
    (key,) = had.keys
    assert opened(key, key_of("n1"), "n1", 1).public() == key.public
    for node_key, node_id, epoch in ((key_of("n2"), "n1", 1), (key_of("n1"), "n2", 1), (key_of("n1"), "n1", 2)):
        with pytest.raises(Altered):
            opened(key, node_key, node_id, epoch)


def test_nodes_have_addresses_of_their_own_and_keep_them() -> None:
    world = World(*(node(f"n{n}") for n in range(5)), *(on(f"t{n}", f"n{n}") for n in range(5)))
    given = [world.node(f"n{n}").encryption.address for n in range(5)]  # type: ignore[union-attr]
    assert len(set(given)) == 5
    assert given[0] == "198.18.0.1"
    world.put(on("t1", "n1", state=State.SHUTDOWN))
    world.later(PERIOD_S)
    kept = [world.node(f"n{n}").encryption.address for n in (0, 2, 3, 4)]  # type: ignore[union-attr]
    assert kept == [given[0], *given[2:]]


def test_keys_go_with_the_last_task() -> None:
    world = World(node("n1"), node("n2"), on("t1", "n1"), on("t2", "n1"), on("t3", "n2"))
    world.put(on("t1", "n1", state=State.FAILED))
    assert world.epochs("n1") == [1]
    world.delete(Kind.TASK, "t2")
    assert world.epochs("n1") == []
    assert world.epochs("n2") == [1]


def test_a_task_that_moves_takes_the_keys_along() -> None:
    world = World(node("n1"), node("n2"), on("t1", "n1"))
    world.put(on("t1", "n2"))
    assert (world.epochs("n1"), world.epochs("n2")) == ([], [1])


def test_every_node_of_an_encrypted_ingress_network_has_keys() -> None:
    place = NodeAttachment(network_id="mesh", addresses=("10.0.0.2/24",))
    world = World(network("mesh", ingress=True), replace(node("n1"), attachments=(place,)), node("n2"))
    assert (world.epochs("n1"), world.epochs("n2")) == ([1], [])


def test_a_rotation_waits_until_every_node_uses_the_new_keys_and_then_withdraws_the_old() -> None:
    world = World(node("n1"), node("n2"), on("t1", "n1"), on("t2", "n2"))
    old = {key.public for one in ("n1", "n2") for key in world.node(one).encryption.keys}  # type: ignore[union-attr]
    world.uses("n1", 1)
    world.uses("n2", 1)
    assert world.ask_again_s == START_S + PERIOD_S
    world.later(PERIOD_S)
    assert (world.epochs("n1"), world.epochs("n2")) == ([1, 2], [1, 2])
    world.uses("n1", 2)
    assert world.epochs("n1") == [1, 2]
    world.later(PERIOD_S / 2)
    assert world.epochs("n1") == [1, 2]
    world.uses("n2", 2)
    assert (world.epochs("n1"), world.epochs("n2")) == ([2], [2])
    new = {key.public for one in ("n1", "n2") for key in world.node(one).encryption.keys}  # type: ignore[union-attr]
    assert not old & new
    assert world.state == EncryptionEpochs(newest=2, rotating=False, begun_at=world.state.begun_at)  # type: ignore[union-attr]


def test_keys_are_rotated_when_an_operator_asks_and_once_at_a_time() -> None:
    world = World(node("n1"))
    with pytest.raises(FailedPrecondition, match="there are no keys to rotate"):
        keys_to_rotate(world.snap)
    world.put(on("t1", "n1"))
    world.uses("n1", 1)
    world._apply(list(keys_to_rotate(world.snap)))  # type: ignore[arg-type]
    world.settle()
    assert world.epochs("n1") == [1, 2]
    with pytest.raises(FailedPrecondition, match="being rotated already: wait until every node uses epoch 2"):
        keys_to_rotate(world.snap)
    world.uses("n1", 2)
    assert world.epochs("n1") == [2]
    assert world.ask_again_s == START_S + PERIOD_S


def test_no_third_epoch_begins_before_the_second_is_used_and_nothing_is_asked_for_meanwhile() -> None:
    world = World(node("n1"), on("t1", "n1"))
    world.later(PERIOD_S)
    world.later(10 * PERIOD_S)
    assert world.epochs("n1") == [1, 2]
    assert world.ask_again_s is None
    world.uses("n1", 2)
    assert world.epochs("n1") == [2, 3]  # It is overdue.


def test_a_swarm_that_uses_no_keys_is_not_asked_again() -> None:
    world = World(node("n1"), on("t1", "n1"))
    world.delete(Kind.TASK, "t1")
    world.later(2 * PERIOD_S)
    assert world.ask_again_s is None


def test_a_node_that_comes_in_the_middle_gets_keys_of_both_epochs() -> None:
    world = World(node("n1"), on("t1", "n1"), node("n2"))
    world.later(PERIOD_S)
    world.put(on("t2", "n2"))
    assert world.epochs("n2") == [1, 2]
    world.uses("n1", 2)
    assert world.epochs("n1") == [1, 2]
    world.uses("n2", 2)
    assert world.epochs("n2") == [2]


def test_a_node_that_is_down_is_not_waited_for() -> None:
    world = World(node("n1"), node("n2"), on("t1", "n1"), on("t2", "n2"))
    world.later(PERIOD_S)
    world.uses("n1", 2)
    assert world.epochs("n1") == [1, 2]
    world.put(replace(world.node("n2"), status=NodeStatus(state="down")))
    assert world.epochs("n1") == [2]


def test_a_new_leader_goes_on_in_the_middle_of_a_rotation() -> None:
    world = World(node("n1"), node("n2"), on("t1", "n1"), on("t2", "n2"))
    world.later(PERIOD_S)
    keys = world.node("n1").encryption
    world.decide, world._before = Encryption(), None
    assert world.settle() == 0
    assert world.node("n1").encryption == keys
    world.uses("n1", 2)
    world.uses("n2", 2)
    assert world.epochs("n2") == [2]


def test_after_a_pause_without_keys_no_old_epoch_comes_back() -> None:
    world = World(node("n1"), on("t1", "n1"))
    world.put(on("t1", "n1", state=State.COMPLETE))
    world.later(3 * PERIOD_S)
    world.put(on("t2", "n1"))
    assert world.epochs("n1") == [2]


def test_a_removed_node_leaves_no_key_behind() -> None:
    world = World(node("n1"), node("n2"), on("t1", "n1"), on("t2", "n2"))
    world.delete(Kind.NODE, "n2")
    assert world.epochs("n1") == [1]
    assert "n2" not in world.snap.nodes


def test_a_node_with_another_key_to_seal_to_gets_new_ones() -> None:
    world = World(node("n1"), on("t1", "n1"))
    other = NodeKey.generate()
    world.put(replace(world.node("n1"), seal_key=other.public()))
    had = world.node("n1").encryption
    assert had is not None
    opened(had.keys[0], other, "n1", 1)


def test_many_nodes_are_given_keys_in_several_decisions() -> None:
    world = World(*(node(f"n{n}") for n in range(100)), *(on(f"t{n}", f"n{n}") for n in range(100)))
    assert all(world.epochs(f"n{n}") == [1] for n in range(100))
    addresses = {one.encryption.address for one in world.snap.nodes.values() if one.encryption is not None}
    assert len(addresses) == 100


def test_what_was_refused_is_decided_again() -> None:
    """A node's status may be written in the same moment."""
    world = World(node("n1"), on("t0", "n1"), node("n2"))
    before, world._before = world._before, world.snap
    world._apply([Put(on("t1", "n2"))])
    first = world.decide(before, world.snap, now_s=world.now_s, new_id=lambda: "")
    again = world.decide(before, world.snap, now_s=world.now_s, new_id=lambda: "")
    named = [[change.obj.id for change in one.changes if isinstance(change, Put)] for one in (first, again)]
    assert named == [["n2"], ["n2"]]
    world.settle()
    assert world.epochs("n2") == [1]
    assert world.ask_again_s == START_S + PERIOD_S


def test_what_concerns_no_encrypted_network_is_not_looked_at() -> None:
    world = World(node("n1"), on("t1", "n1"))
    looked: list[None] = []
    world.decide._wanted = lambda _: looked.append(None) or []  # type: ignore[method-assign,assignment,func-returns-value]
    status = TaskStatus(state=State.RUNNING, message="again")
    world.put(replace(world.snap.tasks["t1"], status=status))
    world.put(task("t9", "n1"))
    assert not looked
