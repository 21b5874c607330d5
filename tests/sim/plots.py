"""What operators do step by step, each as soon as what it needs has come about, which chance alone seldom brings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.sim import specs
from vault.model.base import SECOND_NS
from vault.model.ids import Kind
from vault.model.node import NodeSpec
from vault.model.service import Placement, Replicated, Reservation, Resources, ServiceMode, UpdateConfig
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.people import People

KEPT_FROM = Placement(constraints=("node.labels.zone!=c",))
AT_ONCE = UpdateConfig(parallelism=0, failure_action="continue", monitor=SECOND_NS // 2, deadline=0)
IN_TURNS = UpdateConfig(parallelism=1, delay=3 * SECOND_NS, failure_action="continue", monitor=SECOND_NS // 2)
START_FIRST = replace(AT_ONCE, order="start-first")
MORE = 4  # Tasks, on one node.
FULL = 0.6  # Of proposals, so many are refused in part.


def once(people: People, is_so: Callable[[Snapshot], bool], act: Callable[[], object], within_s: float = 20.0) -> None:
    """Act as soon as a commit makes it so, while there is trouble, or never."""
    world = people.world
    until_s = world.clock.now_s + within_s

    def watch(snap: Snapshot) -> bool:
        if not world.faulty or world.clock.now_s > until_s:
            return True
        if is_so(snap):
            world.clock.after(0.0, act)
            return True
        return False

    world.store.watchers.append(watch)


def go_back(people: People) -> None:
    """Keep a service from a zone, and change that, or something else; go back as a node comes to be of that zone."""
    service_id = people.any_of(Kind.SERVICE)
    if service_id is None or people.snap.services[service_id].is_job:
        return
    then = people.random.choice((let_anywhere, begin_anew))
    place(people, service_id, KEPT_FROM, force=1)
    once(people, lambda snap: bool(as_asked(snap, service_id)), lambda: then(people, service_id))


def let_anywhere(people: People, service_id: str) -> None:
    """Let a service run anywhere; its tasks stay, and one of them is in the wrong place once it goes back."""
    place(people, service_id, None)
    after, soon_s = people.world.clock.after, people.world.clock.between(0.1, 1.0)
    after(soon_s, forbid, people, service_id)
    after(2 * soon_s, people.roll_back_service, service_id)


def begin_anew(people: People, service_id: str) -> None:
    """Exchange the tasks of a service; go back in turns, and forbid meanwhile a node of one whose turn is to come."""
    place(people, service_id, KEPT_FROM, force=1)

    def back() -> None:
        people.roll_back_service(service_id)
        people.world.clock.after(people.world.clock.between(0.05, 2.0), forbid, people, service_id)

    once(people, lambda snap: len(as_asked(snap, service_id)) > 1, back)


def place(people: People, service_id: str, placement: Placement | None, force: int = 0) -> None:
    """Say where a service may run; it changes at once, and goes back in turns."""
    if (service := people.snap.services.get(service_id)) is not None:
        old = service.spec.task_template
        container = replace(old.container_spec, image="steady:placed")
        task = replace(old, container_spec=container, placement=placement, force_update=old.force_update + force)
        spec = replace(service.spec, task_template=task, update_config=AT_ONCE, rollback_config=IN_TURNS)
        people.change(service, spec, at_once=True)


def as_asked(snap: Snapshot, service_id: str) -> Sequence[Task]:
    """Return the tasks of a service that are of its spec and run."""
    service = snap.services.get(service_id)
    tasks = [task for task in snap.tasks_of(service_id) if task.live and task.state is State.RUNNING]
    return [task for task in tasks if service is not None and task.spec == service.spec.task_template]


def forbid(people: People, service_id: str) -> None:
    """Let a node of a service, of a task that is yet to be exchanged if any is, be of the zone it is kept from."""
    snap, service = people.snap, people.snap.services.get(service_id)
    if service is None:
        return
    tasks = [task for task in snap.tasks_of(service_id) if task.live and task.state is State.RUNNING]
    old = [task for task in tasks if task.spec != service.spec.task_template]
    free = {node.id for node in snap.nodes.values() if node.ready and node.spec.labels.get("zone") != "c"}
    nodes = sorted({task.node_id for task in old or tasks} & free)
    if nodes and len(free) > 1:
        takes = people.random.choice(("active", "active", "pause"))  # What a paused node has it keeps, fit or not.
        people.set_node(
            lambda spec: NodeSpec(labels={"zone": "c"}, role=spec.role, availability=takes), people.random.choice(nodes)
        )


def crowd(people: People) -> None:
    """Let one node have all new tasks of a service; spread them as soon as one of them has failed."""
    snap = people.snap
    service_id = people.any_of(Kind.SERVICE)
    service = snap.services.get(service_id or "")
    ready = sorted(node.id for node in snap.nodes.values() if node.ready)
    if service is None or service.spec.mode.replicated is None or len(ready) < 2:
        return
    node_id = people.random.choice(ready)
    for other in ready:
        if other != node_id:
            people.set_node(lambda spec: replace(spec, availability="pause"), other)
    replicas = min(service.replicas, specs.MOST_REPLICAS) + MORE
    people.change(
        service, replace(service.spec, mode=ServiceMode(replicated=Replicated(replicas=replicas))), at_once=True
    )
    people.world.clock.after(people.world.clock.between(1.0, 4.0), fail_and_spread, people, service.id, ready)


def rescale(people: People) -> None:
    """Let all services have a few tasks more or less at once, while disks are nearly full: much is refused at first."""
    fill_disks(people)
    for _, service in sorted(people.snap.services.items()):
        if service.spec.mode.replicated is not None:
            wanted = service.replicas + people.random.choice((-2, -1, 1, 2))
            replicas = min(max(wanted, 0), specs.MOST_REPLICAS + MORE)
            people.change(
                service, replace(service.spec, mode=ServiceMode(replicated=Replicated(replicas=replicas))), at_once=True
            )


def fill_disks(people: People) -> None:
    """Let the disks of managers be nearly full for some seconds."""
    world, often = people.world, people.world.refused
    if often != FULL:
        world.refused = FULL
        world.clock.after(world.clock.between(1.0, 5.0), setattr, world, "refused", often)


def reopen(people: People) -> None:
    """Drain half of the nodes, and let them take tasks again while disks are nearly full."""
    ready = sorted(node.id for node in people.snap.nodes.values() if node.ready)
    chosen, clock = people.random.sample(ready, len(ready) // 2), people.world.clock
    for node_id in chosen:
        people.set_node(lambda spec: replace(spec, availability="drain"), node_id)

    def take() -> None:
        fill_disks(people)
        for node_id in chosen:
            people.set_node(lambda spec: replace(spec, availability="active"), node_id)

    if chosen:
        clock.after(clock.between(0.5, 4.0), take)


def withdraw(people: People) -> None:
    """Give a service credentials and an image that takes long to pull; go on without them while nodes pull it."""
    service_id = people.any_of(Kind.SERVICE)
    if service_id is None or not people.has_credentials:
        return
    renew(people, service_id, "slow", credentials=True)

    def is_pulled(snap: Snapshot) -> bool:
        return any(
            task.live
            and State.ASSIGNED < task.state < State.READY
            and task.spec.container_spec.image.startswith("slow")
            for task in snap.tasks_of(service_id)
        )

    once(people, is_pulled, lambda: people.world.clock.after(0.5, relabel, people, service_id))


def relabel(people: People, service_id: str) -> None:
    """Change nothing of a service's tasks, and take its credentials away."""
    if (service := people.snap.services.get(service_id)) is not None:
        spec = replace(service.spec, labels={**service.spec.labels, "said": "more"})
        people.change(service, spec, at_once=True, credentials=False)


