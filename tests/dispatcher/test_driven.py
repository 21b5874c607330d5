"""Secrets whose values a driver gives: asked for each task, while everything else goes on."""

import asyncio

import msgspec
import pytest

from tests.dispatcher.world import Drivers, FakeStore, Hand, Lead, node, secret, task
from tests.virtual import run
from vault.dispatcher.assignments import NodeView, Wanted, difference
from vault.dispatcher.driven import request_of
from vault.model.ids import Kind
from vault.model.secret import Secret
from vault.model.service import EndpointSpec, PortConfig, Service, ServiceSpec
from vault.model.task import State
from vault.plugins.errors import PluginFailed
from vault.rpc.messages import Assignments


def driven(*task_ids: str, state: State = State.ASSIGNED) -> FakeStore:
    """Return a store with tasks that use a secret of the driver `safe`."""
    store = FakeStore(node("n1"), secret("s1", driver="safe"), secret("kept"))
    store.put(*(task(task_id, secrets=("s1",), state=state) for task_id in task_ids))
    return store


async def told(hand: Hand) -> Assignments:
    """Return the next message that has tasks in it."""
    while not (message := await hand.assignments()).put_tasks:
        pass
    return message


def test_each_task_has_the_value_that_was_given_for_it() -> None:
    async def story() -> None:
        drivers = Drivers()
        for task_id in ("t1", "t2"):
            drivers.answers[task_id].set_result(f"for {task_id}".encode())
        async with Lead(driven("t1", "t2"), drivers=drivers) as lead, lead.hand("n1") as hand:
            message = await told(hand)
            assert message.complete
            assert hand.opened(message) == {"s1.t1": b"for t1", "s1.t2": b"for t2"}
            assert sorted((name, request.task_id) for name, request in drivers.asked) == [
                ("safe", "t1"),
                ("safe", "t2"),
            ]

    run(story())


def test_a_task_waits_for_its_driver_and_nobody_else_does() -> None:
    async def story() -> None:
        drivers, store = Drivers(), driven("slow")
        store.put(task("other", secrets=("kept",)))
        async with Lead(store, drivers=drivers) as lead, lead.hand("n1") as hand:
            first = await told(hand)
            assert [one.id for one in first.put_tasks] == ["other"]
            assert not first.complete, "a full set is one only with all of its tasks: this node may have it already"
            store.put(task("later"))
            assert [one.id for one in (await told(hand)).put_tasks] == ["later"]
            drivers.answers["slow"].set_result(b"at last")
            last = await told(hand)
            assert [one.id for one in last.put_tasks] == ["slow"]
            assert (last.complete, hand.opened(last)) == (True, {"s1.slow": b"at last"})
            assert len(drivers.asked) == 1

    run(story())


def test_why_a_driver_gave_nothing_goes_to_the_node_with_the_task() -> None:
    async def story() -> None:
        drivers = Drivers()
        drivers.answers["t1"].set_exception(PluginFailed("permission denied"))
        async with Lead(driven("t1"), drivers=drivers) as lead, lead.hand("n1") as hand:
            (sealed,) = (await told(hand)).put_values
            assert (sealed.id, sealed.payload) == ("s1.t1", b"")
            assert sealed.error == "failed to get secret s1 from driver safe: permission denied"

    run(story())


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING])
def test_no_driver_is_asked_for_a_task_that_has_its_files(state: State) -> None:
    async def story() -> None:
        drivers = Drivers()
        async with Lead(driven("t1", state=state), drivers=drivers) as lead, lead.hand("n1") as hand:
            message = await told(hand)
            assert (message.complete, message.put_values, drivers.asked) == (True, (), [])

    run(story())


def test_nothing_is_asked_any_longer_for_a_task_that_is_not_wanted_any_more() -> None:
    async def story() -> None:
        drivers, store = Drivers(), driven("t1")
        async with Lead(store, drivers=drivers) as lead, lead.hand("n1") as hand:
            assert not (await hand.assignments()).complete
            store.put(msgspec.structs.replace(store.committed.tasks["t1"], desired_state=State.SHUTDOWN))
            message = await told(hand)
            assert (message.complete, message.put_values) == (True, ())
            assert drivers.answers["t1"].cancelled()

    run(story())


def test_nothing_is_asked_any_longer_for_a_node_that_is_gone() -> None:
    async def story() -> None:
        drivers = Drivers()
        async with Lead(driven("t1"), drivers=drivers) as lead:
            async with lead.hand("n1") as hand:
                await hand.assignments()
            await asyncio.sleep(1)
            assert drivers.answers["t1"].cancelled()

    run(story())


def test_a_value_is_withdrawn_when_its_task_has_started_or_its_secret_is_gone() -> None:
    async def story() -> None:
        store = driven("t1", "t2")
        view, _ = difference(NodeView(), store.committed, "n1")
        assert view.refers == {(Kind.SECRET, "s1")}
        store.put(task("t1", secrets=("s1",), state=State.STARTING))
        view, now = difference(view, store.committed, "n1")
        assert now.remove_values == ((Kind.SECRET, "s1.t1"),)
        store.delete(Kind.SECRET, "s1")
        assert difference(view, store.committed, "n1")[1].remove_values == ((Kind.SECRET, "s1.t2"),)

    run(story())


def test_a_node_gives_a_value_back_as_soon_as_its_task_has_started() -> None:
    """The task has its file by then: nobody else could ever want the value."""

    async def story() -> None:
        drivers, store = Drivers(), driven("t1")
        drivers.answers["t1"].set_result(b"for t1")
        async with Lead(store, drivers=drivers) as lead, lead.hand("n1") as hand:
            await told(hand)
            await asyncio.sleep(1)  # There is nothing more to tell.
            store.put(task("t1", secrets=("s1",), state=State.STARTING))
            assert (await hand.assignments()).remove_values == ((Kind.SECRET, "s1.t1"),)
            assert len(drivers.asked) == 1

    run(story())


def test_a_driver_is_told_who_wants_the_secret() -> None:
    async def story() -> None:
        store = FakeStore(node("n1"))
        ports = (PortConfig(protocol="udp", target_port=53, published_port=53, publish_mode="host"),)
        spec = ServiceSpec(name="web", endpoint_spec=EndpointSpec(mode="dnsrr", ports=ports))
        store.put(Service(id="w", spec=spec))
        wanted = task("t1", secrets=("s1",), service_id="w", service_name="web", service_labels={"a": "b"}, slot=3)
        obj = secret("s1", driver="safe")
        assert isinstance(obj, Secret)
        request = request_of(Wanted(obj=obj, task=wanted), store.committed)
        assert msgspec.json.decode(msgspec.json.encode(request)) == {
            "SecretName": "s1",
            "ServiceID": "w",
            "ServiceName": "web",
            "ServiceLabels": {"a": "b"},
            "TaskID": "t1",
            "TaskName": "web.3.t1",
            "TaskImage": "busybox",
            "NodeID": "n1",
            "ServiceEndpointSpec": {
                "Mode": 1,
                "Ports": [{"Protocol": 1, "TargetPort": 53, "PublishedPort": 53, "PublishMode": 1}],
            },
        }

    run(story())
