"""Health probes in real containers: what they come to, and that none outlives its time."""

import asyncio
from collections.abc import Callable

import pytest

from tests.executor.conftest import Body, Node
from tests.executor.test_exec import IDLE
from vault.agent.executors.oci import healthfile
from vault.agent.executors.port import ContainerNotRunning, Probed
from vault.agent.health import Check, HealthStatus, KeptHealth
from vault.model.container import ContainerSpec
from vault.model.ids import TaskID

pytestmark = pytest.mark.machine
OnNode = Callable[[Body], None]
HANGING = ("sh", "-c", "echo on; sleep 1001 & sleep 1002")


async def probe(node: Node, task: TaskID, *command: str, timeout_s: float = 10.0) -> Probed:
    return await node.executor.probe(task, command, timeout_s=timeout_s)


async def probing(node: Node, task: TaskID) -> "asyncio.Task[Probed]":
    """Return a probe that hangs, once it and its child are there."""
    job = asyncio.create_task(probe(node, task, *HANGING, timeout_s=1000.0))
    while len(await sleepers(node, task)) < 2:
        await asyncio.sleep(0.01)
    return job


async def sleepers(node: Node, task: TaskID) -> list[str]:
    return [one.command for one in await node.executor.top(task) if "sleep 100" in one.command]


def test_a_probe_runs_as_the_containers_user_with_its_environment_and_tells_code_and_output(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE, spec=ContainerSpec(env=("A=1",), user="app"))
        result = await probe(node, task, "sh", "-c", "echo $A; id -u >&2; exit 3")
        assert result == Probed(exit_code=3, output="1\n1000\n")
        assert await probe(node, task, "true") == Probed(exit_code=0)

    on_node(body)


def test_long_output_is_cut_off_and_read_to_its_end(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        result = await probe(node, task, "sh", "-c", "dd if=/dev/zero bs=1000 count=3000 2>/dev/null")
        assert result == Probed(exit_code=0, output="\0" * 4096 + "...")

    on_node(body)


def test_a_command_that_is_not_in_the_image_says_so_and_has_no_exit_code_of_its_own(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        result = await probe(node, task, "nosuch")
        assert result.exit_code == -1
        assert result.output.endswith('exec: "nosuch": executable file not found in $PATH')

    on_node(body)


def test_a_late_probe_is_killed_with_what_it_started_and_its_output_is_kept(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        result = await probe(node, task, *HANGING, timeout_s=0.3)
        assert result == Probed(exit_code=-1, output="Health check exceeded timeout (300ms): on\n")
        assert await sleepers(node, task) == []
        assert not node.executor._roots.task(task).probe_pid.exists()
        assert (await probe(node, task, "true")).exit_code == 0

    on_node(body)


def test_a_probe_that_nobody_waits_for_any_more_is_killed(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        job = await probing(node, task)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        async with asyncio.timeout(10):
            assert (await probe(node, task, "true")).exit_code == 0  # It comes after the other's end.
        assert await sleepers(node, task) == []

    on_node(body)


def test_a_probe_that_goes_down_with_its_container_is_no_result(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        job = await probing(node, task)
        await node.executor.stop(task)
        with pytest.raises(ContainerNotRunning):
            await job
        with pytest.raises(ContainerNotRunning):
            await probe(node, task, "true")

    on_node(body)


def test_an_executor_that_closes_leaves_no_probe_behind(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        job = await probing(node, task)
        await node.executor._probes.close()
        assert (await job).exit_code == -1
        assert await sleepers(node, task) == []

    on_node(body)


def test_what_is_kept_of_health_is_found_again_and_damage_is_not_believed(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        kept = KeptHealth(check=Check(command=("true",)), status=HealthStatus.HEALTHY, failing_streak=1)
        task = await node.prepare(node.task(ContainerSpec()))
        paths = node.executor._roots.task(task)
        await node.executor.keep_health(task, kept)
        assert healthfile.read(paths) == kept
        whole = paths.health.read_bytes()
        for damaged in (b"", b"\xff", whole[:-1], whole.replace(b"healthy", b"wealthy"), b'{"format":2}', b"[]"):
            paths.health.write_bytes(damaged)
            assert healthfile.read(paths) is None
        await node.executor.remove(task)
        await node.executor.keep_health(task, kept)  # Too late, and no harm.

    on_node(body)
