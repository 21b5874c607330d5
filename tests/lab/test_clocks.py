"""A wrong clock: vaultd's wall clock alone is off."""

import time
from datetime import datetime
from pathlib import Path

import pytest

from vault.lab.errors import LabError
from vault.lab.lab import Lab
from vault.lab.status import status

pytestmark = pytest.mark.machine


def seen_s(lab: Lab, node: str) -> float:
    """Return what a node's vaultd takes for the time."""
    shown = lab.node(node).vault("info", "--format", "{{.SystemTime}}").out.strip()
    return datetime.fromisoformat(shown.replace("Z", "+00:00")[:19] + "+00:00").timestamp()


@pytest.mark.parametrize("offset_s", [3600, -3600])
def test_a_clock_is_off_until_it_is_set_right(pair: Lab, offset_s: int) -> None:
    pair.clock("worker1", offset_s)
    assert abs(seen_s(pair, "worker1") - time.time() - offset_s) < 60
    assert not list(Path("/dev/shm").glob(f"*faketime*_{pair.node('worker1').pid('vaultd')}"))  # They would stay.
    assert abs(seen_s(pair, "manager1") - time.time()) < 60
    assert status(pair)[1].states == (f"clock {offset_s:+d}s",)
    pair.kill("worker1")
    pair.start("worker1")  # It stays off.
    assert abs(seen_s(pair, "worker1") - time.time() - offset_s) < 60
    pair.clock("worker1", 0)
    assert abs(seen_s(pair, "worker1") - time.time()) < 60


def test_an_offset_that_no_clock_can_have_is_refused(pair: Lab) -> None:
    with pytest.raises(LabError, match="20 years at most"):
        pair.clock("worker1", 10**10)