def take_over_twice(people: People) -> None:
    """Exchange tasks start-first, and again; let both that are in one place then end at once."""
    service_id = people.any_of(Kind.SERVICE)
    if service_id is None or people.snap.services[service_id].is_job:
        return
    renew(people, service_id, "steady", START_FIRST)
    once(
        people, lambda snap: any(task.beside for task in as_asked(snap, service_id)), lambda: again(people, service_id)
    )


def again(people: People, service_id: str) -> None:
    """Exchange the tasks of a service that have taken over themselves."""
    renew(people, service_id, "steady", START_FIRST)
    once(people, lambda snap: bool(pairs(snap, service_id)), lambda: end_both(people, service_id), 5.0)


def pairs(snap: Snapshot, service_id: str) -> list[tuple[Task, Task]]:
    """Return each task that is about to run beside another, and that one, which has taken over from one itself."""
    wanted = {task.id: task for task in snap.tasks_of(service_id) if task.live}
    return [
        (task, wanted[task.beside])
        for _, task in sorted(wanted.items())
        if task.state >= State.ACCEPTED and task.beside in wanted and wanted[task.beside].beside
    ]


def end_both(people: People, service_id: str) -> None:
    """Kill two containers of one place as soon as the later one runs."""
    for new, old in pairs(people.snap, service_id):
        machines = people.world.machines
        if new.node_id == old.node_id != "":
            machines[new.node_id].crash_with(new.id, old.id)
        elif old.node_id in machines:
            machines[old.node_id].crash(old.id)


