"""Several stages make one proposal, in which nothing is written twice."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import World, node, spec, state
from vault.model.ids import Kind, NewID
from vault.model.network import IPAMConfig, IPAMOptions, Network, NetworkSpec
from vault.model.node import Node
from vault.model.service import EndpointSpec, NetworkAttachmentConfig, RestartPolicy, Service, ServiceSpec, UpdateConfig
from vault.model.task import State, Task
from vault.orchestrator import services
from vault.orchestrator.groups import Groups
from vault.orchestrator.rounds import Rounds
from vault.store.changes import Atomic, Change, Delete, Put, Relied
from vault.store.decision import NOTHING, Decision
from vault.store.snapshot import Key, Snapshot, Stale


class Rename:
    """A stage that gives a node the next name, and remembers what it was told has changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: list[set[Key] | None] = []

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        self.told.append(changed)
        old = snap.nodes["n"]
        return Decision(changes=(Put(replace(old, spec=replace(old.spec, name=old.spec.name + self.name))),))


def ids_in(change: Change | Atomic) -> set[str]:
    """Return the ids of the objects that a change puts."""
    singles = change.changes if isinstance(change, Atomic) else (change,)
    return {single.obj.id for single in singles if isinstance(single, Put)}


def fresh() -> str:
    """Return an id."""
    return "x"


def one_node() -> Snapshot:
    """Return a snapshot with one node."""
    return Snapshot().apply([Put(node("n"))], index=7, now_s=1.0)


def test_each_stage_sees_what_the_ones_before_it_decided_and_the_end_is_proposed() -> None:
    decision = Rounds((Rename("a"), Rename("b")))(None, one_node(), now_s=2.0, new_id=fresh)
    (change,) = decision.changes
    assert isinstance(change, Put)
    assert isinstance(change.obj, Node)
    assert change.obj.spec.name == "ab"
    assert change.obj.version.index == 7


def test_a_stage_is_told_of_what_was_proposed_before_whatever_became_of_it() -> None:
    stage, snap = Rename("a"), one_node()
    rounds = Rounds((stage,))
    rounds(None, snap, now_s=2.0, new_id=fresh)
    rounds(snap, snap, now_s=3.0, new_id=fresh)
    assert stage.told == [None, {(Kind.NODE, "n")}]


def test_deciding_leaves_no_trace_in_the_log_of_the_store() -> None:
    snap = one_node()
    Rounds((Rename("a"),))(None, snap, now_s=2.0, new_id=fresh)
    assert snap.log.commits == {7: [(Kind.NODE, ("n",))]}


