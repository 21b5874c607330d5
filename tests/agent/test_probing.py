"""When a container is probed, in virtual time, and what a task with a health check reports."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from tests.agent.fakes import World
from tests.agent.test_worker import task as plain_task
from tests.virtual import loop, run
from vault.agent.executors.port import Adopted, ContainerNotRunning, Exit, Phase, Probed
from vault.agent.happenings import MISSED_AFTER, REMEMBERED, Happening, Happenings
from vault.agent.health import Check, HealthStatus, KeptHealth
from vault.agent.probing import Monitor, part_of
from vault.model.container import HealthConfig
from vault.model.errors import VaultError
from vault.model.ids import TaskID
from vault.model.task import ContainerStatus, State, Task, TaskStatus

S = 1_000_000_000
CHECK = Check(command=("probe",), interval_s=10, timeout_s=3, start_period_s=0, retries=2)
STARTING, HEALTHY, UNHEALTHY = HealthStatus


class Told(Exception):
    """The container ended, or the script did."""


async def watched(
    check: Check, *script: tuple[float, int | Exception], **begin: float
) -> tuple[list[float], list[str]]:
    """Run a monitor over a script of (how long a probe takes, what comes of it).

    Return when each probe began, and what was told of health.  When the script ends, so has the container.
    """
    left, began_s = list(script), loop().time()
    begins: list[float] = []
    told: list[str] = []

    async def probe(asked: Check) -> Probed:
        assert asked is check
        if not left:
            raise ContainerNotRunning("c")
        begins.append(round(loop().time() - began_s, 6))
        takes_s, what = left.pop(0)
        await asyncio.sleep(takes_s)
        if isinstance(what, Exception):
            raise what
        return Probed(exit_code=what)

    async def changed(kept: KeptHealth) -> None:
        told.append(f"{kept.status.value} {kept.failing_streak}")

    kept = KeptHealth(check=check, status=STARTING, failing_streak=0)
    monitor = Monitor(kept, age_s=begin.pop("age_s", 0.0), probe=probe, changed=changed, **begin)
    job = monitor.begin()
    assert job is not None
    await job
    assert monitor.begin() is None  # The last probe was made.
    return begins, told


def test_the_interval_passes_before_the_first_probe_and_from_one_ones_end_to_the_next() -> None:
    begins, told = run(watched(CHECK, (1, 0), (2, 0), (0, 0)))
    assert begins == [10, 21, 33]
    assert told == ["healthy 0"]


def test_the_start_interval_holds_until_the_first_success() -> None:
    check = replace(CHECK, start_period_s=30, start_interval_s=4)
    begins, told = run(watched(check, (0, 1), (0, 1), (0, 0), (0, 0)))
    assert begins == [4, 8, 12, 22]
    assert told == ["healthy 0"]


def test_a_container_is_probed_when_its_start_period_ends() -> None:
    check = replace(CHECK, start_period_s=9, start_interval_s=5)
    begins, told = run(watched(check, (0, 1), (0, 1), (0, 1)))
    assert begins == [5, 9, 19]
    assert told == ["starting 1", "unhealthy 2"]


def test_probes_end_once_the_container_is_given_up() -> None:
    begins, told = run(watched(CHECK, (0, 0), (0, 1), (0, 1), (0, 0)))
    assert begins == [10, 20, 30]
    assert told == ["healthy 0", "healthy 1", "unhealthy 2"]


@pytest.mark.parametrize("trouble", [VaultError("no runtime"), RuntimeError("a bug")])
def test_a_probe_that_cannot_be_run_is_a_failure_and_the_next_one_comes(trouble: Exception) -> None:
    begins, told = run(watched(CHECK, (0, trouble), (0, 0)))
    assert begins == [10, 20]
    assert told == ["starting 1", "healthy 0"]


def test_a_container_taken_over_is_as_old_as_it_is_and_its_first_probe_comes_sooner() -> None:
    check = replace(CHECK, start_period_s=60, start_interval_s=4)
    assert run(watched(check, (0, 1), (0, 1), age_s=100, first_part=0.5)) == ([5, 15], ["starting 1", "unhealthy 2"])
    assert run(watched(check, (0, 1), (0, 1), age_s=20, first_part=0.5)) == ([2, 6], [])


def test_containers_taken_over_together_are_not_probed_together() -> None:
    parts = [part_of(f"{number:025d}") for number in range(100)]
    assert all(0 <= part < 1 for part in parts)
    assert len({int(part * 10) for part in parts}) == 10


# The task.


def task(
    task_id: str = "t1", *, state: State = State.ASSIGNED, check: HealthConfig | None = None, **more: object
) -> Task:
    made = plain_task(task_id, state=state, **more)  # type: ignore[arg-type]
    check = check or HealthConfig(test=("CMD", "probe"), interval=10 * S, retries=2)
    return replace(made, spec=replace(made.spec, container_spec=replace(made.spec.container_spec, healthcheck=check)))


def played(story: Callable[[World], Awaitable[None]], *codes: int) -> World:
    """Play a story in virtual time in which probes come to these codes, the last one for ever."""

    async def main() -> World:
        async with World() as world:
            left = list(codes)

            async def probed(_: str) -> Probed:
                return Probed(exit_code=left.pop(0) if len(left) > 1 else left[0])

            world.executor.probed = probed
            await story(world)
            return world

    return run(main())


async def passing(seconds: float) -> None:
    await asyncio.sleep(seconds)


def seen(world: World, task_id: str = "t1") -> list[State]:
    return [status.state for status in world.seen[task_id]]


def last(world: World, task_id: str = "t1") -> TaskStatus:
    return world.seen[task_id][-1]


def test_a_task_is_starting_until_its_container_is_healthy() -> None:
    async def story(world: World) -> None:
        await world.assign(task())
        await passing(19)
        assert last(world).state is State.STARTING
        await passing(2)
        assert last(world).state is State.RUNNING
        assert last(world).message == "started"
        await passing(1000)

    world = played(story, 1, 0)
    assert world.executor.calls[:4] == ["prepare t1", "start t1", "probe t1: probe", "probe t1: probe"]
    assert "stop t1" not in world.executor.calls


def test_a_task_without_a_check_or_with_the_images_disabled_runs_at_once() -> None:
    async def story(world: World) -> None:
        world.images.config.healthcheck = HealthConfig(test=("CMD", "image"))
        await world.assign(task(check=HealthConfig(test=("NONE",))))
        await passing(1)
        assert last(world).state is State.RUNNING

    assert not played(story, 0).executor.kept


def test_the_images_check_is_a_tasks_where_its_service_says_nothing() -> None:
    async def story(world: World) -> None:
        world.images.config.healthcheck = HealthConfig(test=("CMD", "image"), interval=3 * S)
        await world.assign(plain_task())
        await passing(2)
        assert last(world).state is State.STARTING
        await passing(2)
        assert last(world).state is State.RUNNING

    assert "probe t1: image" in played(story, 0).executor.calls


@pytest.mark.parametrize("codes", [(1,), (0, 1)])
def test_an_unhealthy_task_says_so_is_stopped_and_has_failed_in_dockers_words(codes: tuple[int, ...]) -> None:
    async def story(world: World) -> None:
        world.executor.takes_s = 8
        await world.assign(task())
        await passing(60)
        dying, dead = world.seen["t1"][-2:]
        assert (dying.unhealthy, dying.err) == (True, "dockerexec: unhealthy container")
        assert dying.state is (State.RUNNING if 0 in codes else State.STARTING)
        assert (dead.state, dead.err) == (State.FAILED, "task: non-zero exit (143): dockerexec: unhealthy container")
        assert dead.container_status is not None
        assert dead.container_status.exit_code == 143

    world = played(story, *codes)
    assert world.executor.calls.count("stop t1") == 1
    assert world.executor.kept["t1"].status is UNHEALTHY


def test_an_unhealthy_task_that_stops_in_good_order_has_failed_all_the_same() -> None:
    async def story(world: World) -> None:
        async def stop(task_id: str, **_: object) -> None:
            world.executor.end(task_id, 0)

        world.executor.stop = stop  # type: ignore[assignment]
        await world.assign(task())
        await passing(60)
        assert (last(world).state, last(world).err) == (State.FAILED, "task: exit (0): dockerexec: unhealthy container")

    played(story, 1)


def test_a_task_that_ends_before_it_was_healthy_ends_as_its_exit_code_says() -> None:
    async def story(world: World) -> None:
        await world.assign(task("t1"), task("t2"))
        await passing(15)
        world.executor.end("t1", 0)
        world.executor.end("t2", 3)
        await passing(100)
        assert seen(world, "t1")[-2:] == [State.STARTING, State.COMPLETE]
        assert (last(world, "t2").state, last(world, "t2").err) == (State.FAILED, "task: non-zero exit (3)")

    played(story, 1)


def test_a_task_that_is_to_end_is_probed_no_more_and_a_probe_under_way_is_broken_off() -> None:
    async def story(world: World) -> None:
        probing, broken = asyncio.Event(), asyncio.Event()

        async def hanging(_: str) -> Probed:
            probing.set()
            try:
                await asyncio.sleep(1e9)
            finally:
                broken.set()
            raise Told

        world.executor.probed = hanging
        await world.assign(task())
        await probing.wait()
        await world.assign(task(desired=State.SHUTDOWN))
        await broken.wait()
        await passing(100)
        assert last(world).state is State.SHUTDOWN
        assert not last(world).unhealthy

    assert sum(call.startswith("probe") for call in played(story, 0).executor.calls) == 1


def test_whoever_listens_hears_how_a_container_fares() -> None:
    async def story(world: World) -> None:
        heard: list[tuple[str, dict[str, str]]] = []

        async def listen() -> None:
            async for some in world.worker.machine.happenings.listen():
                heard.extend((one.action, dict(one.details)) for one in some)

        listener = asyncio.create_task(listen())
        await world.assign(task())
        await passing(100)
        listener.cancel()
        assert heard == [
            ("start", {}),
            ("health_status: healthy", {}),
            ("health_status: unhealthy", {}),
            ("die", {"exitCode": "143"}),
        ]

    played(story, 0, 1)


def happening(action: str) -> Happening:
    return Happening(action=action, at=datetime.now(UTC), task=task(), image=None, container_id="c")


def test_a_listener_that_does_not_listen_misses_the_oldest_and_holds_nobody_up() -> None:
    async def story() -> list[str]:
        happenings = Happenings()
        listening = happenings.listen()
        assert await anext(listening) == ()
        for number in range(MISSED_AFTER + 11):
            happenings.tell(happening(str(number)))
        heard = [one.action for _ in range(2) for one in await anext(listening)]
        await listening.aclose()
        happenings.tell(happening("late"))
        return heard

    assert run(story()) == ["11", "12"]


def test_whoever_comes_late_hears_first_what_happened_last_and_then_what_happens() -> None:
    async def story() -> list[str]:
        happenings = Happenings()
        for number in range(REMEMBERED + 1):
            happenings.tell(happening(str(number)))
        listening = happenings.listen()
        past = await anext(listening)
        happenings.tell(happening("next"))
        assert [one.action for one in await anext(listening)] == ["next"]
        await listening.aclose()
        return [one.action for one in past]

    assert run(story()) == [str(number) for number in range(1, REMEMBERED + 1)]


def found(
    status: HealthStatus | None, *, streak: int = 0, age_s: float = 1000, phase: Phase = Phase.RUNNING
) -> Adopted:
    check = Check(command=("kept",), interval_s=10, retries=2)
    return Adopted(
        task_id=TaskID("t1"),
        phase=phase,
        container=ContainerStatus(container_id="c" * 64, pid=7),
        started_at=datetime.now(UTC) - timedelta(seconds=age_s),
        exit=Exit(code=143, finished_at=datetime.now(UTC)) if phase is Phase.EXITED else None,
        health=None if status is None else KeptHealth(check=check, status=status, failing_streak=streak),
    )


async def adopt(world: World, one: Adopted, state: State) -> None:
    """Let the worker find a container of an earlier vaultd, and the managers speak of its task."""
    world.executor.found = (one,)
    world.executor.running["t1"] = loop().create_future()
    if one.exit is not None:
        world.executor.end("t1", one.exit.code)


def restarted(story: Callable[[World], Awaitable[None]], one: Adopted, state: State, *codes: int) -> World:
    """Play a story in which a new vaultd finds `one`, a container of a task last seen in `state`."""

    async def main() -> World:
        world = World()
        await adopt(world, one, state)
        left = list(codes)

        async def probed(_: str) -> Probed:
            return Probed(exit_code=left.pop(0) if len(left) > 1 else left[0])

        world.executor.probed = probed
        async with world:
            await world.assign(task(state=state))
            await story(world)
            return world

    return run(main())


def test_a_new_vaultd_does_not_take_a_starting_container_for_a_healthy_one() -> None:
    async def story(world: World) -> None:
        await passing(1)
        assert "t1" not in world.seen
        await passing(20)
        assert last(world).state is State.RUNNING

    world = restarted(story, found(STARTING), State.STARTING, 1, 0)
    assert "probe t1: kept" in world.executor.calls


def test_a_new_vaultd_says_of_a_healthy_container_what_the_last_one_did_not_come_to_say() -> None:
    async def story(world: World) -> None:
        await passing(0.1)
        assert last(world).state is State.RUNNING

    restarted(story, found(HEALTHY), State.STARTING, 0)


def test_a_new_vaultd_fails_no_task_by_itself_and_counts_on_from_where_the_last_one_was() -> None:
    async def story(world: World) -> None:
        await passing(1000)
        assert "t1" not in world.seen

    world = restarted(story, found(HEALTHY, streak=1), State.RUNNING, 0)
    assert world.executor.calls.count("probe t1: kept") > 50

    async def failing(world: World) -> None:
        await passing(11)
        assert last(world).state is State.FAILED

    world = restarted(failing, found(HEALTHY, streak=1), State.RUNNING, 1)
    assert world.executor.calls.count("probe t1: kept") == 1


def test_a_new_vaultd_goes_on_stopping_what_was_given_up_and_knows_why_it_ended() -> None:
    words = "task: non-zero exit (143): dockerexec: unhealthy container"

    async def story(world: World) -> None:
        await passing(1)
        assert (last(world).state, last(world).err) == (State.FAILED, words)

    assert "stop t1" in restarted(story, found(UNHEALTHY), State.RUNNING, 0).executor.calls
    assert "stop t1" not in restarted(story, found(UNHEALTHY, phase=Phase.EXITED), State.RUNNING, 0).executor.calls


def test_a_new_vaultd_that_has_lost_what_was_kept_begins_anew_from_spec_and_image() -> None:
    async def story(world: World) -> None:
        await passing(1)
        assert "t1" not in world.seen
        await passing(20)
        assert last(world).state is State.RUNNING

    world = restarted(story, found(None), State.STARTING, 1, 0)
    assert "probe t1: probe" in world.executor.calls
    assert world.executor.kept["t1"].status is HEALTHY
