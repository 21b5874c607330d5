"""The measurement of one node's programming still fits the code that it measures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vault.tmpfs.mount import mounts_under

pytestmark = pytest.mark.machine


def test_every_step_is_timed_and_nothing_is_left(tmp_path: Path) -> None:
    apart = ["unshare", "--net", "--mount", "--", sys.executable, "-m", "bench.network_program", str(tmp_path)]
    done = subprocess.run(apart, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    took_ms = json.loads(done.stdout)
    assert list(took_ms) == [
        "task's links made",
        "1 endpoint programmed",
        "1 endpoint removed",
        "1,000 endpoints programmed",
        "1 endpoint programmed beside 1,000",
        "1 endpoint removed beside 1,000",
        "1,000 endpoints removed",
    ]
    assert all(value > 0 for value in took_ms.values())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert mounts_under(tmp_path) == []
