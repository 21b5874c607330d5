"""What a member of etcd is started with, and the flags that say so.  Pure.

The flags are those that etcd 3.4 to 3.6 share, but one, which 3.6 renamed.
Called by `vault.raftstore.engines.etcd_process`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vault.crypto.plaintext import Plaintext
from vault.raftstore.engines.etcd_upkeep import QUOTA_BYTES

SOCKET: Final = "localhost:2379"  # A file, in the member's directory; etcd 3.4 wants such a name.
DATA: Final = "data"
CA_FILE, CERTIFICATE_FILE = "peer-ca.pem", "peer.pem"
MAX_WRITES: Final = 16_384  # The store's largest commit, that of one caller, has half of that and head.
MAX_REQUEST_BYTES: Final = 20 * 1024 * 1024  # A value of 16 MiB, and room to spare.
# How many commits stay in memory and in the log before a snapshot; each may be of 1 MiB, and 5,000 stay after it.
SNAPSHOT_COMMITS: Final = 2_000
HEARTBEAT_MS, ELECTION_MS = 100, 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings:
    """One member."""

    name: str  # The node's id.
    directory: Path  # All the member's own, mode 0700; its name is the same for all members.
    peer_address: str  # "10.77.0.1:2380": where it listens, and where the others find it.
    peer_ca_pem: bytes
    peer_cert_pem: bytes
    peer_key: Plaintext  # PKCS#8 PEM.
    initial_cluster: Mapping[str, str] = field(default_factory=dict)  # The others: name -> peer URL.
    joining: bool = False  # A cluster that exists, where this member was added.
    force_new: bool = False  # Take the data that is there, and forget the other members.
    crl: Path | None = None  # The list of revoked peers, PEM; read again for each connection.
    binary: Path | None = None  # None = found on PATH.
    heartbeat_ms: int = HEARTBEAT_MS
    election_ms: int = ELECTION_MS

    @property
    def peer_url(self) -> str:
        """Where the others find it."""
        return f"https://{self.peer_address}"


def flags(settings: EtcdSettings, version: tuple[int, int, int], *, key_path: str, force_new: bool) -> list[str]:
    """Return the flags of a member that is started in its directory."""
    cluster = {**settings.initial_cluster, settings.name: settings.peer_url}
    named = {
        "name": settings.name,
        "data-dir": DATA,
        "listen-client-urls": f"unix://{SOCKET}",
        "advertise-client-urls": f"unix://{SOCKET}",
        "listen-peer-urls": settings.peer_url,
        "initial-advertise-peer-urls": settings.peer_url,
        "initial-cluster": ",".join(f"{name}={url}" for name, url in cluster.items()),
        "initial-cluster-state": "existing" if settings.joining else "new",
        "initial-cluster-token": settings.directory.name,
        "peer-client-cert-auth": "true",
        "peer-trusted-ca-file": CA_FILE,
        "peer-cert-file": CERTIFICATE_FILE,
        "peer-key-file": key_path,
        # A manager may have several addresses, and its certificate names one; the CA is for managers only.
        _skip_addresses(version): "true",
        "pre-vote": "true",
        "heartbeat-interval": str(settings.heartbeat_ms),
        "election-timeout": str(settings.election_ms),
        "snapshot-count": str(SNAPSHOT_COMMITS),
        "quota-backend-bytes": str(QUOTA_BYTES),
        "max-txn-ops": str(MAX_WRITES),
        "max-request-bytes": str(MAX_REQUEST_BYTES),
        "enable-grpc-gateway": "false",
        "logger": "zap",
        "log-outputs": "stderr",
        "log-level": "warn",
    }
    if settings.crl is not None:
        named["peer-crl-file"] = str(settings.crl)
    if force_new:
        named["force-new-cluster"] = "true"
    return [f"--{flag}={value}" for flag, value in named.items()]


def _skip_addresses(version: tuple[int, int, int]) -> str:
    flag = "peer-skip-client-san-verification"
    return flag if version >= (3, 6, 0) else f"experimental-{flag}"
