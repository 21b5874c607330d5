"""The cluster object: settings, trust, and the addresses it hands out."""

from datetime import datetime
from typing import Any

import msgspec

from vault.model.base import EPOCH, SECOND_NS, Object, Shape, always, no_labels
from vault.model.node import TLSInfo

NODE_CERT_EXPIRY_NS = 90 * 24 * 3600 * SECOND_NS


class Orchestration(Shape, frozen=True, kw_only=True):
    """How many ended tasks are kept a slot."""

    task_history_retention_limit: int | None = None


class Raft(Shape, frozen=True, kw_only=True):
    """Docker's knobs; shown, and of no effect here."""

    snapshot_interval: int = 0
    keep_old_snapshots: int | None = None
    log_entries_for_slow_followers: int = 0
    election_tick: int = always(0)
    heartbeat_tick: int = always(0)


class DispatcherConfig(Shape, frozen=True, kw_only=True):
    """How often nodes report, in nanoseconds."""

    heartbeat_period: int = 0


class CAConfig(Shape, frozen=True, kw_only=True):
    """Life of node certificates, in nanoseconds."""

    node_cert_expiry: int = 0
    external_cas: tuple[dict[str, Any], ...] = msgspec.field(name="ExternalCAs", default=())
    signing_ca_cert: str = msgspec.field(name="SigningCACert", default="")
    signing_ca_key: str = msgspec.field(name="SigningCAKey", default="")  # Posted only; never stored, never shown.
    force_rotate: int = 0


class TaskDefaults(Shape, frozen=True, kw_only=True):
    """Defaults of new tasks."""

    log_driver: dict[str, Any] | None = None


class EncryptionConfig(Shape, frozen=True, kw_only=True):
    """Whether managers need the unlock key after a restart."""

    auto_lock_managers: bool = always(False)


class ClusterSpec(Shape, frozen=True, kw_only=True):
    """Settings of a swarm; its name must be "default"."""

    name: str = ""
    labels: dict[str, str] = no_labels()
    orchestration: Orchestration = msgspec.field(default_factory=lambda: Orchestration())
    raft: Raft = msgspec.field(default_factory=lambda: Raft())
    dispatcher: DispatcherConfig = msgspec.field(default_factory=lambda: DispatcherConfig())
    ca_config: CAConfig = msgspec.field(name="CAConfig", default_factory=lambda: CAConfig())
    task_defaults: TaskDefaults = msgspec.field(default_factory=lambda: TaskDefaults())
    encryption_config: EncryptionConfig = msgspec.field(default_factory=lambda: EncryptionConfig())


DEFAULT_SPEC = ClusterSpec(
    name="default",
    orchestration=Orchestration(task_history_retention_limit=5),
    raft=Raft(
        snapshot_interval=10_000,
        keep_old_snapshots=0,
        log_entries_for_slow_followers=500,
        election_tick=10,
        heartbeat_tick=1,
    ),
    dispatcher=DispatcherConfig(heartbeat_period=5 * SECOND_NS),
    ca_config=CAConfig(node_cert_expiry=NODE_CERT_EXPIRY_NS),
)


class JoinTokens(Shape, frozen=True, kw_only=True):
    """What a machine needs to become a member."""

    worker: str = ""
    manager: str = ""


class RootRotation(Shape, frozen=True, kw_only=True):
    """The root CA that takes over: it signs already, and the old one vouches for it until every node knows it."""

    certificate: str = ""  # PEM.
    key: bytes = b""  # PKCS#8 PEM.
    cross_certificate: str = ""  # The same name and key under the old root, PEM.


class PeerAuthority(Shape, frozen=True, kw_only=True):
    """The CA of etcd's peers, and who has its certificates."""

    certificate: str = ""  # PEM.
    key: bytes = b""  # PKCS#8 PEM.
    issued: tuple[tuple[str, str], ...] = ()  # (node id, serial in hexadecimal), not revoked.
    revoked: tuple[str, ...] = ()  # Serials.


class DataKeyStatus(Shape, frozen=True, kw_only=True):
    """The newest data key, never the key itself, and how far records are sealed under it; never stored."""

    term: int  # Its number: from 1, one more with every rotation.
    created_at: datetime
    records: int  # Live ones; a secret or config is two, itself and its value.
    older_records: int  # Those that are still sealed under older data keys.
    older_keys: int  # Older data keys that are kept, until no record needs one.


class EncryptionEpochs(Shape, frozen=True, kw_only=True):
    """Which WireGuard keys of nodes are in use: of one epoch, or of two while they are rotated."""

    newest: int = 1
    rotating: bool = False  # The one before is in use, too.
    begun_at: datetime = msgspec.field(default_factory=lambda: EPOCH)  # The newest.


class Cluster(Object, frozen=True, kw_only=True):
    """The one cluster object.

    What comes after `join_tokens` is in the sealed record only, and in no answer.
    """

    spec: ClusterSpec = always(DEFAULT_SPEC)
    # The root CA that nodes trust and join tokens name; its issuer fields show the CA that signs, which is another one
    # while a rotation is in progress.
    tls_info: TLSInfo = msgspec.field(name="TLSInfo", default_factory=lambda: TLSInfo())
    root_rotation_in_progress: bool = always(False)
    default_addr_pool: tuple[str, ...] = ()  # Empty = 10.0.0.0/8.
    subnet_size: int = always(24)
    data_path_port: int = always(4789)
    join_tokens: JoinTokens = msgspec.field(default_factory=lambda: JoinTokens())
    root_key: bytes = b""  # The private key of `tls_info.trust_root`, PKCS#8 PEM.
    root_rotation: RootRotation | None = None
    peer_authority: PeerAuthority | None = None
    unlock_key: bytes = b""  # 32 bytes while autolock is on; shown by GET /swarm/unlockkey alone.
    unlock_key_version: int = 1  # Goes up whenever managers have to wrap their key files anew.
    encryption: EncryptionEpochs | None = None  # None until a node first has a task on an encrypted network.

    @property
    def history_limit(self) -> int:
        """How many ended tasks are kept a slot; negative = all."""
        limit = self.spec.orchestration.task_history_retention_limit
        return 5 if limit is None else limit
