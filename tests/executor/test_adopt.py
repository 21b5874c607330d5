"""What a new vaultd finds after the last one was killed with SIGKILL, and what it does with it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.executor.conftest import FakeImage, Node, open_node
from tests.executor.crashing import KEPT
from tests.executor.test_life import traces
from vault.agent.executors.oci.paths import Roots, TaskPaths
from vault.agent.executors.oci.record import Record, identify, read_record, write_record
from vault.agent.executors.port import Adopted, Phase, Probed, TaskStartFailed
from vault.model.container import ContainerSpec
from vault.model.ids import TaskID
from vault.tmpfs.mount import mounts_under

pytestmark = [pytest.mark.machine, pytest.mark.timeout(60)]
TICKING, SHORT, PREPARED, ENDED = (TaskID(f"{number:025d}") for number in range(1, 5))


@pytest.fixture
def crashed(base: Path, busybox: Path) -> Path:
    """The roots of a vaultd that was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.executor.crashing", str(base)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    process.stdout.close()
    return base


def after(crashed: Path, busybox: Path, body: Callable[[Node, dict[TaskID, Adopted]], Awaitable[None]]) -> None:
    async def main() -> None:
        async with open_node(crashed, FakeImage(layers=(busybox,))) as node:
            found = {each.task_id: each for each in await node.executor.adopt()}
            await asyncio.wait_for(body(node, found), 30)

    asyncio.run(main())


def paths_of(node: Node, task_id: TaskID) -> TaskPaths:
    return node.executor._roots.task(task_id)


def record_of(node: Node, task_id: TaskID) -> Record:
    record = read_record(paths_of(node, task_id))
    assert record is not None
    return record


def test_running_containers_are_taken_over_with_their_logs_and_stopped_as_ever(crashed: Path, busybox: Path) -> None:
    async def body(node: Node, found: dict[TaskID, Adopted]) -> None:
        assert {task_id: each.phase for task_id, each in found.items()} == {
            TICKING: Phase.RUNNING,
            SHORT: Phase.RUNNING,
            PREPARED: Phase.PREPARED,
            ENDED: Phase.EXITED,
        }
        assert found[TICKING].container.pid > 0
        assert {task_id: each.task.id if each.task else "" for task_id, each in found.items()} == {
            task_id: task_id for task_id in found
        }
        assert (await node.exec(TICKING, "cat", "/run/secrets/db"))[1] == "s3cret"
        await node.executor.stop(TICKING)
        assert (await node.executor.wait(TICKING)).code == 5
        numbers = [int(line) for line in (await node.output(TICKING)).split()]
        assert numbers == list(range(len(numbers)))
        assert numbers

    after(crashed, busybox, body)


def test_a_probe_that_was_under_way_is_ended_and_what_was_known_of_health_is_told(crashed: Path, busybox: Path) -> None:
    async def body(node: Node, found: dict[TaskID, Adopted]) -> None:
        assert found[TICKING].health == KEPT
        assert found[SHORT].health is None
        assert not [one for one in await node.executor.top(TICKING) if "sleep 100" in one.command]
        assert not paths_of(node, TICKING).probe_pid.exists()
        assert await node.executor.probe(TICKING, ("echo", "well"), timeout_s=5) == Probed(exit_code=0, output="well\n")

    after(crashed, busybox, body)


def test_a_container_that_ends_later_gives_its_own_exit_code(crashed: Path, busybox: Path) -> None:
    async def body(node: Node, found: dict[TaskID, Adopted]) -> None:
        await node.exec(SHORT, "touch", "/go")
        assert (await node.executor.wait(SHORT)).code == 7
        assert await node.output(SHORT) == "begun\ndone\n"

    after(crashed, busybox, body)


def test_a_container_that_ended_meanwhile_is_found_with_code_time_and_log(crashed: Path, busybox: Path) -> None:
    (upper,) = crashed.glob(f"data/tasks/{SHORT}/upper")
    merged = crashed / "run/tasks" / SHORT / "rootfs"
    (merged / "go").touch()
    assert upper.is_dir()
    record = read_record(Roots(data=crashed / "data", run=crashed / "run").task(SHORT))
    assert record is not None
    conmon = record.conmon
    _until(lambda: identify(conmon.pid) != conmon)  # It goes once output and exit code are written.

    async def body(node: Node, found: dict[TaskID, Adopted]) -> None:
        exit_ = found[SHORT].exit
        assert exit_ is not None
        assert (exit_.code, exit_.lost) == (7, False)
        assert await node.output(SHORT) == "begun\ndone\n"
        assert found[ENDED].exit is not None
        assert found[ENDED].exit.code == 3
        assert await node.output(ENDED) == "early\n"
        await node.executor._live[SHORT].cleaned
        assert [each.point for each in mounts_under(crashed) if SHORT in str(each.point)] == []

    after(crashed, busybox, body)


