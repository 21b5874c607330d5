"""Every fault by name.  `moves` is apart: it needs a cluster of one manager."""

from tests.cluster.nemesis.base import Fault
from tests.cluster.nemesis.busy import BUSY
from tests.cluster.nemesis.clocks import CLOCKS
from tests.cluster.nemesis.disks import DISKS
from tests.cluster.nemesis.links import LINKS
from tests.cluster.nemesis.members import MEMBERS
from tests.cluster.nemesis.networks import NETWORKS
from tests.cluster.nemesis.processes import PROCESSES
from tests.cluster.nemesis.rotations import ROTATIONS
from tests.cluster.nemesis.work import WORK

FAULTS: dict[str, type[Fault]] = {
    fault.name: fault for fault in (*PROCESSES, *LINKS, *DISKS, *CLOCKS, *MEMBERS, *ROTATIONS, *WORK, *NETWORKS, *BUSY)
}