def test_what_comes_and_goes_in_one_round_is_not_proposed() -> None:
    def come(snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        return Decision(changes=(Put(node("m")),))

    def go(snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        return Decision(changes=(Delete(Kind.NODE, "m", snap.nodes["m"].version.index),))

    assert Rounds((come, go))(None, one_node(), now_s=2.0, new_id=fresh).changes == ()


def test_an_old_task_and_its_replacement_are_one_change() -> None:
    world = World()
    world.run(spec(1))
    world.observe(world.tasks()[0], State.FAILED, settle=False)
    (change,) = world.decide().changes
    assert isinstance(change, Atomic)
    assert len(change.changes) == 2


def test_all_that_is_decided_about_a_slot_is_one_change() -> None:
    """Else a slot may keep one task, whose end was refused, and have another that takes its place."""
    update = UpdateConfig(parallelism=0, order="start-first")
    world = World(nodes=3)
    world.run(spec(1, update=update))
    world.update(spec(1, image="v2", update=update))
    old, new = world.tasks()
    world.write(Put(state("down")(world.snap.nodes[old.node_id])))
    service = world.snap.services["web"]
    world.write(Put(replace(service, spec=spec(1, image="v3"))))
    decision = world.decide()
    slot = [change for change in decision.changes if {old.id, new.id} & ids_in(change)]
    assert len(slot) == 1
    assert {old.id, new.id} < ids_in(slot[0])


def test_new_tasks_are_refused_when_their_service_has_changed_meanwhile() -> None:
    world = World()
    world.write(Put(Service(id="web", spec=spec(1))))
    old = world.snap
    decision = world.decide()
    changed = old.apply([Put(replace(old.services["web"], spec=spec(2)))], index=old.index + 1, now_s=1.0)
    with pytest.raises(Stale):
        changed.apply(decision.changes, index=changed.index + 1, now_s=1.0)


def test_the_service_is_written_after_the_tasks_that_rely_on_it() -> None:
    world = World()
    world.run(spec(1))
    service = world.snap.services["web"]
    world.write(Put(replace(service, spec=spec(1, image="v2"))))
    tasks, status = world.decide().changes
    assert isinstance(tasks, Atomic)
    new = next(put for put in tasks.changes if isinstance(put, Put) and isinstance(put.obj, Task) and put.relied_on)
    assert new.relied_on == (Relied(Kind.SERVICE, "web", world.snap.services["web"].spec_version.index),)
    assert isinstance(status, Put)
    assert isinstance(status.obj, Service)


def test_a_refused_scaling_is_decided_again_whatever_happened_meanwhile() -> None:
    world = World()
    world.run(spec(2))
    world.write(Put(replace(world.snap.services["web"], spec=spec(0))))
    world.decide(refused=True)
    for task in world.tasks():
        world.observe(task, State.FAILED, settle=False)
    world.settle()
    assert world.shown() == []


def test_a_refused_task_is_made_again_though_the_news_it_was_made_for_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_LOOKS", 1)
    world = World(nodes=0)
    for name in ("a", "b", "c"):
        world.create(replace(spec(None), name=name), name)
    world.write(Put(node("n1")))
    for refused in (False, False, True):
        world.decide(refused=refused)
    world.settle()
    assert sorted(task.service_id for task in world.wanted()) == ["a", "b", "c"]


def test_what_an_orphan_leaves_is_given_away_only_when_the_store_knows_it_has_ended() -> None:
    world = World(nodes=2)
    ranges = (IPAMConfig(subnet="10.9.0.0/29", ip_range="10.9.0.2/31"),)  # For the service, and for one task.
    world.write(Put(Network(id="net", spec=NetworkSpec(name="net", ipam_options=IPAMOptions(configs=ranges)))))
    wanted = spec(1, restart=RestartPolicy(delay=0))
    template = replace(wanted.task_template, networks=(NetworkAttachmentConfig(target="net"),))
    world.run(replace(wanted, task_template=template))
    (old,) = world.tasks()
    world.write(Delete(Kind.NODE, old.node_id, world.snap.nodes[old.node_id].version.index))
    (orphan,) = world.decide().changes
    assert isinstance(orphan, Put)
    assert isinstance(orphan.obj, Task)
    assert orphan.obj.state is State.ORPHANED
    world.settle()
    (new,) = world.wanted()
    assert new.networks_attachments[0].addresses == old.networks_attachments[0].addresses


@pytest.mark.parametrize("forgetful", [False, True])
def test_what_a_task_that_never_started_gives_up_is_given_away_only_when_the_store_knows_that(forgetful: bool) -> None:
    world = World(nodes=0, forgetful=forgetful)
    ranges = (IPAMConfig(subnet="10.9.0.0/29", ip_range="10.9.0.2/32"),)  # For one task.
    world.write(Put(Network(id="net", spec=NetworkSpec(name="net", ipam_options=IPAMOptions(configs=ranges)))))
    world.create(on_net(1, "web"))
    (old,) = world.tasks()
    assert addresses(old) == ["10.9.0.2/29"]
    world.announce(on_net(1, "db"), "db")
    world.write(Put(replace(world.snap.services["web"], spec=on_net(0, "web"))))
    changes = world.decide(refused=True).changes
    assert Delete(Kind.TASK, old.id, old.version.index) in changes
    (new,) = (put.obj for put in changes if isinstance(put, Put) and isinstance(put.obj, Task))
    assert (addresses(new), new.status.err) == ([], "")
    world.settle()
    (new,) = world.wanted()
    assert (new.service_id, addresses(new)) == ("db", ["10.9.0.2/29"])


@pytest.mark.parametrize("forgetful", [False, True])
def test_whoever_replaces_a_task_that_never_started_in_a_full_network_is_not_told_that_it_is_full(
    forgetful: bool,
) -> None:
    world = World(nodes=0, forgetful=forgetful)
    ranges = (IPAMConfig(subnet="10.9.0.0/29", ip_range="10.9.0.2/31"),)  # For two tasks.
    world.write(Put(Network(id="net", spec=NetworkSpec(name="net", ipam_options=IPAMOptions(configs=ranges)))))
    wanted = on_net(2, "web")
    world.create(wanted)
    old = {task.id for task in world.wanted()}
    world.write(Put(replace(world.snap.services["web"], spec=newer(wanted))))
    while world.decide().changes:
        (new,) = (task for task in world.wanted() if task.id not in old)
        assert not new.status.err.startswith("no free address")
    assert addresses(new)


def newer(wanted: ServiceSpec) -> ServiceSpec:
    """Return a spec that asks for tasks to be exchanged."""
    return replace(wanted, task_template=replace(wanted.task_template, force_update=1))


def on_net(replicas: int, name: str) -> ServiceSpec:
    """Return a service that is on the network `net`, without an address of its own."""
    plain = spec(replicas)
    template = replace(plain.task_template, networks=(NetworkAttachmentConfig(target="net"),))
    return replace(plain, name=name, task_template=template, endpoint_spec=EndpointSpec(mode="dnsrr"))


def addresses(task: Task) -> list[str]:
    """Return the addresses of a task."""
    return [addr for place in task.networks_attachments for addr in place.addresses]


def test_a_refused_ending_hides_nothing_from_the_stages_that_follow() -> None:
    world = World(nodes=2)
    world.run(spec(2))
    first = world.tasks()[0]
    world.write(Delete(Kind.NODE, first.node_id, world.snap.nodes[first.node_id].version.index))
    world.write(Put(replace(world.snap.services["web"], spec=spec(1))))
    world.decide(refused=True)
    world.settle()
    assert len(world.wanted()) == 1


def test_groups_grow_together_and_keep_their_order() -> None:
    groups: Groups[str] = Groups()
    groups.join("ab")
    groups.join("c")
    groups.join("db")
    assert list(groups) == [("d", "a", "b"), ("c",)] or list(groups) == [("a", "b", "d"), ("c",)]


def test_what_stages_decided_after_an_ending_is_decided_again_when_it_is_refused() -> None:
    def end(snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        old = snap.nodes["n"]
        return NOTHING if old.spec.name else Decision(changes=(Put(replace(old, spec=replace(old.spec, name="end"))),))

    stage, snap = Rename("a"), one_node()
    rounds = Rounds((stage,), ending=(end,))
    joined = snap.apply([Put(node("m"))], index=8, now_s=2.0)
    ended = joined.apply(rounds(snap, joined, now_s=2.0, new_id=fresh).changes, index=9, now_s=2.0)
    assert stage.told == []
    rounds(joined, ended, now_s=3.0, new_id=fresh)
    rounds(joined, ended, now_s=4.0, new_id=fresh)  # The same again: the store took none of it.
    assert stage.told == [{(Kind.NODE, "m"), (Kind.NODE, "n")}] * 2


def test_what_the_store_took_is_not_told_of_for_ever() -> None:
    stage, snap = Rename("a"), one_node()
    rounds = Rounds((stage,))
    joined = snap.apply([Put(node("m"))], index=8, now_s=2.0)
    renamed = joined.apply(rounds(snap, joined, now_s=2.0, new_id=fresh).changes, index=9, now_s=2.0)
    rounds(joined, renamed, now_s=3.0, new_id=fresh)
    assert stage.told[1] == {(Kind.NODE, "n")}
