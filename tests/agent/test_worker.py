"""The agent against an executor in memory: what it does with assignments, and what it reports."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.agent.fakes import World
from vault.agent.executors.port import HOST_NETWORK, Adopted, Exit, HostEntry, Phase, TaskRejected
from vault.agent.worker import Gap, Replayed
from vault.model.container import ContainerSpec, Mount
from vault.model.ids import Kind, TaskID
from vault.model.network import Network, NetworkAttachment, NetworkSpec
from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork
from vault.model.registry_auth import AuthConfig
from vault.model.secret import FileTarget, SecretReference
from vault.model.service import PortConfig, TaskSpec
from vault.model.task import ContainerStatus, State, Task, TaskStatus
from vault.network.links.ports import PortNotPublished
from vault.rpc.messages import Assignments, SealedValue


def task(task_id: str = "t1", *, desired: State = State.RUNNING, state: State = State.ASSIGNED, image: str = "busybox",
         secrets: tuple[str, ...] = (), **fields: object) -> Task:  # fmt: skip
    references = tuple(SecretReference(file=FileTarget(name=s), secret_id=s, secret_name=s) for s in secrets)
    return Task(
        id=task_id,
        spec=TaskSpec(container_spec=ContainerSpec(image=image, secrets=references)),
        node_id="n1",
        desired_state=desired,
        status=TaskStatus(state=state),
        **fields,  # type: ignore[arg-type]
    )


def value(object_id: str) -> SealedValue:
    return SealedValue(kind=Kind.SECRET, id=object_id, name=object_id, version=1, payload=object_id.encode())


def run(story: Callable[[World], Awaitable[None]]) -> World:
    async def main() -> World:
        async with World() as world:
            await story(world)
            return world

    return asyncio.run(main())


def test_a_task_is_prepared_started_and_reported_running() -> None:
    async def story(world: World) -> None:
        await world.assign(task())
        status = await world.until("t1", State.RUNNING)
        assert status.container_status == ContainerStatus(container_id="c" * 64, pid=7)

    assert run(story).executor.calls == ["prepare t1", "start t1"]


def with_images(*sources: str) -> Task:
    mounts = tuple(Mount(type="image", source=source, target=f"/{n}") for n, source in enumerate(sources))
    fresh = task()
    container = msgspec.structs.replace(fresh.spec.container_spec, mounts=mounts)
    return msgspec.structs.replace(fresh, spec=msgspec.structs.replace(fresh.spec, container_spec=container))


def test_the_images_that_a_task_mounts_are_fetched_for_it_once_each() -> None:
    async def story(world: World) -> None:
        await world.assign(with_images("tools", "{{.Node.Hostname}}", "tools"))
        await world.until("t1", State.RUNNING)
        assert list(world.executor.mounted["t1"]) == ["tools", "host"]
        assert list(world.worker.runners["t1"].mounted) == ["tools", "host"]

    run(story)


def test_a_task_whose_mounted_image_cannot_be_had_is_rejected() -> None:
    async def story(world: World) -> None:
        await world.assign(with_images("missing"))
        status = await world.until("t1", State.REJECTED)
        assert status.err == "No such image: missing:latest"

    run(story)


def test_a_task_waits_prepared_until_it_should_run() -> None:
    async def story(world: World) -> None:
        await world.assign(task(desired=State.READY))
        await world.until("t1", State.READY)
        assert "start t1" not in world.executor.calls
        await world.assign(task())
        await world.until("t1", State.RUNNING)

    run(story)


def test_an_exit_code_is_told() -> None:
    async def story(world: World) -> None:
        await world.assign(task())
        await world.until("t1", State.RUNNING)
        world.executor.end("t1", 3)
        status = await world.until("t1", State.FAILED)
        assert status.err == "task: non-zero exit (3)"
        assert status.container_status is not None
        assert status.container_status.exit_code == 3

    run(story)


def test_a_task_gets_the_secrets_it_refers_to_and_no_others() -> None:
    async def story(world: World) -> None:
        await world.assign(task(secrets=("s1",)), put_values=(value("s1"), value("s2")))
        await world.until("t1", State.RUNNING)
        secrets, _, _ = world.executor.prepared["t1"]
        assert {key: plain.reveal() for key, plain in secrets.items()} == {"s1": b"s1"}

    run(story)


def test_credentials_that_come_while_an_image_is_pulled_are_those_that_are_asked_for_then() -> None:
    async def story(world: World) -> None:
        world.images.slow = asyncio.Event()
        first = task()
        await world.assign(first, put_values=(credentials(first.service_id, "of old"),))
        await world.until("t1", State.PREPARING)
        await world.assign(put_values=(credentials(first.service_id, "newer"),))
        world.images.slow.set()
        await world.until("t1", State.RUNNING)
        passwords = [shown and shown.password and shown.password.reveal() for shown in world.images.shown]
        assert passwords == [b"of old", b"newer"]

    run(story)


def credentials(service_id: str, password: str) -> SealedValue:
    return SealedValue(
        kind=Kind.REGISTRY_AUTH,
        id=service_id,
        name="",
        version=1,
        payload=msgspec.json.encode(AuthConfig(username="alice", password=password)),
    )


def test_a_task_without_its_secret_is_rejected_with_the_reason() -> None:
    async def story(world: World) -> None:
        await world.assign(task(secrets=("gone",)))
        status = await world.until("t1", State.REJECTED)
        assert "secret gone is no longer in the store" in status.err

    run(story)


def test_of_a_secret_with_a_driver_each_task_gets_the_value_that_is_its_own() -> None:
    async def story(world: World) -> None:
        own = tuple(msgspec.structs.replace(value(f"s1.{one}"), name="s1") for one in ("t1", "t2"))
        await world.assign(task("t1", secrets=("s1",)), task("t2", secrets=("s1",)), put_values=own)
        for task_id in ("t1", "t2"):
            await world.until(task_id, State.RUNNING)
            secrets, _, _ = world.executor.prepared[task_id]
            assert secrets["s1"].reveal() == f"s1.{task_id}".encode()

    run(story)


def test_what_the_driver_of_a_secret_said_instead_of_a_value_is_why_the_task_is_rejected() -> None:
    async def story(world: World) -> None:
        told = "failed to get secret db from driver safe: permission denied"
        refused = SealedValue(kind=Kind.SECRET, id="s1.t1", name="db", version=1, error=told)
        await world.assign(task(secrets=("s1",)), put_values=(refused,))
        status = await world.until("t1", State.REJECTED)
        assert status.err == told

    run(story)


def test_a_value_that_was_given_is_kept_when_the_driver_is_asked_again_in_vain() -> None:
    async def story(world: World) -> None:
        world.images.slow = asyncio.Event()
        given = value("s1.t1")
        refused = msgspec.structs.replace(given, payload=b"", error="the safe is away")
        await world.assign(task(secrets=("s1",)), put_values=(given,))
        await world.assign(task(secrets=("s1",)), full=True, put_values=(refused,))
        world.images.slow.set()
        await world.until("t1", State.RUNNING)
        assert world.executor.prepared["t1"][0]["s1"].reveal() == b"s1.t1"

    run(story)


@pytest.mark.parametrize("image", ["missing", "busybox"])
def test_what_cannot_be_prepared_is_rejected_and_nothing_is_left(image: str) -> None:
    async def story(world: World) -> None:
        if image == "busybox":
            world.executor.refuse = TaskRejected("bind source path does not exist: /no")
        await world.assign(task(image=image))
        status = await world.until("t1", State.REJECTED)
        assert status.err in ("No such image: missing:latest", "bind source path does not exist: /no")

    assert run(story).executor.calls[-1] == "remove t1"


def test_a_bug_in_the_executor_ends_the_task_and_not_the_agent() -> None:
    async def story(world: World) -> None:
        world.executor.refuse = RuntimeError("the secret is hunter2")
        await world.assign(task())
        status = await world.until("t1", State.REJECTED)
        assert "RuntimeError" in status.err
        assert "hunter2" not in status.err
        world.executor.refuse = None
        await world.assign(task("t2"))
        await world.until("t2", State.RUNNING)

    run(story)


def test_a_task_asked_to_end_is_stopped_and_forgotten_once_dropped() -> None:
    async def story(world: World) -> None:
        await world.assign(task())
        await world.until("t1", State.RUNNING)
        await world.assign(task(desired=State.REMOVE))
        await world.until("t1", State.SHUTDOWN)
        await world.assign(remove_tasks=("t1",))
        await world.called("remove t1")

    run(story)


def test_a_long_pull_is_broken_off_when_the_task_is_no_longer_wanted() -> None:
    async def story(world: World) -> None:
        world.images.slow = asyncio.Event()
        await world.assign(task())
        await world.until("t1", State.PREPARING)
        await world.assign(task(desired=State.SHUTDOWN))
        await world.until("t1", State.SHUTDOWN)

    assert "start t1" not in run(story).executor.calls


def test_host_ports_get_a_namespace_that_goes_with_the_task() -> None:
    async def story(world: World) -> None:
        port = PortConfig(target_port=80, published_port=8080, publish_mode="host")
        await world.assign(task(host_ports=(port,)))
        status = await world.until("t1", State.RUNNING)
        assert status.port_status.ports == (port,)
        assert world.networks.made == {"t1": (port,)}
        assert world.executor.prepared["t1"][2] != HOST_NETWORK
        world.executor.end("t1", 0)
        await world.until("t1", State.COMPLETE)
        assert world.networks.made == {}

    run(story)


def test_a_task_that_names_its_node_is_prepared_once_it_is_known_where_that_is() -> None:
    async def story(world: World) -> None:
        made = task(host_ports=(PortConfig(target_port=80),))
        container = msgspec.structs.replace(made.spec.container_spec, hosts=("host-gateway node",))
        spec = msgspec.structs.replace(made.spec, container_spec=container)
        await world.assign(msgspec.structs.replace(made, spec=spec))
        await world.until("t1", State.RUNNING)
        assert world.executor.prepared["t1"][2].gateway == "172.20.0.1"

    run(story)


def test_a_task_on_overlay_networks_has_its_namespace_its_own_address_and_the_resolver_there() -> None:
    async def story(world: World) -> None:
        network = Network(id="net", spec=NetworkSpec(name="front"))
        attachment = NetworkAttachment(network=network, addresses=("10.0.1.5/24",))
        await world.assign(task(networks_attachments=(attachment,)))
        await world.until("t1", State.RUNNING)
        view = world.executor.prepared["t1"][2]
        assert view.namespace == Path("/run/netns/t1")
        assert view.hosts == (HostEntry(address="10.0.1.5"),)
        assert (view.nameservers, view.options) == (("127.0.0.11",), ("ndots:0",))
        world.executor.end("t1", 0)
        await world.until("t1", State.COMPLETE)
        assert world.networks.made == {}

    run(story)


def test_links_are_made_while_the_container_is_prepared() -> None:
    async def story(world: World) -> None:
        world.networks.meanwhile = world.executor.preparing
        attachment = NetworkAttachment(network=Network(id="net", spec=NetworkSpec()), addresses=("10.0.1.5/24",))
        await world.assign(task(networks_attachments=(attachment,)))
        await world.until("t1", State.RUNNING)
        assert world.networks.made == {"t1": ()}

    run(story)


def test_a_task_whose_links_cannot_be_made_is_rejected_with_the_reason_and_nothing_is_left() -> None:
    async def story(world: World) -> None:
        world.networks.refuse = PortNotPublished("t1", "port is already allocated")
        await world.assign(task(host_ports=(PortConfig(target_port=80, published_port=80, publish_mode="host"),)))
        assert (await world.until("t1", State.REJECTED)).err.endswith("t1: port is already allocated")
        assert (world.networks.made, world.executor.prepared) == ({}, {})

    run(story)


def test_a_restarted_agent_adopts_what_runs_and_tells_what_ended_meanwhile() -> None:
    async def story(world: World) -> None:
        done = Exit(code=9, finished_at=datetime(2026, 1, 1, tzinfo=UTC))
        container = ContainerStatus(container_id="c" * 64, pid=1)
        world.executor.found = (
            Adopted(task_id=TaskID("t1"), phase=Phase.RUNNING, container=container),
            Adopted(task_id=TaskID("t2"), phase=Phase.EXITED, container=container, exit=done),
            Adopted(task_id=TaskID("t3"), phase=Phase.PREPARED, container=container),
        )
        world.executor.running["t1"] = asyncio.get_running_loop().create_future()
        await world.assign(*(task(t, state=State.RUNNING) for t in ("t1", "t2")), task("t3", state=State.READY))
        assert (await world.until("t2", State.FAILED)).err == "task: non-zero exit (9)"
        await world.until("t3", State.RUNNING)
        assert world.executor.known == {"t1", "t2", "t3"}
        world.executor.end("t1", 0)
        await world.until("t1", State.COMPLETE)

    assert "prepare t1" not in run(story).executor.calls


def test_tasks_of_an_earlier_agent_are_known_before_a_manager_speaks_of_them_and_nothing_is_done_for_them() -> None:
    async def story() -> None:
        world = World()
        container = ContainerStatus(container_id="c" * 64, pid=1)
        world.executor.found = tuple(
            Adopted(task_id=TaskID(name), phase=Phase.RUNNING, container=container, task=task(name))
            for name in ("t1", "t2", "t3")
        )
        world.executor.running = {name: asyncio.get_running_loop().create_future() for name in ("t1", "t2", "t3")}
        async with world:
            await world.worker.ready()
            known = world.worker.known
            assert {name: (one.container, one.local.phase) for name, one in known.items()} == dict.fromkeys(
                ("t1", "t2", "t3"), (container, Phase.RUNNING)
            )
            world.executor.end("t2", 9)
            async with asyncio.timeout(5):
                while known["t2"].local.phase is not Phase.EXITED:
                    await asyncio.sleep(0)
            assert world.executor.calls == []
            await world.assign(*(task(name, state=State.RUNNING) for name in ("t1", "t2")))
            assert (await world.until("t2", State.FAILED)).err == "task: non-zero exit (9)"
            assert world.worker.known.keys() == world.worker.runners.keys() == {"t1", "t2"}

    asyncio.run(story())


def test_a_task_that_ends_while_no_manager_answers_leaves_its_networks_at_once() -> None:
    async def story() -> None:
        world = World()
        container = ContainerStatus(container_id="c" * 64, pid=1)
        phases = {"t1": Phase.RUNNING, "t2": Phase.EXITED, "t3": Phase.PREPARED, "t4": Phase.RUNNING}
        world.executor.found = tuple(
            Adopted(task_id=TaskID(name), phase=phase, container=container) for name, phase in phases.items()
        )
        world.executor.running = {name: asyncio.get_running_loop().create_future() for name in ("t1", "t4")}
        world.networks.made = dict.fromkeys(phases, ())
        async with world:
            await world.worker.ready()
            world.executor.end("t1", 1)
            async with asyncio.timeout(5):
                while world.networks.made.keys() != {"t3", "t4"}:
                    await asyncio.sleep(0)
            await world.assign(*(task(name, state=State.RUNNING) for name in ("t1", "t4")))
            assert (await world.until("t1", State.FAILED)).err == "task: non-zero exit (1)"

    asyncio.run(story())


def test_a_full_set_drops_what_it_does_not_name() -> None:
    async def story(world: World) -> None:
        await world.assign(task("t1"), task("t2"))
        await world.until("t1", State.RUNNING)
        await world.until("t2", State.RUNNING)
        await world.assign(task("t2", state=State.RUNNING), full=True)
        await world.called("remove t1")
        assert "stop t2" not in world.executor.calls

    run(story)


FRONT = OverlayNetwork(id="front", name="front", vxlan_id=4096)


def endpoint(task_id: str) -> OverlayEndpoint:
    return OverlayEndpoint(network_id="front", task_id=task_id, node_id="n2")


def told(world: World) -> list[str]:
    """Return the endpoints that the node's networks were told of."""
    overlay = world.networks.told.get("front")
    return [] if overlay is None else sorted(key.task_id for key in overlay.endpoints)


