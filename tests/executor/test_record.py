"""The record of a task on this node: read back whole, or not at all."""

from pathlib import Path

import pytest

from vault.agent.executors.oci.paths import Roots
from vault.agent.executors.oci.record import read_record
from vault.model.ids import TaskID


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1, "task_id": "\xff"}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, damage: bytes) -> None:
    paths = Roots(data=tmp_path / "d", run=tmp_path / "r").task(TaskID("0" * 25))
    paths.record.parent.mkdir(parents=True)
    paths.record.write_bytes(damage)
    assert read_record(paths) is None
