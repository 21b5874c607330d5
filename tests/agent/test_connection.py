"""The node's side of sessions, against real dispatchers, in virtual time."""

import asyncio

import pytest

from tests.agent.net import Member, Memory, Net
from tests.dispatcher.world import FakeStore, Lead, cluster, node, secret, task
from tests.virtual import loop, run
from vault.agent.executors.port import Adopted, Phase
from vault.model.ids import Kind, TaskID
from vault.model.node import NodeDescription
from vault.model.task import ContainerStatus, State
from vault.rpc.call import Call
from vault.rpc.messages import Assignments, Hello, NodeRemoved, Pace, Welcome


async def until(condition: object, limit_s: float = 60.0) -> float:
    """Return after how many seconds the condition held."""
    start_s = loop().time()
    while not condition():  # type: ignore[operator]
        assert loop().time() - start_s < limit_s, "it never came true"
        await asyncio.sleep(0.01)
    return loop().time() - start_s


def state(store: FakeStore, task_id: str = "t1") -> State:
    return store.committed.tasks[task_id].state


def test_a_task_runs_and_its_states_reach_the_store() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(node("n1"), secret("s1"))
        store.put(task("t1", secrets=("s1",)))
        async with Lead(store) as lead, Member(net, Memory("a")) as member:
            net.leads["a"] = lead
            await until(lambda: state(store) is State.RUNNING)
            secrets, _, _ = member.executor.prepared["t1"]
            assert {key: value.reveal() for key, value in secrets.items()} == {"s1": b"value of s1"}
            assert member.connection.leader == "a"

    run(story())


def test_the_leader_is_found_through_another_manager() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(node("n1"))
        async with Lead(store) as lead, Member(net, Memory("down", "follower")) as member:
            net.leads["elsewhere"] = lead
            net.follows["follower"] = ("m3", "elsewhere")
            assert await until(lambda: member.connection.leader == "elsewhere") < 0.2
            assert net.dialled == ["down", "follower", "elsewhere"]

    run(story())


def test_while_nobody_leads_managers_are_asked_again_soon_and_not_all_the_time() -> None:
    async def story() -> None:
        net = Net()
        net.follows = {"a": ("", ""), "b": ("", "")}
        async with Member(net, Memory("a", "b")):
            await asyncio.sleep(10)
            assert 30 < len(net.dialled) < 100

    run(story())


def test_pauses_grow_to_two_seconds_while_no_manager_is_there() -> None:
    async def story() -> None:
        net = Net()
        async with Member(net, Memory("a")) as member:
            await asyncio.sleep(60)
            assert 28 < len(net.dialled) < 70
            member.connection.know(member.connection.managers)  # The daemon has news.
            before = len(net.dialled)
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            assert len(net.dialled) == before + 1

    run(story())


def test_a_manager_that_falls_silent_is_left_and_tried_last() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(cluster(1.0), node("n1"))
        other = FakeStore(cluster(1.0), node("n1"), epoch=(1, 2))
        async with Lead(store) as lead, Lead(other) as next_lead, Member(net, Memory("a", "b")) as member:
            net.leads = {"a": lead}
            await until(lambda: member.connection.leader == "a")
            await asyncio.sleep(100)
            assert net.dialled == ["a"]
            net.cut.add("a")
            net.leads["b"] = next_lead
            assert 2.0 < await until(lambda: member.connection.leader == "b") < 4.0
            assert net.dialled == ["a", "b"]

    run(story())


def test_a_node_that_was_stopped_for_a_while_does_not_blame_its_manager() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(cluster(1.0), node("n1"))
        async with Lead(store) as lead, Member(net, Memory("a")) as member:
            net.leads["a"] = lead
            await until(lambda: member.connection.leader == "a")
            for _ in range(10):
                loop().stall(60)
                await asyncio.sleep(1.1)
            assert net.dialled == ["a"]

    run(story())


def test_tasks_run_on_while_no_manager_answers_and_what_happened_is_told_afterwards() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(cluster(1.0), node("n1"))
        store.put(task("t1"), task("t2"))
        async with Member(net, Memory("a")) as member:
            async with Lead(store) as lead:
                net.leads["a"] = lead
                await until(lambda: state(store, "t1") is state(store, "t2") is State.RUNNING)
            del net.leads["a"]
            await asyncio.sleep(3600)
            assert set(member.executor.running) == {"t1", "t2"}
            member.executor.end("t1", 3)
            await asyncio.sleep(10)
            store.epoch = (1, 2)
            async with Lead(store) as lead:
                net.leads["a"] = lead
                await until(lambda: state(store, "t1") is State.FAILED)
                assert state(store, "t2") is State.RUNNING
                assert "stop t2" not in member.executor.calls

    run(story())


def test_a_report_that_was_not_acknowledged_is_said_again_to_the_next_leader() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(cluster(1.0), node("n1"))
        store.put(task("t1"))
        async with Member(net, Memory("a")):
            async with Lead(store) as lead:
                net.leads["a"] = lead
                store.slow_s = 1e6  # The commit never comes about.
                await asyncio.sleep(5)
                assert state(store) is State.ASSIGNED
            store.slow_s, store.epoch = 0.001, (1, 2)
            async with Lead(store) as lead:
                net.leads["a"] = lead
                await until(lambda: state(store) is State.RUNNING)

    run(story())


def test_a_restored_manager_that_knows_less_is_told_again() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(node("n1"))
        store.put(task("t1"))
        backup = FakeStore(node("n1"), epoch=(2, 0))
        backup.put(task("t1"))
        async with Member(net, Memory("a")) as member:
            async with Lead(store) as lead:
                net.leads["a"] = lead
                await until(lambda: state(store) is State.RUNNING)
                await asyncio.sleep(1)
            async with Lead(backup) as lead:
                net.leads["a"] = lead
                await until(lambda: state(backup) is State.RUNNING)
            assert member.executor.calls.count("start t1") == 1
            assert member.memory.epoch == (2, 0)

    run(story())


