"""What a node is told, and above all what it is not."""

from random import Random

import msgspec
import pytest

from vault.dispatcher import assignments
from vault.dispatcher.assignments import NodeView, Touched, difference
from vault.model.base import Version
from vault.model.container import ContainerSpec
from vault.model.ids import Kind
from vault.model.registry_auth import RegistryAuth
from vault.model.secret import Config, ConfigReference, ConfigSpec, Driver, Secret, SecretReference, SecretSpec
from vault.model.service import Service, ServiceSpec, TaskSpec
from vault.model.task import State, Task, TaskStatus
from vault.store.changes import Delete, Put
from vault.store.snapshot import Snapshot


def task(
    task_id: str, node: str = "n1", *, state: State = State.ASSIGNED, desired: State = State.RUNNING, secret: str = "s1"
) -> Task:
    container = ContainerSpec(secrets=(SecretReference(secret_id=secret),), configs=(ConfigReference(config_id="c1"),))
    return Task(
        id=task_id,
        spec=TaskSpec(container_spec=container),
        node_id=node,
        status=TaskStatus(state=state),
        desired_state=desired,
    )


def world(*tasks: Task) -> Snapshot:
    objects = (
        Secret(id="s1", spec=SecretSpec(name="one")),
        Secret(id="s2", spec=SecretSpec(name="two")),
        Secret(id="s3", spec=SecretSpec(name="three", driver=Driver(name="safe"))),
        Config(id="c1", spec=ConfigSpec(name="conf")),
        *tasks,
    )
    return Snapshot().apply([Put(obj) for obj in objects], index=1, now_s=0.0)


def touched(before: Snapshot, after: Snapshot) -> Touched:
    keys = after.changed_since(before)
    assert keys is not None
    return assignments.touched(before, after, keys)


def changed(snap: Snapshot, **fields: object) -> Snapshot:
    put = Put(msgspec.structs.replace(snap.tasks["t1"], **fields))
    return snap.apply((put,), index=snap.index + 1, now_s=0.0)


def test_a_node_gets_the_secrets_of_its_own_tasks_only() -> None:
    snap = world(task("t1"), task("t2", "n2", secret="s2"))
    view, told = difference(NodeView(), snap, "n1")
    assert [t.id for t in told.put_tasks] == ["t1"]
    assert {wanted.key for wanted in told.put_values} == {(Kind.SECRET, "s1"), (Kind.CONFIG, "c1")}
    assert difference(NodeView(), snap, "n3")[1].put_values == ()
    assert set(view.values) == {(Kind.SECRET, "s1"), (Kind.CONFIG, "c1")}


def test_nothing_is_sent_twice() -> None:
    snap = world(task("t1"))
    view, _ = difference(NodeView(), snap, "n1")
    again, told = difference(view, snap, "n1")
    assert again == view
    assert told == type(told)()


def test_a_status_that_the_node_reported_is_not_sent_back() -> None:
    snap = world(task("t1"))
    view, _ = difference(NodeView(), snap, "n1")
    snap = changed(snap, status=TaskStatus(state=State.RUNNING))
    assert difference(view, snap, "n1")[1].put_tasks == ()


def test_a_changed_desired_state_is_sent() -> None:
    snap = world(task("t1", state=State.RUNNING))
    view, _ = difference(NodeView(), snap, "n1")
    snap = changed(snap, desired_state=State.SHUTDOWN)
    view, told = difference(view, snap, "n1")
    assert [t.desired_state for t in told.put_tasks] == [State.SHUTDOWN]
    assert told.remove_values == (), "it still runs, and reads its files until it has ended"


def test_a_secret_leaves_the_node_with_the_last_task_that_uses_it() -> None:
    snap = world(task("t1", state=State.RUNNING), task("t2", state=State.RUNNING))
    view, _ = difference(NodeView(), snap, "n1")
    snap = changed(snap, status=TaskStatus(state=State.FAILED))
    view, told = difference(view, snap, "n1")
    assert told.remove_values == ()
    snap = snap.apply((Delete(Kind.TASK, "t2", snap.tasks["t2"].version.index),), index=3, now_s=0.0)
    view, told = difference(view, snap, "n1")
    assert told.remove_tasks == ("t2",)
    assert set(told.remove_values) == {(Kind.SECRET, "s1"), (Kind.CONFIG, "c1")}


