"""What a node keeps of its overlay networks for the next vaultd."""

import asyncio
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from vault.model.network import IPAMConfig
from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork
from vault.network.overlay.records import LinkRecord, Records, StateKeeper, TaskRecord
from vault.network.overlay.state import OverlayState

NETWORK = OverlayNetwork(id="n", name="n", vxlan_id=4097, configs=(IPAMConfig(subnet="10.0.1.0/24"),))
TASK = TaskRecord(
    task_id="t1",
    links=(LinkRecord(network=NETWORK, device="eth0", addresses=("10.0.1.5/24",)),),
    nameservers=("192.0.2.53",),
)
STATE = OverlayState().applied(
    OverlayChange(put_networks=(NETWORK,), put_endpoints=(OverlayEndpoint(network_id="n", task_id="t1", node_id="a"),))
)


def test_what_was_written_is_read_again_and_nothing_is_left_of_what_was_removed(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert (list(records.tasks()), records.state()) == ([], ("", OverlayState()))
    records.put_task(TASK)
    records.put_state("a", STATE)
    again = Records(tmp_path)
    assert (list(again.tasks()), again.state()) == ([TASK], ("a", STATE))
    again.remove_task("t1")
    again.remove_task("t1")
    again.put_state("a", OverlayState())
    assert list(tmp_path.iterdir()) == []


def test_files_are_for_root_alone(tmp_path: Path) -> None:
    Records(tmp_path).put_state("a", STATE)
    assert [oct(path.stat().st_mode)[-3:] for path in tmp_path.rglob("*")] == ["700", "600"]


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b'{"task_id": 1}', b"\xff\xfe", b'{"version": 9, "node_id": "a", "state": {}}']
)
def test_what_cannot_be_read_is_as_if_it_were_not_there(tmp_path: Path, damage: bytes) -> None:
    records = Records(tmp_path)
    records.put_task(TASK)
    records.put_state("a", STATE)
    for path in (tmp_path / "overlay").iterdir():
        path.write_bytes(damage)
    assert (list(records.tasks()), records.state()) == ([], ("", OverlayState()))
    assert not (tmp_path / "overlay" / "t1.json").exists()


def test_an_address_that_is_none_makes_a_record_unreadable(tmp_path: Path) -> None:
    records = Records(tmp_path)
    bad = LinkRecord(network=NETWORK, device="eth0", addresses=("10.0.1.5; reboot",))
    records.put_task(TaskRecord(task_id="t2", links=(bad,)))
    assert list(records.tasks()) == []


def test_states_that_come_while_one_is_written_are_written_once_and_the_newest_last(tmp_path: Path) -> None:
    records = Records(tmp_path)
    written: list[OverlayState] = []
    go = threading.Event()

    def put(node_id: str, state: OverlayState) -> None:
        assert go.wait(5)
        written.append(state)

    records.put_state = put  # type: ignore[method-assign]

    async def main() -> None:
        keeper = StateKeeper(records, OverlayState())
        states = [STATE.applied(OverlayChange(put_networks=(replace(NETWORK, mtu=mtu),))) for mtu in range(1, 30)]
        keeper.put("a", states[0])
        await asyncio.sleep(0)
        for state in states[1:]:
            keeper.put("a", state)
        go.set()
        await keeper.settle()
        assert written == [states[0], states[-1]]

    asyncio.run(main())