def test_networks_are_there_before_the_tasks_that_come_with_them() -> None:
    async def story(world: World) -> None:
        world.networks.slow = asyncio.Event()
        change = OverlayChange(full=True, put_networks=(FRONT,), put_endpoints=(endpoint("o1"),))
        assigning = asyncio.create_task(world.assign(task(), overlay=change))
        while not world.networks.applied:
            await asyncio.sleep(0)
        assert world.worker.runners == {}
        world.networks.slow.set()
        await assigning
        assert told(world) == ["o1"]
        await world.until("t1", State.RUNNING)

    run(story)


def test_parts_of_networks_are_applied_together_and_those_of_a_session_that_broke_off_never() -> None:
    async def story(world: World) -> None:
        first = OverlayChange(full=True, put_networks=(FRONT,), put_endpoints=(endpoint("old"),))
        await world.assign(full=True, overlay=first, overlay_complete=False, complete=False)
        await world.assign(overlay=OverlayChange(put_endpoints=(endpoint("o2"),)), overlay_complete=False)
        assert world.networks.applied == []
        world.worker.begin((1, 1))
        again = OverlayChange(full=True, put_networks=(FRONT,), put_endpoints=(endpoint("o1"),))
        await world.assign(full=True, overlay=again, overlay_complete=False, complete=False)
        await world.assign(task(), overlay=OverlayChange(put_endpoints=(endpoint("o3"),)))
        assert len(world.networks.applied) == 1
        assert told(world) == ["o1", "o3"]

    run(story)