def test_a_task_that_is_not_assigned_yet_brings_nothing() -> None:
    snap = world(task("t1", state=State.PENDING))
    assert difference(NodeView(), snap, "n1")[1] == type(difference(NodeView(), snap, "n1")[1])()


def test_a_task_asked_to_end_before_it_started_gets_no_secret() -> None:
    for state in (State.ASSIGNED, State.PREPARING, State.READY):
        snap = world(task("t1", state=state, desired=State.SHUTDOWN))
        assert difference(NodeView(), snap, "n1")[1].put_values == ()


def test_a_removed_secret_is_withdrawn() -> None:
    snap = world(task("t1", state=State.RUNNING))
    view, _ = difference(NodeView(), snap, "n1")
    snap = snap.apply((Delete(Kind.SECRET, "s1", 1),), index=2, now_s=0.0)
    assert difference(view, snap, "n1")[1].remove_values == ((Kind.SECRET, "s1"),)


def test_a_nodes_own_report_does_not_make_anybody_look_at_the_node() -> None:
    before = world(task("t1"))
    after = changed(before, status=TaskStatus(state=State.RUNNING))
    found = touched(before, after)
    assert found.nodes == frozenset()


def some_task(random: Random, old: Task | None, name: str, nodes: tuple[str, ...]) -> Task:
    """A task as it may become next, whatever its state was."""
    made = task(
        name,
        random.choice(nodes),
        state=random.choice(tuple(State)),
        desired=random.choice((State.READY, State.RUNNING, State.SHUTDOWN, State.COMPLETE, State.REMOVE)),
        secret=random.choice(("s1", "s2", "s3")),
    )
    made = msgspec.structs.replace(made, service_id=random.choice(("", "web")))
    return made if old is None else msgspec.structs.replace(made, version=old.version, spec=old.spec)


def some_change(random: Random, snap: Snapshot, nodes: tuple[str, ...]) -> Put | Delete:
    """A task that comes, goes or changes."""
    name = f"t{random.randrange(6)}"
    old = snap.tasks.get(name)
    if old is not None and random.random() < 0.2:
        return Delete(Kind.TASK, name, old.version.index)
    return Put(some_task(random, old, name, nodes))


def of_web(snap: Snapshot) -> Snapshot:
    """The same, with a service that has credentials."""
    web = Service(id="web", spec=ServiceSpec(), registry_auth="a1")
    return snap.apply([Put(RegistryAuth(id="a1", service_id="web")), Put(web)], index=snap.index + 1, now_s=0.0)


@pytest.mark.parametrize("seed", range(50))
def test_no_node_that_has_to_be_told_something_is_left_out(seed: int) -> None:
    """Whatever happens to tasks, every node for which there is a difference is among those touched."""
    random = Random(seed)
    nodes = ("", "n1", "n2", "n3")
    before = of_web(world())
    views = {node: NodeView() for node in nodes[1:]}
    for _ in range(40):
        after = before.apply((some_change(random, before, nodes),), index=before.index + 1, now_s=0.0)
        found = touched(before, after)
        for node, view in views.items():
            views[node], told = difference(view, after, node)
            assert told == type(told)() or node in found.nodes
        before = after


def some_value_change(random: Random, snap: Snapshot) -> Put | Delete:
    """A secret that goes or comes back, with a driver or without; or credentials that do."""
    if random.random() < 0.3:
        auth = snap.get(Kind.REGISTRY_AUTH, "a1")
        version = 0 if auth is None else auth.version.index
        if auth is not None and random.random() < 0.5:
            return Delete(Kind.REGISTRY_AUTH, "a1", version)
        return Put(RegistryAuth(id="a1", service_id="web", version=Version(index=version)))
    secret_id = random.choice(("s1", "s2", "s3"))
    if (old := snap.secrets.get(secret_id)) is not None:
        return Delete(Kind.SECRET, secret_id, old.version.index)
    return Put(Secret(id=secret_id, spec=SecretSpec(name=secret_id, driver=random.choice((None, Driver(name="safe"))))))


