"""The real deciders in a simulated cluster.

`python -m tests.sim --seed 17` plays seed 17 again, exactly as it was; VAULT_SIM_SEEDS=5000 plays more of them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.breaks import listed
from tests.sim.history import play
from tests.sim.story import LINES, Violation
from vault.orchestrator.work import Work

VAULT = Path(__file__).parents[2] / "vault"
SEEDS = int(os.environ.get("VAULT_SIM_SEEDS", "40"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_cluster_comes_to_what_its_specs_say_once_faults_stop(seed: int) -> None:
    """Whatever people and faults do may delay what is wanted, never lose or double it; each change is judged."""
    world = play(seed)
    assert world.clock.steps >= 200
    assert len(world.machines) >= 3


def test_a_seed_plays_the_same_in_every_process() -> None:
    """Python orders sets anew in each process: nothing that happens may depend on that."""
    stories = [
        subprocess.run(
            [sys.executable, "-m", "tests.sim", "--histories", "8", "--told"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout.rpartition(b"\n8 histories")[0]
        for hash_seed in ("1", "2")
    ]
    assert stories[0] == stories[1]
    assert stories[0].count(b"\n") > 10


def test_a_violation_tells_its_seed_and_what_led_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that do not wait for their predecessor to stop are seen, with the slot's own story."""
    monkeypatch.setattr(Work, "may_run", lambda work, task: False)
    with pytest.raises(Violation) as caught:
        list(map(play, range(20)))
    lines = str(caught.value).splitlines()
    assert "slot s" in lines[0]
    assert lines[1].startswith("seed ")
    assert 5 < len(lines) <= LINES + 3


def test_every_break_of_the_mutation_check_fits_the_code_as_it_is() -> None:
    """Who changes a decider changes the list with it: `make mutations` plays them."""
    for one in listed():
        compile(one.applied((VAULT / one.path).read_text()), one.path, "exec")