@pytest.mark.parametrize("admits", [True, False])
def test_a_leader_of_the_past_is_refused_by_the_node_too(admits: bool) -> None:
    """It may say so in its welcome, or name a newer epoch there and send what is old all the same."""

    async def past(call: Call) -> None:
        hello = await call.receive(Hello)
        assert (hello.generation, hello.counter) >= (1, 6)
        await call.send(Welcome(generation=1, counter=5 if admits else 7, heartbeat_s=5.0))
        message = Assignments(full=True, generation=1, counter=5, applies_to=0, sequence=1, put_tasks=(task("t1"),))
        await call.send(message)
        await call.receive(Welcome)

    async def story() -> None:
        net, memory = Net(), Memory("a")
        memory.epoch = (1, 6)
        net.others["a"] = past
        async with Member(net, memory) as member:
            await asyncio.sleep(10)
            assert member.worker.runners == {}
            assert member.executor.calls == []
            assert len(net.dialled) > 3, "it goes on looking"

    run(story())


def test_a_node_that_was_removed_ends_its_tasks_and_forgets_its_secrets() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(node("n1"), secret("s1"))
        store.put(task("t1", secrets=("s1",)))
        async with Lead(store) as lead, Member(net, Memory("a")) as member:
            net.leads["a"] = lead
            await until(lambda: state(store) is State.RUNNING)
            assert len(member.worker.machine.values) == 1
            store.delete(Kind.NODE, "n1")
            with pytest.raises(NodeRemoved):
                await member.connecting
            assert member.executor.running == {}
            assert member.executor.known == set()
            assert len(member.worker.machine.values) == 0

    run(story())


def test_what_an_earlier_vaultd_left_is_not_touched_until_a_whole_full_set_is_there() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(node("n1"))
        store.put(task("t1", state=State.STARTING))
        member = Member(net, Memory("a"))
        container = ContainerStatus(container_id="c" * 64, pid=1)
        member.executor.found = tuple(
            Adopted(task_id=TaskID(i), phase=Phase.RUNNING, container=container) for i in ("t1", "t9")
        )
        member.executor.running["t1"] = loop().create_future()
        async with member:
            await asyncio.sleep(3600)
            assert (member.executor.known, member.executor.calls) == (None, [])
            async with Lead(store) as lead:
                net.leads["a"] = lead
                await until(lambda: member.executor.known == {"t1"})
                await until(lambda: state(store) is State.RUNNING)
            assert member.executor.calls == []

    run(story())


def test_a_node_that_is_busy_with_what_it_was_told_does_not_blame_its_manager() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(cluster(1.0), node("n1"))
        member = Member(net, Memory("a"))

        async def slow(known: object) -> tuple[str, ...]:
            await asyncio.sleep(100)
            return ()

        member.executor.reap = slow  # type: ignore[method-assign, assignment]
        async with Lead(store) as lead, member:
            net.leads["a"] = lead
            await asyncio.sleep(150)
            assert net.dialled == ["a"]
            assert lead.state("n1") == "ready"

    run(story())


def test_managers_are_remembered_with_the_leader_first() -> None:
    async def story() -> None:
        net, memory = Net(), Memory("b")
        store = FakeStore(node("n1"), *(node(f"m{i}", manager=i) for i in "abc"))
        async with Lead(store) as lead, Member(net, memory) as member:
            net.leads["b"] = lead
            await until(lambda: len(memory.managers) == 3)
            assert [m.addr for m in memory.managers] == ["b", "a", "c"]
            store.put(node("md", manager="d"))
            await until(lambda: len(memory.managers) == 4)
            assert member.connection.managers == memory.managers

    run(story())


def test_a_session_carries_news_of_the_node_and_for_it() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(node("n1"))
        async with Lead(store) as lead, Member(net, Memory("a")) as member:
            net.leads["a"] = lead
            member.ok = True
            await until(lambda: lead.dispatcher.manager_ok("n1") is True)
            assert lead.dispatcher.manager_ok("n2") is None
            member.description = NodeDescription(hostname="renamed")
            member.connection.described()
            await until(lambda: store.committed.nodes["n1"].description.hostname == "renamed")
            lead.dispatcher.announce(Pace(heartbeat_s=9.0))
            await until(lambda: bool(member.announced))

    run(story())


def test_news_that_come_while_a_session_begins_are_told_in_it() -> None:
    async def story() -> None:
        net, store = Net(), FakeStore(node("n1"))

        class Renewing(Memory):
            """Something changes after Hello was sent, before there is a session."""

            async def remember_epoch(self, epoch: tuple[int, int]) -> None:
                await super().remember_epoch(epoch)
                member.description = NodeDescription(hostname="renamed")
                member.connection.described()

        async with Lead(store) as lead, Member(net, Renewing("a")) as member:
            net.leads["a"] = lead
            await until(lambda: store.committed.nodes["n1"].description.hostname == "renamed")

    run(story())


def test_two_machines_with_one_identity_end_each_others_sessions_slowly() -> None:
    async def story() -> None:
        net, twin, store = Net(), Net(), FakeStore(node("n1"))
        async with Lead(store) as lead, Member(net, Memory("a"), 1), Member(twin, Memory("a"), 2):
            net.leads["a"] = twin.leads["a"] = lead
            await asyncio.sleep(60)
            assert len(net.dialled) + len(twin.dialled) < 140

    run(story())
