"""The life of real containers, from prepare to nothing left."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from tests.executor.conftest import Body, Node, config, secret
from vault.agent.executors.oci.paths import Roots
from vault.agent.executors.port import NoSuchContainer, TaskStartFailed
from vault.model.container import ContainerSpec
from vault.model.service import Limit, Resources
from vault.tmpfs.mount import mounts_under

pytestmark = pytest.mark.machine
OnNode = Callable[[Body], None]
FOREVER = ("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
DEAF = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")


async def until_ready(node: Node, task: str) -> None:
    from vault.agent.logs import LogQuery
    from vault.model.ids import TaskID

    async for line in node.executor.logs(TaskID(task), LogQuery(follow=True)):
        assert line.data == b"ready\n"
        return


def traces(base: Path, task: str) -> list[str]:
    """Everything on this machine that speaks of a task."""
    found = [str(each.point) for each in mounts_under(base) if task in str(each.point)]
    found += [str(path) for path in base.rglob("*") if task in str(path)]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/vault/{_instance(base)}/{task}")]
    ours = os.fsencode(base / "run/tasks" / task)
    found += [pid for pid in os.listdir("/proc") if pid.isdigit() and ours in _command_line(pid)]
    return found


def _instance(base: Path) -> str:
    return Roots(data=base / "data", run=base / "run").instance


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_container_prints_on_both_streams_and_gives_its_exit_code(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run("sh", "-c", "echo out; echo err >&2; printf rest; exit 7")
        assert await node.output(task, stderr=False) == "out\nrest"
        assert await node.output(task, stdout=False) == "err\n"
        ended = await node.executor.wait(task)
        assert (ended.code, ended.oom, ended.lost) == (7, False, False)

    on_node(body)


def test_the_stop_signal_lets_a_container_end_in_its_own_way(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*FOREVER)
        await until_ready(node, task)
        await node.executor.stop(task)
        assert (await node.executor.wait(task)).code == 5

    on_node(body)


def test_a_container_deaf_to_term_is_killed_after_the_grace_time(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*DEAF)
        await until_ready(node, task)
        begun = monotonic()
        await node.executor.stop(task, grace_s=0.3)
        assert 0.3 <= monotonic() - begun < 3
        assert (await node.executor.wait(task)).code == 137

    on_node(body)


def test_another_stop_signal_can_be_asked_for(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        script = "trap 'exit 9' USR1; trap '' TERM; echo ready; while :; do sleep 0.05; done"
        task = await node.run("sh", "-c", script, spec=ContainerSpec(stop_signal="SIGUSR1"))
        await until_ready(node, task)
        await node.executor.stop(task)
        assert (await node.executor.wait(task)).code == 9

    on_node(body)


def test_with_init_a_program_that_ignores_term_as_pid_1_ends_at_once(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run("sh", "-c", "echo ready; exec sleep 100", spec=ContainerSpec(init=True))
        await until_ready(node, task)
        begun = monotonic()
        await node.executor.stop(task)
        assert monotonic() - begun < 5
        assert (await node.executor.wait(task)).code == 143

    on_node(body)


def test_a_container_over_its_memory_limit_is_killed_and_says_so(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        ended = await node.exited(
            "sh", "-c", "x=aaaaaaaa; while :; do x=$x$x; done",
            resources=Resources(limits=Limit(memory_bytes=16 << 20)),
        )  # fmt: skip
        assert (ended.code, ended.oom) == (137, True)
        assert not Path("oom").exists()  # conmon leaves its marker where it works, which must not be where we do.

    on_node(body)


def test_after_removal_no_trace_is_left_on_the_machine(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        spec = ContainerSpec(
            secrets=(secret("k", "db"), secret("k", "/etc/ssl/key.pem")), configs=(config("c", "/app.ini"),)
        )
        task = await node.run(*DEAF, spec=spec, secrets={"k": b"s3cret"}, configs={"c": b"x=1"})
        await until_ready(node, task)
        assert traces(node.base, task)
        await node.executor.remove(task)
        assert traces(node.base, task) == []
        await node.executor.remove(task)
        with pytest.raises(NoSuchContainer):
            await node.executor.wait(task)

    on_node(body)


def test_secrets_leave_memory_when_the_container_ends_and_the_log_stays(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run("cat", "/run/secrets/db", spec=ContainerSpec(secrets=(secret("k", "db"),)),
                              secrets={"k": b"printed\n"})  # fmt: skip
        await node.executor.wait(task)
        assert [each.point for each in mounts_under(node.base) if each.fstype == "tmpfs"] == []
        assert await node.output(task) == "printed\n"

    on_node(body)


def test_a_command_that_is_not_in_the_image_fails_the_start_and_leaves_no_process(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.prepare(node.task(ContainerSpec(command=("nosuch",))))
        with pytest.raises(
            TaskStartFailed, match=r'^starting container failed: exec: "nosuch": executable file not found in \$PATH$'
        ):
            await node.executor.start(task)
        assert mounts_under(node.base) == []
        await node.executor.remove(task)
        assert traces(node.base, task) == []

    on_node(body)


def test_a_second_start_is_refused_and_leaves_the_container_running(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*FOREVER)
        await until_ready(node, task)
        with pytest.raises(TaskStartFailed, match="the task was started before"):
            await node.executor.start(task)
        await node.executor.stop(task)
        assert (await node.executor.wait(task)).code == 5

    on_node(body)


def test_many_tasks_start_and_go_side_by_side(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        tasks = await asyncio.gather(*(node.run(*FOREVER) for _ in range(8)))
        assert len({(await node.executor.top(task))[0].pid for task in tasks}) == 8
        await asyncio.gather(*(node.executor.remove(task) for task in tasks))
        assert mounts_under(node.base) == []

    on_node(body)
