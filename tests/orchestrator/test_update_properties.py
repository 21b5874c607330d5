"""Whatever nodes and people do, an update keeps to its order, its pace and its direction, whoever leads."""

from collections import defaultdict
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, node, spec, state
from vault.model.base import Version, from_s
from vault.model.service import RestartPolicy, UpdateConfig, UpdateState
from vault.model.task import State, Task
from vault.orchestrator.progress import IN_PROGRESS, how_many, is_own, progress_of
from vault.orchestrator.services import Services
from vault.orchestrator.work import STOP_LIMIT_S, Work
from vault.store.changes import Put
from vault.store.decision import Decision

REPLICAS = 4
NODES = 3
NEXT = {State.ASSIGNED: State.PREPARING, State.PREPARING: State.READY, State.READY: State.STARTING}
MAY_BECOME: dict[UpdateState | None, set[UpdateState]] = {
    None: {UpdateState.UPDATING},
    UpdateState.UPDATING: {UpdateState.PAUSED, UpdateState.COMPLETED, UpdateState.ROLLBACK_STARTED},
    UpdateState.ROLLBACK_STARTED: {UpdateState.ROLLBACK_PAUSED, UpdateState.ROLLBACK_COMPLETED},
}


class Watched(World):
    """A world in which every commit of the deciders is judged."""

    def __init__(self, *, nodes: int = 2) -> None:
        self.start_first = False  # Whether any spec so far allows two tasks in a slot.
        self.nodes_fail = False  # Whether tasks may be lost, and with them what an update has done.
        # By update: the slots that it has made tasks for.
        self.exchanged: dict[tuple[datetime | None, Version | None], set[int | str]] = defaultdict(set)
        super().__init__(nodes=nodes)

    def decide(self, *, refused: bool = False) -> Decision:
        before = self.snap.services.get("web")
        decision = super().decide(refused=refused)
        service = self.snap.services.get("web")
        if not decision.changes and not self.forgetful:
            self._check_cache()
        if service is not None:
            for slot in {task.slot_key for task in self.tasks()}:
                self._check_slot([task for task in self.tasks() if task.slot_key == slot])
            was, now = (one.update_status.state if one and one.update_status else None for one in (before, service))
            assert was is now or now in MAY_BECOME[was], f"{was} -> {now}"
            if not self.nodes_fail:
                self._check_pace()
        return decision

    def _check_slot(self, tasks: list[Task]) -> None:
        wanted = [task for task in tasks if task.wanted]
        alive = [task for task in tasks if State.STARTING <= task.state <= State.RUNNING and not self._given_up(task)]
        assert len(wanted) <= 1 or {task.beside for task in wanted} & {task.id for task in wanted}, wanted
        most = 2 if self.start_first else 1
        assert len(wanted) <= most
        assert len(alive) <= most or self.nodes_fail

    def _given_up(self, task: Task) -> bool:
        """Whether nobody waits any more for a task that was asked to stop."""
        return task.stop_asked_at is not None and task.stop_asked_at.timestamp() + STOP_LIMIT_S <= self.now_s

    def _check_pace(self) -> None:
        service = self.snap.services["web"]
        status = service.update_status
        if status is None or status.state not in IN_PROGRESS or status.started_at is None:
            return
        back = status.state is UpdateState.ROLLBACK_STARTED
        config = (service.spec.rollback_config if back else service.spec.update_config) or UpdateConfig(parallelism=1)
        own = [task for task in self.tasks() if is_own(task, status)]
        in_hand = {task.slot_key for task in own if task.live and task.running_since is None}
        assert not config.parallelism or len(in_hand) <= config.parallelism, in_hand
        slots = {task.slot_key for task in own}
        update = (status.started_at, status.spec_version)
        assert self.exchanged[update] <= slots, "a slot is exchanged once, and stays so"
        self.exchanged[update] = slots

    def _check_cache(self) -> None:
        """What is remembered of an update is what a new leader would find."""
        (stage, *_) = self._control.stages
        assert isinstance(stage, Services)
        for service_id, known in stage._updates._known.items():
            service = self.snap.services[service_id]
            status = service.update_status
            if status is None or status != known.status:
                continue
            fresh = progress_of(Work(self.snap, service, now_s=self.now_s, new_id=lambda: ""), status)
            for one in (known, fresh):
                how_many(one.in_hand, from_s(self.now_s))
                how_many(one.watched, from_s(self.now_s))
            assert known == fresh

    def step(self, number: int, ends: State | None) -> None:
        """Let a node take one step with one task, if there is one to take."""
        able = [task for task in self.tasks() if not task.state.terminal and task.state >= State.ASSIGNED]
        if not able:
            return
        task = able[number % len(able)]
        if not task.wanted:
            self.observe(task, State.SHUTDOWN)
        elif task.state is State.RUNNING:
            if ends is not None:
                self.observe(task, ends)
        elif task.state is State.STARTING:
            self.observe(task, ends or State.RUNNING)
        elif task.state < State.READY or task.desired_state is State.RUNNING:
            self.observe(task, NEXT[task.state])

    def change_node(self, number: int, how: str) -> None:
        """Let something happen to a node; the last one stays."""
        node_id = f"n{number % NODES + 1}"
        if node_id not in self.snap.nodes:
            self.write(Put(node(node_id)))
            self.settle()
        elif how == "gone" and len(self.snap.nodes) > 1:
            self.remove_node(node_id)
        elif how in ("down", "ready"):
            self.set_node(node_id, state(how))
        elif how != "gone":
            self.set_node(node_id, availability(how))