def test_a_message_that_leaves_a_gap_changes_no_network() -> None:
    async def story(world: World) -> None:
        await world.assign(overlay=OverlayChange(full=True, put_networks=(FRONT,)))
        lost = Assignments(
            full=False, generation=1, counter=1, applies_to=7, sequence=8,
            overlay=OverlayChange(put_endpoints=(endpoint("o1"),)),
        )  # fmt: skip
        with pytest.raises(Gap):
            await world.worker.assign(lost)
        assert told(world) == []

    run(story)


def test_a_session_that_ends_while_networks_follow_lets_them_finish_before_the_next_is_heard() -> None:
    async def story(world: World) -> None:
        world.networks.slow = asyncio.Event()
        first = OverlayChange(full=True, put_networks=(FRONT,), put_endpoints=(endpoint("o1"),))
        assigning = asyncio.create_task(world.assign(full=True, overlay=first))
        while not world.networks.applied:
            await asyncio.sleep(0)
        assigning.cancel()
        await asyncio.gather(assigning, return_exceptions=True)
        world.worker.begin((1, 1))
        second = OverlayChange(full=True, put_networks=(FRONT,), put_endpoints=(endpoint("o2"),))
        again = asyncio.create_task(world.assign(full=True, overlay=second))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(world.networks.applied) == 1, "one at a time"
        world.networks.slow.set()
        await again
        assert told(world) == ["o2"]

    run(story)