@pytest.mark.parametrize("seed", range(100))
def test_a_look_at_what_changed_says_what_a_look_at_everything_does(seed: int) -> None:
    """Also when parts of messages are left out, values come and go, and some changes wait for the next look."""
    random = Random(seed)
    before = of_web(world())
    quick = whole = NodeView()
    changed: set[str] | None = None
    for _ in range(60):
        is_value = random.random() < 0.1
        change = some_value_change(random, before) if is_value else some_change(random, before, ("", "n1", "n1", "n2"))
        after = before.apply((change,), index=before.index + 1, now_s=0.0)
        found = touched(before, after)
        if found.values:
            changed = None
        elif changed is not None:
            changed.update(found.tasks.get("n1", ()))
        before = after
        if random.random() < 0.3:
            continue  # It is looked at later.
        told_whole, told_quick = (
            difference(whole, after, "n1"),
            difference(quick, after, "n1", changed),
        )
        assert told_quick[1] == told_whole[1]
        told, changed = told_whole[1], set()
        tasks = {one.id for one in told.put_tasks if random.random() < 0.2}
        values = {one.key for one in told.put_values if random.random() < 0.2}
        quick = told_quick[0].without(tasks, values, told=quick)
        whole = told_whole[0].without(tasks, values, told=whole)
        assert (quick.tasks, quick.values, quick.refers) == (whole.tasks, whole.values, whole.refers)
    assert dict(quick.readers) == {
        key: sum(key in set(keys) for keys in quick.reads.values()) for key in quick.readers
    }, "who reads a value is counted"


def test_a_look_at_one_task_does_not_look_at_the_others_of_its_node() -> None:
    snap = world(*(task(f"t{number}") for number in range(9)))
    view, _ = difference(NodeView(), snap, "n1")
    changes = [
        Put(msgspec.structs.replace(snap.tasks[name], desired_state=State.SHUTDOWN)) for name in ("t1", "t2", "t3")
    ]
    snap = snap.apply(changes, index=2, now_s=0.0)
    view, told = difference(view, snap, "n1", {"t2"})
    assert [one.id for one in told.put_tasks] == ["t2"]
    assert [one.id for one in difference(view, snap, "n1", {"t1"})[1].put_tasks] == ["t1"]


def test_what_was_left_out_of_a_message_is_told_with_the_next_though_nothing_changed() -> None:
    snap = world(task("t1"), task("t2"))
    after, _ = difference(NodeView(), snap, "n1")
    left = after.without({"t2"}, {(Kind.SECRET, "s1")}, told=NodeView())
    view, told = difference(left, snap, "n1", ())
    assert [one.id for one in told.put_tasks] == ["t2"]
    assert [one.key for one in told.put_values] == [(Kind.SECRET, "s1")]
    assert difference(view, snap, "n1", ())[1] == type(told)()


def test_no_newer_credentials_are_sent_for_a_task_that_has_its_image_though_nobody_looked_at_it_yet() -> None:
    before = private_world(of("web", task("t1")), of("web", task("t2")))
    view, _ = difference(NodeView(), before, "n1")
    ready = [msgspec.structs.replace(before.tasks[name], status=TaskStatus(state=State.READY)) for name in ("t1", "t2")]
    web = msgspec.structs.replace(before.services["web"], registry_auth="a2")
    renewed = (Put(RegistryAuth(id="a2", service_id="web")), Put(web), *map(Put, ready))
    after = before.apply(renewed, index=2, now_s=0.0)
    assert difference(view, after, "n1", {"t1"})[1].put_values == ()
    assert difference(view, after, "n1")[1].remove_values == (AUTH,)


AUTH = (Kind.REGISTRY_AUTH, "web")


def private_world(*tasks: Task) -> Snapshot:
    """A service `web` with credentials, and another one without."""
    web = Service(id="web", spec=ServiceSpec(name="web"), registry_auth="a1")
    objects = (
        RegistryAuth(id="a1", service_id="web"),
        web,
        Service(id="own", spec=ServiceSpec(name="own")),
        *tasks,
    )
    return Snapshot().apply([Put(obj) for obj in objects], index=1, now_s=0.0)