CONFIGS = st.builds(
    UpdateConfig,
    parallelism=st.integers(0, 3),
    delay=st.sampled_from((0, 2 * SECOND)),
    failure_action=st.sampled_from(("pause", "continue", "rollback")),
    monitor=st.just(SECOND),
    max_failure_ratio=st.sampled_from((0.0, 0.3)),
    order=st.sampled_from(("stop-first", "start-first")),
    deadline=st.sampled_from((None, 40 * SECOND)),
)
STOP_FIRST = CONFIGS.map(lambda config: replace(config, order="stop-first"))
ONE_STEP = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 50), st.sampled_from((None, None, State.FAILED, State.COMPLETE))),
    st.tuples(st.just("go"), st.just(0), st.none()),
    st.tuples(st.just("wait"), st.integers(1, 30), st.none()),
    st.tuples(st.just("update"), st.integers(0, 2), CONFIGS),
    st.tuples(st.just("back"), st.just(0), st.none()),
    st.tuples(st.just("leader"), st.just(0), st.none()),
)
STEPS = st.lists(ONE_STEP, max_size=40)
NODE_STEPS = st.tuples(
    st.just("node"), st.integers(0, 9), st.sampled_from(("down", "ready", "drain", "pause", "active", "gone"))
)
POLICIES = st.sampled_from((None, RestartPolicy(condition="none"), RestartPolicy(delay=0)))


def play(
    steps: list[tuple[str, int, Any]],
    config: UpdateConfig,
    policy: RestartPolicy | None,
    *,
    replicas: int | None = REPLICAS,
    nodes_fail: bool = False,
) -> Watched:
    """Return the world after all that was done to it.  replicas None: a global service."""
    world = Watched(nodes=NODES)
    world.nodes_fail = nodes_fail
    world.start_first = config.order == "start-first"
    world.run(spec(replicas, update=config, rollback=config, restart=policy))
    for what, number, more in steps:
        match what:
            case "step":
                world.step(number, more)
            case "go":
                world.follow()
            case "wait":
                world.wait(number)
            case "update":
                world.start_first |= more.order == "start-first"
                world.update(spec(replicas, image=f"v{number}", update=more, rollback=more, restart=policy))
            case "back" if world.snap.services["web"].previous_spec is not None:
                world.roll_back()
            case "leader":
                world.forgetful = not world.forgetful
            case "node":
                world.change_node(number, more)
    return world


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(STEPS, CONFIGS, POLICIES)
def test_no_slot_has_more_than_two_tasks_and_no_update_leaves_its_pace_or_goes_back(
    steps: list[tuple[str, int, Any]], config: UpdateConfig, policy: RestartPolicy | None
) -> None:
    play(steps, config, policy)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.one_of(NODE_STEPS, ONE_STEP), max_size=50), CONFIGS, POLICIES, st.sampled_from((None, REPLICAS)))
def test_what_is_remembered_of_an_update_is_what_a_new_leader_finds_whatever_happens_to_nodes(
    steps: list[tuple[str, int, Any]], config: UpdateConfig, policy: RestartPolicy | None, replicas: int | None
) -> None:
    play(steps, config, policy, replicas=replicas, nodes_fail=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(STEPS.map(lambda steps: [step for step in steps if step[0] != "update"]), STOP_FIRST)
def test_stop_first_never_has_two_tasks_of_a_slot_running(
    steps: list[tuple[str, int, Any]], config: UpdateConfig
) -> None:
    update = ("update", 7, config)
    play([update, *steps, update, *steps], config, None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(STEPS, CONFIGS, POLICIES)
def test_once_nodes_behave_an_update_ends_and_runs_what_it_says(
    steps: list[tuple[str, int, Any]], config: UpdateConfig, policy: RestartPolicy | None
) -> None:
    world = play(steps, config, policy)
    world.update(spec(REPLICAS, image="last", update=config, rollback=config, restart=policy))
    for _ in range(4 * REPLICAS):
        world.follow()
        world.wait(7)
    assert world.status is None or world.status[0] in ("completed", "paused"), "only a deadline may have ended it"
    if world.status is None or world.status[0] == "completed":
        assert world.images() == ["last"] * REPLICAS
        assert all(task.state is State.RUNNING for task in world.wanted())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 50), max_size=150), st.integers(1, 3), st.booleans())
def test_while_nothing_fails_no_more_is_down_than_the_update_has_in_hand(
    numbers: list[int], parallelism: int, start_first: bool
) -> None:
    order = "start-first" if start_first else "stop-first"
    config = UpdateConfig(parallelism=parallelism, monitor=SECOND, order=order)
    world = Watched()
    world.start_first = start_first
    world.run(spec(REPLICAS, update=config))
    world.update(spec(REPLICAS, image="v2", update=config))
    for number in numbers:
        world.step(number, None)
        up = {task.slot for task in world.tasks() if task.state is State.RUNNING and task.wanted}
        assert len(up) >= REPLICAS - (0 if start_first else parallelism)


def test_a_decision_that_the_store_refused_is_made_again() -> None:
    config = UpdateConfig(parallelism=1, monitor=SECOND, failure_action="rollback", order="start-first")
    world = Watched()
    world.start_first = True
    world.run(spec(REPLICAS, update=config))
    service = world.snap.services["web"]
    new = spec(REPLICAS, image="v2", update=config)
    world.write(Put(replace(service, spec=new, previous_spec=service.spec, update_status=None)))
    world.decide(refused=True)
    world.settle()
    world.observe(world.tasks()[REPLICAS], State.FAILED, settle=False)
    world.decide(refused=True)
    world.settle()
    assert world.status == ("rollback_completed", "rollback completed")
    assert world.images() == ["v1"] * REPLICAS
