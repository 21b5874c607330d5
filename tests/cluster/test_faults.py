"""The short form of every fault: clients write, it happens, it is mended, and nothing was lost, doubled or untrue.

Safety, and that it recovers within 60 s; speed is measured elsewhere.  The campaign repeats these by seed.
"""

import pytest

from tests.cluster.nemesis import clocks, disks, links, members, moves, processes, rotations, work
from tests.cluster.nemesis.base import Fault
from tests.cluster.survive import Survival, shown
from tests.cluster.world import World

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]

SHORT: tuple[type[Fault], ...] = (
    # First: they last the longer the more records the other faults' clients have left.
    rotations.RotateDataKey, rotations.RotateDataKeyWhileLeaderDies,
    processes.KillLeader, processes.KillLeaderVaultd, processes.KillLeaderEtcd, processes.KillAll,
    processes.PauseLeader, processes.PauseLeaderVaultd, processes.PauseLeaderEtcd,
    links.CutLeader, links.DumbLeader, links.DeafLeader,
    disks.FullDisk, disks.DamagedDatabase, disks.TruncatedLog,
    clocks.LeaderFast, clocks.LeaderSlow,
    members.PromoteAndDemote, members.DemoteLeader, members.LeaveAndJoin, members.DeadManagerReplaced,
    rotations.RotateCA, rotations.RotateCAWhileLeaderDies, rotations.RotateTokens, rotations.RotateUnlockKey,
    work.UpdateWhileLeaderDies, work.RestartDelayWhileLeaderDies,
)  # fmt: skip


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
def test_a_cluster_survives(cluster: World, fault: type[Fault]) -> None:
    run = Survival(cluster, fault, seed=1).run()
    assert run.survived, shown([run])
    assert run.acknowledged > 50, "the load did not stand still"


@pytest.mark.parametrize("move", moves.MOVES, ids=lambda move: move.name)
def test_the_move_to_several_managers_survives(pair: World, move: type[Fault]) -> None:
    run = Survival(pair, move, seed=1).run()
    assert run.survived, shown([run])
