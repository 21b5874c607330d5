"""Tasks wait at READY until what their service depends on has been so once, and say what they wait for."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, spec
from vault.model.container import HealthConfig
from vault.model.depends import DEPENDS_LABEL
from vault.model.ids import Kind
from vault.model.service import ReplicatedJob, RestartPolicy, Service, ServiceMode, ServiceSpec, UpdateConfig
from vault.model.task import State, Task
from vault.store.changes import Delete, Put
from vault.store.rules_service import new_service, rolled_back, updated_service

ONCE = RestartPolicy(condition="none")


def named(wanted: ServiceSpec, name: str, waits: str = "") -> ServiceSpec:
    return replace(wanted, name=name, labels={DEPENDS_LABEL: waits} if waits else {})


def web(replicas: int | None = 1, *, waits: str = "db=service_started", image: str = "v1", **more: Any) -> ServiceSpec:
    return named(spec(replicas, image=image, **more), "web", waits)


def db(replicas: int | None = 1, *, image: str = "d1", **more: Any) -> ServiceSpec:
    return named(spec(replicas, image=image, **more), "db")


def checked(wanted: ServiceSpec) -> ServiceSpec:
    container = replace(wanted.task_template.container_spec, healthcheck=HealthConfig(test=("CMD", "true")))
    return replace(wanted, task_template=replace(wanted.task_template, container_spec=container))


def job(completions: int = 1) -> ServiceSpec:
    mode = ServiceMode(replicated_job=ReplicatedJob(max_concurrent=completions, total_completions=completions))
    return replace(db(), mode=mode)


class Waiting(World):
    """A world with several services."""

    def create(self, wanted: ServiceSpec, service_id: str = "web") -> None:
        """Create a service as the API does."""
        self.write(new_service(self.snap, service_id, wanted, now_s=self.now_s))
        self.settle()

    def of(self, name: str) -> list[Task]:
        """Return the tasks of a service that are wanted, by slot."""
        return [task for task in self.wanted() if task.service_name == name]

    def images_of(self, name: str) -> list[str]:
        """Return the images of the tasks of a service that are wanted, by slot."""
        return [task.spec.container_spec.image for task in self.of(name)]

    def held(self, name: str = "web") -> list[str]:
        """Return what is asked of the tasks of a service, and what they say."""
        return [f"{task.desired_state.value}: {task.status.err}" for task in self.of(name)]

    def reach(self, name: str, state: State) -> None:
        """Let all tasks of a service that have not ended report a state."""
        for task in self.of(name):
            if not task.state.terminal:
                self.observe(task, state)

    def post(self, name: str, wanted: ServiceSpec) -> None:
        """Update a service as the API does."""
        service = self.snap.services[name]
        self.write(updated_service(self.snap, name, wanted, version=service.version.index, now_s=self.now_s))
        self.settle()

    def met(self, name: str = "web") -> bool:
        return self.snap.services[name].dependencies_met


def both(*, first: ServiceSpec | None = None, second: ServiceSpec | None = None, forgetful: bool = False) -> Waiting:
    """Return a world in which web waits at READY for db, which has a task that does not run yet."""
    world = Waiting(nodes=3, forgetful=forgetful)
    world.create(second or web(), "web")
    world.create(first or db(), "db")
    world.reach("web", State.READY)
    return world


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_task_waits_ready_and_says_what_for_until_the_other_runs(forgetful: bool) -> None:
    world = both(second=web(2), forgetful=forgetful)
    assert world.held() == ["ready: waiting for service db to be running"] * 2
    world.reach("db", State.STARTING)
    assert world.held() == ["ready: waiting for service db to be running"] * 2
    world.reach("db", State.RUNNING)
    assert world.held() == ["running: "] * 2
    assert world.met()


def test_a_service_that_waits_for_one_that_is_not_there_says_so() -> None:
    world = Waiting()
    world.create(web(), "web")
    world.reach("web", State.READY)
    assert world.held() == ["ready: waiting for service db, which does not exist"]
    world.create(db(), "db")
    assert world.held() == ["ready: waiting for service db to be running"]
    gone = world.snap.services["db"]
    world.write(Delete(Kind.SERVICE, "db", gone.version.index))
    world.settle()
    assert world.held() == ["ready: waiting for service db, which does not exist"]


def test_only_tasks_that_could_start_say_what_they_wait_for() -> None:
    """What the scheduler and the node have to say of the others is not talked over."""
    world = Waiting(nodes=1)
    world.create(web(constraints=("node.labels.zone == a",)), "web")
    assert "waiting" not in world.held()[0]
    world = Waiting(nodes=1)
    world.create(web(), "web")
    for state in (State.ASSIGNED, State.PREPARING):
        world.reach("web", state)
        assert world.held() == ["ready: "]


def test_nothing_is_decided_for_ever_while_a_service_waits() -> None:
    world = both()
    assert world.decide().changes == ()
    assert world.again_s is None


def test_a_service_without_a_label_waits_for_nobody() -> None:
    world = Waiting()
    world.create(web(waits=""), "web")
    world.reach("web", State.READY)
    assert world.held() == ["running: "]
    assert not world.met()


def test_healthy_is_running_and_not_given_up_by_the_check() -> None:
    world = both(first=checked(db()), second=web(waits="db=service_healthy"))
    assert world.held() == ["ready: waiting for service db to be healthy"]
    (task,) = world.of("db")
    status = replace(task.status, state=State.RUNNING, unhealthy=True)
    world.write(Put(replace(world.snap.tasks[task.id], status=status)))
    world.settle()
    assert world.held() == ["ready: waiting for service db to be healthy"]
    world.write(Put(replace(world.snap.tasks[task.id], status=replace(status, unhealthy=False))))
    world.settle()
    assert world.held() == ["running: "]


@pytest.mark.parametrize("forgetful", [False, True])
def test_completed_is_every_slot_once_with_success(forgetful: bool) -> None:
    world = both(first=db(2, restart=ONCE), second=web(waits="db=service_completed_successfully"), forgetful=forgetful)
    world.reach("db", State.RUNNING)
    assert world.held() == ["ready: waiting for service db to complete successfully"]
    first, second = world.of("db")
    world.observe(first, State.COMPLETE)
    assert world.held() == ["ready: waiting for service db to complete successfully"]
    world.observe(second, State.COMPLETE)
    assert world.held() == ["running: "]


def test_a_task_that_failed_has_not_completed_and_its_successor_may() -> None:
    again = RestartPolicy(condition="on-failure", delay=0)
    world = both(first=db(restart=again), second=web(waits="db=service_completed_successfully"))
    world.reach("db", State.RUNNING)
    world.observe(world.of("db")[0], State.FAILED)
    assert world.held() == ["ready: waiting for service db to complete successfully"]
    world.reach("db", State.RUNNING)
    world.observe(world.of("db")[0], State.COMPLETE)
    assert world.held() == ["running: "]


def test_a_job_has_completed_when_its_present_run_has() -> None:
    waiting = web(waits="db=service_completed_successfully")
    world = both(first=job(2), second=waiting)
    for task in world.of("db"):
        assert world.held() == ["ready: waiting for service db to complete successfully"]
        world.observe(task, State.RUNNING)
        world.observe(task, State.COMPLETE)
    assert world.held() == ["running: "]
    world.reach("web", State.RUNNING)
    world.post("db", replace(job(2), labels={"another": "run"}))
    world.post("web", replace(waiting, task_template=web(image="v2").task_template))
    assert not world.met(), "the run before says nothing of this one"


def test_a_job_waits_too_and_with_each_run() -> None:
    world = Waiting()
    world.create(named(job(), "web", "db=service_started"), "web")
    world.create(db(), "db")
    world.reach("web", State.READY)
    assert world.held() == ["ready: waiting for service db to be running"]
    world.reach("db", State.RUNNING)
    assert world.held() == ["complete: "]
    world.post("web", named(job(), "web", "db=service_started"))
    assert world.met(), "db still runs"
    world.observe(world.of("db")[0], State.FAILED)
    world.post("web", named(job(), "web", "db=service_started"))
    assert not world.met()


def test_all_conditions_must_have_been_met_at_one_moment() -> None:
    world = both(second=web(waits="db=service_started,cache=service_started"))
    world.create(named(spec(1, image="c"), "cache"), "cache")
    world.reach("db", State.RUNNING)
    assert world.held() == ["ready: waiting for service cache to be running"]
    world.observe(world.of("db")[0], State.FAILED)
    world.reach("cache", State.RUNNING)
    assert world.held() == ["ready: waiting for service db to be running"]


@pytest.mark.parametrize("forgetful", [False, True])
def test_what_has_been_met_once_holds_nothing_again(forgetful: bool) -> None:
    """Restarts, more replicas and what becomes of the others later."""
    world = both(second=web(restart=RestartPolicy(delay=0)), forgetful=forgetful)
    world.reach("db", State.RUNNING)
    world.reach("web", State.RUNNING)
    world.observe(world.of("db")[0], State.FAILED)
    world.observe(world.of("web")[0], State.FAILED)
    assert [task.desired_state for task in world.of("web")] == [State.RUNNING]
    world.post("web", web(3, restart=RestartPolicy(delay=0)))
    assert [task.desired_state for task in world.of("web")] == [State.RUNNING] * 3


def running(*, forgetful: bool = False) -> Waiting:
    """Return a world in which web runs, as db did when it began."""
    world = both(forgetful=forgetful)
    world.reach("db", State.RUNNING)
    world.reach("web", State.RUNNING)
    return world


def test_an_update_that_finds_everything_as_it_must_be_does_not_wait() -> None:
    world = running()
    world.post("web", web(image="v2"))
    assert world.snap.services["web"].update_status is not None
    assert world.met()


def test_an_update_exchanges_tasks_when_what_it_waits_for_is_so_and_the_old_one_runs_on_until_then() -> None:
    world = running()
    world.observe(world.of("db")[0], State.FAILED)
    before = world.of("web")
    world.post("web", web(image="v2"))
    assert world.of("web") == before
    assert world.status == ("updating", "update in progress")
    world.wait(6)
    assert world.of("web") == before
    world.reach("db", State.RUNNING)
    assert [task.spec.container_spec.image for task in world.of("web")] == ["v2"]


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("gone", [False, True])
def test_an_update_that_waits_in_vain_is_paused_by_its_deadline_and_says_what_for(forgetful: bool, gone: bool) -> None:
    world = running(forgetful=forgetful)
    if gone:
        world.write(Delete(Kind.SERVICE, "db", world.snap.services["db"].version.index))
        world.settle()
    else:
        world.observe(world.of("db")[0], State.FAILED)
    world.post("web", web(image="v2", update=UpdateConfig(parallelism=1, deadline=60 * SECOND)))
    world.wait(59.9)
    assert world.status == ("updating", "update in progress")
    world.wait(0.2)
    reason = "waiting for service db, which does not exist" if gone else "waiting for service db to be running"
    assert world.status == (
        "paused",
        f"update paused because it was not completed within 1m0s: {reason}; 1 of 1 tasks were not exchanged yet",
    )
    assert [(task.spec.container_spec.image, task.state) for task in world.of("web")] == [("v1", State.RUNNING)]
    world.reach("db", State.RUNNING)
    assert world.images_of("web") == ["v1"], "a paused update goes on only when it is asked for again"


def test_what_a_waiting_task_says_itself_is_not_said_twice() -> None:
    world = running()
    world.observe(world.of("db")[0], State.FAILED)
    update = UpdateConfig(parallelism=1, deadline=60 * SECOND)
    world.post("web", web(image="v2", update=update, restart=RestartPolicy(delay=0)))
    world.observe(world.of("web")[0], State.FAILED)
    world.reach("web", State.READY)
    world.wait(60.1)
    reason = "web.1 is ready (waiting for service db to be running)"
    assert world.status == ("paused", f"update paused because it was not completed within 1m0s: {reason}")


def test_an_update_that_waits_in_vain_goes_back_by_its_deadline_and_what_runs_runs_on() -> None:
    world = running()
    world.observe(world.of("db")[0], State.FAILED)
    before = [task.id for task in world.of("web")]
    update = UpdateConfig(parallelism=1, monitor=SECOND, failure_action="rollback", deadline=60 * SECOND)
    world.post("web", web(image="v2", update=update))
    world.wait(70)
    assert world.status == ("rollback_completed", "rollback completed")
    assert [task.id for task in world.of("web")] == before
    status = world.snap.services["web"].update_status
    assert status is not None
    assert "waiting for service db to be running" in status.reason


def test_what_had_not_begun_before_an_update_that_waited_in_vain_goes_on_waiting_after_it() -> None:
    world = both()
    update = UpdateConfig(parallelism=1, monitor=SECOND, failure_action="rollback", deadline=60 * SECOND)
    world.post("web", web(image="v2", update=update))
    world.wait(60.1)
    assert world.status is not None
    assert world.status[0] == "rollback_started"
    assert world.held() == ["ready: waiting for service db to be running"]
    world.wait(60.1)
    assert world.status[0] == "rollback_paused"
    world.reach("db", State.RUNNING)
    assert world.held() == ["running: "]
    assert world.images_of("web") == ["v1"]


def test_an_update_that_no_longer_waits_has_the_rest_of_its_time() -> None:
    world = running()
    world.observe(world.of("db")[0], State.FAILED)
    world.post("web", web(image="v2", update=UpdateConfig(parallelism=1, deadline=60 * SECOND)))
    world.wait(40)
    world.reach("db", State.RUNNING)
    assert world.images_of("web") == ["v2"]
    world.wait(20.1)
    status = world.status
    assert status is not None
    assert status[0] == "paused"
    assert "waiting" not in status[1]


def test_an_update_of_both_waits_for_the_new_tasks_of_the_other() -> None:
    world = running()
    world.post("db", db(image="d2"))
    world.post("web", web(image="v2"))
    assert [task.spec.container_spec.image for task in world.of("web")] == ["v1"]
    old = next(task for task in world.tasks() if task.service_name == "db" and task.desired_state is State.SHUTDOWN)
    world.observe(old, State.SHUTDOWN)
    world.reach("db", State.RUNNING)
    assert [task.spec.container_spec.image for task in world.of("web")] == ["v2"]


def test_a_change_of_the_other_that_keeps_its_tasks_keeps_nobody_waiting() -> None:
    world = running()
    world.post("db", replace(db(), labels={"a": "b"}))
    world.post("web", web(image="v2"))
    assert world.met()


def test_the_way_back_is_never_barred() -> None:
    world = running()
    world.post("web", web(image="v2"))
    world.observe(world.of("db")[0], State.FAILED)
    service = world.snap.services["web"]
    world.write(rolled_back(world.snap, "web", version=service.version.index, now_s=world.now_s))
    world.settle()
    status = world.snap.services["web"].update_status
    assert status is not None
    assert status.state.value == "rollback_started"
    assert world.met()


def test_nor_is_it_barred_when_the_cluster_goes_back_by_itself() -> None:
    """The spec before the update waited for a service that is not there; what failed is not to stay for that."""
    world = Waiting(nodes=2)
    world.create(web())
    update = UpdateConfig(parallelism=1, failure_action="rollback")
    world.post("web", web(waits="", image="v2", update=update, restart=ONCE))
    world.observe(next(task for task in world.of("web") if task.spec.container_spec.image == "v2"), State.FAILED)
    for task in world.tasks():
        if not task.wanted and not task.state.terminal:
            world.observe(task, State.SHUTDOWN)
    (back,) = world.of("web")
    assert (back.spec.container_spec.image, back.desired_state) == ("v1", State.RUNNING)


def test_slots_that_are_filled_in_several_decisions_wait_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.orchestrator.replicated.MAX_NEW", 2)
    monkeypatch.setattr("vault.orchestrator.services.MAX_CHANGES", 2)
    world = both(second=web(7))
    assert [task.desired_state for task in world.of("web")] == [State.READY] * 7
    world.reach("db", State.RUNNING)
    assert [task.desired_state for task in world.of("web")] == [State.RUNNING] * 7


def test_a_global_service_waits_on_every_node() -> None:
    world = both(second=web(None))
    assert world.held() == ["ready: waiting for service db to be running"] * 3
    world.reach("db", State.RUNNING)
    assert world.held() == ["running: "] * 3


def test_a_label_that_cannot_be_read_holds_nobody() -> None:
    world = Waiting()
    world.write(Put(Service(id="web", spec=web(waits="not a label"))))
    world.settle()
    assert [task.desired_state for task in world.of("web")] == [State.RUNNING]
