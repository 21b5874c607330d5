"""The short form of faults: clients write, it happens, it is mended, and nothing was lost, doubled or untrue.

Safety, and that it recovers within 60 s; speed is measured elsewhere.  The campaign makes all faults, by seed; here
those that differ from another of these only by degree are left out, for the time they take.
"""

import pytest

from tests.cluster.nemesis import clocks, disks, links, members, moves, processes, rotations, work
from tests.cluster.nemesis.base import Fault
from tests.cluster.survive import Survival, shown
from tests.cluster.world import World

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]

SHORT: tuple[type[Fault], ...] = (
    # First: they last the longer the more records the other faults' clients have left.
    rotations.RotateDataKeyWhileLeaderDies,
    processes.KillLeader, processes.KillLeaderVaultd, processes.KillLeaderEtcd, processes.KillAll,
    processes.PauseLeader,
    links.CutLeader,
    disks.FullDisk, disks.DamagedDatabase,
    clocks.LeaderFast,
    members.PromoteAndDemote, members.DemoteLeader, members.LeaveAndJoin, members.DeadManagerReplaced,
    rotations.RotateCAWhileLeaderDies, rotations.RotateTokens, rotations.RotateUnlockKey,
    work.UpdateWhileLeaderDies, work.RestartDelayWhileLeaderDies,
)  # fmt: skip

SHORT_MOVES: tuple[type[Fault], ...] = (moves.AtCommit, moves.JoinerAtEntry)


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
def test_a_cluster_survives(cluster: World, fault: type[Fault]) -> None:
    run = Survival(cluster, fault, seed=1).run()
    assert run.survived, shown([run])
    assert run.acknowledged > 50, "the load did not stand still"


@pytest.mark.parametrize("move", SHORT_MOVES, ids=lambda move: move.name)
def test_the_move_to_several_managers_survives(pair: World, move: type[Fault]) -> None:
    run = Survival(pair, move, seed=1).run()
    assert run.survived, shown([run])