def of(service_id: str, task: Task) -> Task:
    bare = TaskSpec(container_spec=ContainerSpec(image="reg.example/app"))
    return msgspec.structs.replace(task, service_id=service_id, spec=bare)


def test_credentials_go_to_nodes_that_have_yet_to_pull_for_their_service() -> None:
    snap = private_world(
        of("web", task("t1")), of("own", task("t2", "n2")), of("web", task("t3", "n3", state=State.READY))
    )
    view, told = difference(NodeView(), snap, "n1")
    assert [(wanted.key, wanted.obj.id) for wanted in told.put_values] == [(AUTH, "a1")]
    for other in ("n2", "n3", "n4"):
        assert difference(NodeView(), snap, other)[1].put_values == ()
    after = changed(snap, status=TaskStatus(state=State.READY))
    assert difference(view, after, "n1")[1].remove_values == (AUTH,), "it has its image"
    concerned = touched(snap, after)
    assert concerned.nodes == {"n1"}, "they do not wait there for other news"


def test_credentials_that_a_service_goes_back_to_are_told_to_those_who_have_yet_to_pull() -> None:
    """Neither are they written then, nor is a task."""
    before = private_world(of("web", task("t1")), of("web", task("t2", "n2", state=State.READY)))
    before = before.apply((Put(RegistryAuth(id="a2", service_id="web")),), index=2, now_s=0.0)
    view, _ = difference(NodeView(), before, "n1")
    after = before.apply(
        (Put(msgspec.structs.replace(before.services["web"], registry_auth="a2")),), index=3, now_s=0.0
    )
    concerned = touched(before, after)
    assert concerned.tasks == {"n1": {"t1"}}
    assert [wanted.obj.id for wanted in difference(view, after, "n1", {"t1"})[1].put_values] == ["a2"]


def test_first_credentials_of_a_service_are_told_to_those_who_have_yet_to_pull() -> None:
    before = private_world(of("own", task("t1")))
    view, _ = difference(NodeView(), before, "n1")
    own = msgspec.structs.replace(before.services["own"], registry_auth="a2")
    after = before.apply((Put(RegistryAuth(id="a2", service_id="own")), Put(own)), index=2, now_s=0.0)
    concerned = touched(before, after)
    told = difference(view, after, "n1", concerned.tasks["n1"])[1]
    assert [wanted.key for wanted in told.put_values] == [(Kind.REGISTRY_AUTH, "own")]


@pytest.mark.parametrize("state", [State.REJECTED, State.ORPHANED])
def test_credentials_do_not_stay_for_tasks_that_have_ended(state: State) -> None:
    snap = private_world(of("web", task("t1")))
    view, _ = difference(NodeView(), snap, "n1")
    snap = changed(snap, status=TaskStatus(state=state))
    assert difference(view, snap, "n1")[1].remove_values == (AUTH,)


def test_newer_credentials_of_a_service_take_the_place_of_those_a_node_has() -> None:
    before = private_world(of("web", task("t1")))
    view, _ = difference(NodeView(), before, "n1")
    web = msgspec.structs.replace(before.services["web"], registry_auth="a2")
    changes = (Put(RegistryAuth(id="a2", service_id="web")), Put(web), Delete(Kind.REGISTRY_AUTH, "a1", 1))
    after = before.apply(changes, index=2, now_s=0.0)
    concerned = touched(before, after)
    assert concerned.nodes == {"n1"}, "whoever has the old ones looks again"
    view, told = difference(view, after, "n1")
    assert [(wanted.key, wanted.obj.id) for wanted in told.put_values] == [(AUTH, "a2")]
    assert told.remove_values == ()
    assert difference(view, after, "n1")[1].put_values == ()


def test_credentials_are_withdrawn_when_the_service_goes_on_without_though_they_are_kept_for_a_way_back() -> None:
    before = private_world(of("web", task("t1")))
    view, _ = difference(NodeView(), before, "n1")
    web = msgspec.structs.replace(before.services["web"], registry_auth="", previous_registry_auth="a1")
    after = before.apply((Put(web),), index=2, now_s=0.0)
    concerned = touched(before, after)
    assert concerned.nodes == {"n1"}, "whoever has them looks again"
    assert difference(view, after, "n1")[1].remove_values == (AUTH,)