def test_a_node_that_is_released_forgets_every_network() -> None:
    async def story(world: World) -> None:
        await world.assign(overlay=OverlayChange(full=True, put_networks=(FRONT,)))
        await world.worker.release()
        assert list(world.networks.told) == []

    run(story)


def test_a_full_set_in_parts_drops_nothing_before_its_last_part_and_can_be_begun_again() -> None:
    async def story(world: World) -> None:
        await world.assign(task("t1"), task("t2"), task("t3"))
        for name in ("t1", "t2", "t3"):
            await world.until(name, State.RUNNING)
        running = [task(f"t{number}", state=State.RUNNING) for number in (1, 2, 3)]
        await world.assign(running[0], full=True, complete=False, put_values=(value("s1"),))
        await world.assign(running[1], full=True, complete=False)  # A new session; the other broke off.
        await world.assign(running[0], put_values=(value("s2"),), complete=False)
        await asyncio.sleep(0.01)
        assert {"t1", "t2", "t3"} == set(world.executor.running)
        await world.assign(remove_tasks=("t2",))
        await world.called("remove t2")
        await world.called("remove t3")
        assert "stop t1" not in world.executor.calls
        assert list(world.worker.machine.values._kept) == [(Kind.SECRET, "s2")]

    run(story)


def test_a_gap_in_the_stream_and_an_older_leader_are_refused() -> None:
    async def story(world: World) -> None:
        await world.assign(task())
        message = Assignments(full=False, generation=1, counter=1, applies_to=5, sequence=6)
        with pytest.raises(Gap):
            await world.worker.assign(message)
        with pytest.raises(Replayed):
            await world.worker.assign(msgspec.structs.replace(message, full=True, counter=0))
        world.worker.begin((1, 1))
        with pytest.raises(Gap):  # It would follow, had it been of the same session.
            await world.worker.assign(msgspec.structs.replace(message, applies_to=1, sequence=2))

    run(story)


def test_releasing_a_node_leaves_no_task() -> None:
    async def story(world: World) -> None:
        await world.assign(task("t1"), task("t2"))
        await world.until("t2", State.RUNNING)
        await world.worker.release()
        assert world.worker.runners == {}

    run(story)


def test_a_node_that_goes_takes_no_task_or_value_of_a_manager_that_replaces_what_ends() -> None:
    async def story(world: World) -> None:
        await world.assign(task("t1"))
        await world.until("t1", State.RUNNING)
        going = asyncio.create_task(world.worker.release())
        for number in range(2, 50):
            await world.assign(task(f"t{number}", secrets=("s1",)), put_values=(value("s1"),))
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await going
        assert world.worker.runners == {}
        assert len(world.worker.machine.values) == 0
        assert world.executor.prepared == {}

    run(story)