def _until(happened: Callable[[], bool]) -> None:
    """Wait for another process; it has no way to tell us."""
    import time

    for _ in range(1000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it never happened")


def test_a_prepared_task_can_still_be_started(crashed: Path, busybox: Path) -> None:
    async def body(node: Node, found: dict[TaskID, Adopted]) -> None:
        await node.executor.start(PREPARED)
        assert await node.output(PREPARED) == "late\n"

    after(crashed, busybox, body)


def test_what_no_manager_knows_any_more_is_removed_without_a_trace(crashed: Path, busybox: Path) -> None:
    async def body(node: Node, found: dict[TaskID, Adopted]) -> None:
        assert set(await node.executor.reap({ENDED})) == {TICKING, SHORT, PREPARED}
        for task_id in (TICKING, SHORT, PREPARED):
            assert traces(crashed, task_id) == []
        assert await node.output(ENDED) == "early\n"

    after(crashed, busybox, body)


def test_reaping_needs_no_adoption_first(crashed: Path, busybox: Path) -> None:
    async def main() -> None:
        async with open_node(crashed, FakeImage(layers=(busybox,))) as node:
            await node.executor.reap(())
            assert mounts_under(crashed) == []
            assert traces(crashed, TICKING) == []

    asyncio.run(main())


def test_a_container_whose_supervisor_was_killed_too_is_ended_and_told_as_lost(crashed: Path, busybox: Path) -> None:
    record = msgspec.json.decode((crashed / f"run/tasks/{TICKING}/task.json").read_bytes(), type=Record)
    assert record.conmon is not None
    os.kill(record.conmon.pid, signal.SIGKILL)
    _until(lambda: identify(record.conmon.pid if record.conmon else 0) is None)

    async def body(node: Node, found: dict[TaskID, Adopted]) -> None:
        assert found[TICKING].phase is Phase.EXITED
        exit_ = found[TICKING].exit
        assert exit_ is not None
        assert (exit_.code, exit_.lost) == (255, True)
        assert record.container is not None
        assert identify(record.container.pid) is None
        await node.executor.remove(TICKING)
        assert traces(crashed, TICKING) == []

    after(crashed, busybox, body)


def test_after_a_reboot_nothing_of_a_running_task_is_believed(crashed: Path, busybox: Path) -> None:
    async def reboot() -> None:
        async with open_node(crashed, FakeImage(layers=(busybox,))) as node:
            await node.executor.adopt()
            await node.executor.stop(TICKING, grace_s=0)
            for task_id in (TICKING, SHORT, PREPARED):
                old: Any = msgspec.structs.replace(record_of(node, task_id), boot_id="another", ended=False)
                write_record(paths_of(node, task_id), old)
                paths_of(node, task_id).exit_file.unlink(missing_ok=True)
            fresh = await type(node.executor).open(data_root=crashed / "data", run_root=crashed / "run")
            found = {each.task_id: each for each in await fresh.adopt()}
            assert PREPARED not in found
            assert {found[TICKING].phase, found[SHORT].phase} == {Phase.EXITED}
            assert found[SHORT].exit is not None
            assert found[SHORT].exit.lost
            with pytest.raises(TaskStartFailed, match="the task is not prepared"):
                await fresh.start(PREPARED)
            await fresh.reap(())
            await fresh.close()
            assert mounts_under(crashed) == []

    asyncio.run(reboot())


def test_a_record_that_cannot_be_read_is_rubbish_and_is_removed(crashed: Path, busybox: Path) -> None:
    (crashed / f"run/tasks/{ENDED}/task.json").write_bytes(b'{"format": 99}')

    async def body(node: Node, found: dict[TaskID, Adopted]) -> None:
        assert ENDED not in found
        assert traces(crashed, ENDED) == []

    after(crashed, busybox, body)


def test_a_vaultd_killed_amid_a_start_leaves_nothing_that_runs(base: Path, busybox: Path) -> None:
    """The container may be there while nobody noted its pids yet."""

    async def main() -> None:
        async with open_node(base, FakeImage(layers=(busybox,))) as node:
            task_id = await node.prepare(node.task(ContainerSpec(args=("sleep", "100"))))
            paths, executor = paths_of(node, task_id), node.executor
            record = msgspec.structs.replace(record_of(node, task_id), launching=True)
            write_record(paths, record)
            launched = await asyncio.to_thread(
                executor._conmon.launch, executor._runtime, paths, record, log_max_bytes=1 << 20
            )
            os.kill(launched.conmon_pid, signal.SIGSTOP)  # Busy elsewhere: it does not end by itself.
            assert await executor.adopt() == ()
            assert identify(launched.conmon_pid) is None
            assert identify(launched.container_pid) is None
            assert traces(base, task_id) == []

    asyncio.run(main())


def test_a_vaultd_killed_just_before_the_start_itself_has_it_done_by_the_next(base: Path, busybox: Path) -> None:
    async def main() -> None:
        async with open_node(base, FakeImage(layers=(busybox,))) as node:
            task_id = await node.prepare(node.task(ContainerSpec(args=("echo", "late"))))
            paths, executor = paths_of(node, task_id), node.executor
            record = msgspec.structs.replace(record_of(node, task_id), launching=True)
            launched = await asyncio.to_thread(
                executor._conmon.launch, executor._runtime, paths, record, log_max_bytes=1 << 20
            )
            noted = msgspec.structs.replace(
                record,
                container=identify(launched.container_pid),
                conmon=identify(launched.conmon_pid),
                started_at=1.0,
            )
            write_record(paths, noted)
            (found,) = await executor.adopt()
            assert found.phase is Phase.RUNNING
            assert (await executor.wait(task_id)).code == 0
            assert await node.output(task_id) == "late\n"

    asyncio.run(main())
