"""Dispatchers and agents under seeded faults, and bytes that are no messages."""

import asyncio
import contextlib
from random import Random

import msgspec
import pytest

from tests.dispatcher.simulation import NODES, World
from tests.dispatcher.world import FakeStore, Lead, identity, node, task
from tests.virtual import run
from vault.model.errors import VaultError
from vault.model.node import NodeDescription
from vault.model.overlay import OverlayChange, OverlayEndpoint
from vault.model.task import State, TaskStatus
from vault.rpc.coding import decode
from vault.rpc.errors import UnexpectedMessage
from vault.rpc.messages import (
    Assignments,
    FromManager,
    FromNode,
    Heartbeat,
    Hello,
    LogLine,
    LogLines,
    ManagerAddress,
    Report,
    Welcome,
)
from vault.rpc.pipe import local_call


@pytest.mark.parametrize("seed", range(24))
def test_nothing_is_lost_doubled_or_told_to_the_wrong_node_whatever_breaks(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        monkeypatch.setattr("vault.dispatcher.stream.MESSAGE_BYTES", 1500)  # Every set comes in parts.

    async def story() -> None:
        async with World(seed) as world:
            for _ in range(150):
                await world.act()
                await asyncio.sleep(world.random.choice((0.0, 0.01, 0.1, 1.0)))
            await world.heal()
            await asyncio.sleep(60)
            world.check()
            await world.settle()
            await asyncio.sleep(5)
            world.check()
            for name in NODES:
                epochs = [(m.generation, m.counter) for at, m in world.arrived if at == name]
                applied = [epoch for n, epoch in enumerate(epochs) if epoch == max(epochs[: n + 1])]
                assert len(applied) > 1

    run(story())


SAMPLES = (
    Hello(protocol=1, description=NodeDescription(hostname="h"), addr="10.0.0.1"),
    Heartbeat(period_s=1.0),
    Report(number=1, statuses=(("t1", TaskStatus(state=State.RUNNING)),)),
    Welcome(generation=1, counter=1, heartbeat_s=1.0, managers=(ManagerAddress(node_id="m", addr="a:1"),)),
    Assignments(full=True, generation=1, counter=1, applies_to=0, sequence=1, put_tasks=(task("t1"),)),
    Assignments(
        full=False,
        generation=1,
        counter=1,
        applies_to=1,
        sequence=2,
        overlay=OverlayChange(
            put_endpoints=(OverlayEndpoint(network_id="n", node_id="n1", addresses=("10.0.0.2",)),),
            remove_endpoints=(("n", "t1", "n1"),),
        ),
    ),
    LogLines(lines=(LogLine(at_ns=1, stderr=False, data=b"x"),)),
)


@pytest.mark.parametrize("seed", range(20))
def test_altered_bytes_are_a_message_or_are_refused(seed: int) -> None:
    random = Random(seed)
    for _ in range(400):
        data = bytearray(msgspec.msgpack.encode(random.choice(SAMPLES)))
        for _ in range(random.randrange(1, 4)):
            match random.randrange(3):
                case 0:
                    data[random.randrange(len(data))] = random.randrange(256)
                case 1:
                    del data[random.randrange(len(data)) :]
                    data = data or bytearray(b"\xc1")
                case 2:
                    data.insert(random.randrange(len(data) + 1), random.randrange(256))
        for type_ in (FromNode, FromManager, LogLines):
            try:
                message = decode(bytes(data), type_)
            except UnexpectedMessage:
                continue
            assert isinstance(message, msgspec.Struct)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "heartbeat", "period_s": -1.0},
        {"type": "heartbeat", "period_s": float("nan")},
        {"type": "heartbeat", "period_s": 1e300},
        {"type": "report", "number": -1, "statuses": []},
        {"type": "report", "number": 1, "statuses": [["t", {}]] * 1001},
        {"type": "report", "number": 1, "statuses": [["t" * 65, {}]]},
        {"type": "hello", "protocol": 1, "description": {}, "addr": "x" * 301},
        {"type": "hello", "protocol": 1, "description": {}, "generation": 1 << 63},
        {"type": "other"},
    ],
)
def test_messages_beyond_their_bounds_are_refused(message: dict[str, object]) -> None:
    with pytest.raises(UnexpectedMessage):
        decode(msgspec.msgpack.encode(message), FromNode)


@pytest.mark.parametrize("seed", range(10))
def test_a_node_that_talks_nonsense_loses_its_session_and_nobody_else_does(seed: int) -> None:
    random = Random(seed)

    async def story() -> None:
        async with Lead(FakeStore(node("n1"), node("n2"))) as lead, lead.hand("n2") as other:
            for _ in range(20):
                async with local_call(lead.dispatcher.serve, identity("n1")) as call:
                    with contextlib.suppress(VaultError, TimeoutError):
                        async with asyncio.timeout(1):
                            await call.send(SAMPLES[0])
                            for _ in range(5):
                                await call.send(random.choice(SAMPLES))
                            while True:
                                await call.receive(FromManager)
                await other.beat()
            assert "n2" in lead.dispatcher.connected

    run(story())