def renew(
    people: People, service_id: str, image: str, config: UpdateConfig = AT_ONCE, *, credentials: bool | None = None
) -> None:
    """Let all tasks of a service be exchanged."""
    if (service := people.snap.services.get(service_id)) is None or service.is_job:
        return
    old = service.spec.task_template
    container = replace(old.container_spec, image=f"{image}:renewed")
    task = replace(old, container_spec=container, force_update=old.force_update + 1)
    spec = replace(service.spec, task_template=task, update_config=config)
    people.change(service, spec, at_once=True, credentials=credentials)


def trade(people: People) -> None:
    """Fill one node with one service and another with another; then give all nodes their share of both."""
    snap, after = people.snap, people.world.clock.after
    services = sorted(one.id for one in snap.services.values() if one.spec.mode.replicated is not None)
    ready = sorted(node.id for node in snap.nodes.values() if node.ready)
    if len(services) < 2 or len(ready) < 3:
        return
    chosen = zip(people.random.sample(services, 2), people.random.sample(ready, 2), strict=True)
    for number, (service_id, node_id) in enumerate(chosen):
        after(2.0 * number, fill, people, service_id, node_id, ready)

    def share() -> None:
        for node_id in ready:
            people.set_node(lambda spec: replace(spec, availability="active"), node_id)
        people.rebalance(people.snap.services.values(), onto=None, nodes=True)

    after(4.5, share)


def fill(people: People, service_id: str, node_id: str, ready: Sequence[str]) -> None:
    """Let a service have as many tasks as fill a node, and no other node take tasks."""
    service, node = people.snap.services.get(service_id), people.snap.nodes.get(node_id)
    if service is None or node is None:
        return
    for one in ready:
        people.set_node(lambda spec, one=one: replace(spec, availability="active" if one == node_id else "pause"), one)
    task = service.spec.task_template
    reserved = Resources(reservations=Reservation(nano_cpus=node.description.resources.nano_cpus // MORE))
    container = replace(task.container_spec, image="steady:filled")
    task = replace(task, container_spec=container, placement=None, resources=reserved)
    spec = replace(service.spec, task_template=task, update_config=AT_ONCE)
    people.change(service, replace(spec, mode=ServiceMode(replicated=Replicated(replicas=MORE))), at_once=True)


def fail_and_spread(people: People, service_id: str, node_ids: Sequence[str]) -> None:
    """Let all nodes take tasks again; let a task fail where a service has most, and spread it at that moment.

    Or allow one task a node from now on, and spread what there is.
    """
    for node_id in node_ids:
        people.set_node(lambda spec: replace(spec, availability="active"), node_id)
    if people.random.random() < 0.3:
        limit(people, service_id)
        return
    running = [task for task in people.snap.tasks_of(service_id) if task.live and task.state is State.RUNNING]
    if running:
        on = Counter(task.node_id for task in running)
        most = max(sorted(on), key=on.__getitem__)
        failing = min((task for task in running if task.node_id == most), key=lambda task: task.id)
        people.world.story.tell("somebody", "kills a container", failing.id)
        once(people, lambda snap: has_ended(snap, failing.id), lambda: people.rebalance_service(service_id), 3.0)
        people.world.machines[most].crash(failing.id)


def limit(people: People, service_id: str) -> None:
    """Allow a service one task a node; those that are there may stay, and the service is rebalanced."""
    if (service := people.snap.services.get(service_id)) is None:
        return
    task = service.spec.task_template
    placement = replace(task.placement or Placement(), max_replicas=1)
    spec = replace(service.spec, task_template=replace(task, placement=placement), update_config=AT_ONCE)
    people.change(service, spec, at_once=True)
    people.world.clock.after(people.world.clock.between(0.5, 3.0), people.rebalance_service, service_id)


def has_ended(snap: Snapshot, task_id: str) -> bool:
    """Whether a task has ended, and nobody has decided yet what follows."""
    task = snap.tasks.get(task_id)
    return task is not None and task.wanted and task.state.terminal


PLOTS: dict[Callable[[People], object], int] = {
    go_back: 8,
    crowd: 3,
    rescale: 6,
    reopen: 4,
    withdraw: 4,
    take_over_twice: 4,
    trade: 4,
}
