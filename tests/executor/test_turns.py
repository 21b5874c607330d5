"""Operations on one task take turns, and what has begun is finished."""

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.executor.conftest import Body, Node, secret
from tests.executor.test_life import traces
from vault.agent.executors.oci.threads import Turns
from vault.agent.executors.port import ContainerNotRunning, ExecSpec, NoSuchContainer, TaskStartFailed
from vault.model.container import ContainerSpec
from vault.model.ids import TaskID
from vault.tmpfs.mount import mounts_under

OnNode = Callable[[Body], None]


def test_operations_on_one_task_run_one_after_the_other_and_on_two_tasks_side_by_side() -> None:
    async def main() -> None:
        turns, story, gates = Turns(), list[str](), {name: asyncio.Event() for name in "abc"}

        def operation(name: str) -> Callable[[], object]:
            async def run() -> None:
                story.append(f"{name}+")
                await gates[name].wait()
                story.append(f"{name}-")

            return run

        jobs = [
            asyncio.ensure_future(turns.take(key, operation(name)))  # type: ignore[arg-type]
            for name, key in (("a", "one"), ("b", "one"), ("c", "two"))
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert story == ["a+", "c+"]
        for gate in gates.values():
            gate.set()
        await asyncio.gather(*jobs)
        assert story.index("a-") < story.index("b+")
        await turns.idle()

    asyncio.run(main())


def test_a_begun_operation_is_finished_though_its_caller_was_cancelled() -> None:
    async def main() -> None:
        turns, gate, story = Turns(), asyncio.Event(), list[str]()

        async def first() -> None:
            await gate.wait()
            story.append("first")

        async def second() -> None:
            story.append("second")

        begun = asyncio.ensure_future(turns.take("x", first))
        for _ in range(3):
            await asyncio.sleep(0)
        begun.cancel()
        following = asyncio.ensure_future(turns.take("x", second))
        with pytest.raises(asyncio.CancelledError):
            await begun
        assert story == []
        gate.set()
        await following
        assert story == ["first", "second"]

    asyncio.run(main())


def test_a_caller_cancelled_while_it_waits_for_its_turn_does_nothing_and_blocks_nobody() -> None:
    async def main() -> None:
        turns, gate, story = Turns(), asyncio.Event(), list[str]()

        async def hold() -> None:
            await gate.wait()

        async def note(name: str) -> None:
            story.append(name)

        holder = asyncio.ensure_future(turns.take("x", hold))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(turns.take("x", lambda: note("never")))
        await asyncio.sleep(0)
        waiting.cancel()
        last = asyncio.ensure_future(turns.take("x", lambda: note("last")))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(holder, last)
        assert story == ["last"]

    asyncio.run(main())


@pytest.mark.machine
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_done_to_tasks_in_whatever_order_removal_leaves_no_trace(on_node: OnNode, seed: int) -> None:
    """Cancelled preparations, double starts, stops of what never ran: the last word is with removal."""

    async def body(node: Node) -> None:
        chance = random.Random(seed)
        spec = ContainerSpec(args=("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done"),
                             secrets=(secret("k", "db"),))  # fmt: skip
        tasks = [node.task(spec) for _ in range(3)]

        async def act(number: int) -> None:
            task = tasks[number]
            task_id = TaskID(task.id)
            executor = node.executor
            choices = [
                lambda: node.prepare(task, secrets={"k": b"x"}),
                lambda: executor.start(task_id),
                lambda: executor.stop(task_id, grace_s=chance.choice((0, 1))),
                lambda: executor.kill(task_id, "KILL"),
                lambda: executor.exec(task_id, ExecSpec(args=("true",))),
                lambda: executor.remove(task_id),
                lambda: executor.wait(task_id),
            ]
            weights = (5, 5, 2, 1, 2, 1, 1)
            job = asyncio.ensure_future(chance.choices(choices, weights)[0]())
            await asyncio.wait({job}, timeout=chance.choice((0.001, 0.01, 0.3)))
            job.cancel()
            try:
                await job
            except (asyncio.CancelledError, NoSuchContainer, ContainerNotRunning, TaskStartFailed):
                return

        for _ in range(12):
            await asyncio.gather(*(act(number) for number in range(len(tasks))))
        await asyncio.gather(*(node.executor.remove(TaskID(task.id)) for task in tasks))
        assert [traces(node.base, task.id) for task in tasks] == [[], [], []]
        assert mounts_under(node.base) == []

    on_node(body)
