"""What tests of the daemon begin with: a machine, a place, a swarm that was just founded."""

from vault.api.ports import InitRequest, NodeInfo
from vault.daemon.founding import Founding, found
from vault.daemon.identity import Place
from vault.model.cluster import ClusterSpec, EncryptionConfig

NOW_S = 1_800_000_000.0
INFO = NodeInfo(
    id="installation", hostname="host", operating_system="Debian", os_version="12", kernel="6", architecture="x86_64",
    cpus=2, memory_bytes=2**30, data_root="/d", labels={}, runtime="crun", runtime_version="1",
)  # fmt: skip
PLACE = Place(address="10.0.0.1", listen="0.0.0.0:2377")


def founded(*, autolock: bool = False) -> Founding:
    """Return a new swarm."""
    spec = ClusterSpec(encryption_config=EncryptionConfig(auto_lock_managers=autolock))
    return found(InitRequest(spec=spec), INFO, PLACE, now_s=NOW_S)
