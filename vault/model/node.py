"""Nodes of the cluster."""

from datetime import datetime

import msgspec

from vault.model.base import EPOCH, Object, Shape, Version, always, no_labels
from vault.model.generic import GenericResource


class NodeSpec(Shape, frozen=True, kw_only=True):
    """What an operator says of a node."""

    name: str = ""
    labels: dict[str, str] = no_labels()
    role: str = always("worker")  # worker | manager
    availability: str = always("active")  # active | pause | drain


class Platform(Shape, frozen=True, kw_only=True):
    """Architecture (x86_64, aarch64) and system of a node."""

    architecture: str = ""
    os: str = msgspec.field(name="OS", default="")


class NodeResources(Shape, frozen=True, kw_only=True):
    """What a node has to give."""

    nano_cpus: int = msgspec.field(name="NanoCPUs", default=0)
    memory_bytes: int = 0
    generic_resources: tuple[GenericResource, ...] = ()  # From `vaultd --node-generic-resource`.


class Plugin(Shape, frozen=True, kw_only=True):
    """A driver the node offers."""

    type: str = ""
    name: str = ""


class Engine(Shape, frozen=True, kw_only=True):
    """The engine on a node; its labels come from `vaultd --label`."""

    engine_version: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()


class TLSInfo(Shape, frozen=True, kw_only=True):
    """The CA a node trusts: PEM, and DER in base64."""

    trust_root: str = ""
    cert_issuer_subject: str = ""
    cert_issuer_public_key: str = ""


class EncryptionMeans(Shape, frozen=True, kw_only=True):
    """How a node encrypts overlay networks, and how far it is."""

    by: str  # kernel | wireguard-go
    epoch: int = 0  # Of the keys that it uses with every peer; 0 = of none yet.


class NodeDescription(Shape, frozen=True, kw_only=True):
    """What a node says of itself."""

    hostname: str = ""
    platform: Platform = msgspec.field(default_factory=lambda: Platform())
    resources: NodeResources = msgspec.field(default_factory=lambda: NodeResources())
    engine: Engine = msgspec.field(default_factory=lambda: Engine())
    tls_info: TLSInfo = msgspec.field(name="TLSInfo", default_factory=lambda: TLSInfo())
    encryption: EncryptionMeans | None = None  # None: it cannot.


class NodeStatus(Shape, frozen=True, kw_only=True):
    """How the managers see a node."""

    state: str = always("unknown")  # unknown | ready | down | disconnected
    message: str = ""
    addr: str = always("")


class ManagerStatus(Shape, frozen=True, kw_only=True):
    """Set for managers."""

    leader: bool = False
    reachability: str = always("unknown")  # unknown | reachable | unreachable
    addr: str = always("")


class NodeCertificate(Shape, frozen=True, kw_only=True):
    """The certificate that a manager issued to the node last; the node may still use the one before."""

    role: str = ""  # worker | manager
    issuer: str = ""  # The CA's public key, as `TLSInfo.cert_issuer_public_key` shows it.
    tls_key: str = ""  # SHA-256 of the node's public TLS key, in hexadecimal.
    not_after: datetime = msgspec.field(default_factory=lambda: EPOCH)


class EncryptionKey(Shape, frozen=True, kw_only=True):
    """A node's WireGuard key of one epoch; `sealed` only its node can open."""

    epoch: int
    public: bytes  # 32 bytes.
    sealed: bytes = b""  # By `vault.crypto.wireguard_seal`; left out of what peers are told.


class NodeEncryption(Shape, frozen=True, kw_only=True):
    """A node's place in the underlay of encrypted networks, while it has a task on one."""

    address: str  # IPv4, inside; without prefix length.
    keys: tuple[EncryptionKey, ...]  # One; two while keys are rotated.
    sealed_to: bytes  # The seal key that the node had then.


class NodeAttachment(Shape, frozen=True, kw_only=True):
    """A node's own place on a network: what the routing mesh forwards comes from there."""

    network_id: str = msgspec.field(name="NetworkID", default="")
    addresses: tuple[str, ...] = ()  # With prefix length.


class Node(Object, frozen=True, kw_only=True):
    """A member of the cluster."""

    spec: NodeSpec = msgspec.field(default_factory=lambda: NodeSpec())
    description: NodeDescription = msgspec.field(default_factory=lambda: NodeDescription())
    status: NodeStatus = msgspec.field(default_factory=lambda: NodeStatus())
    manager_status: ManagerStatus | None = None
    seal_key: bytes = b""  # The node's X25519 public key (32 bytes), recorded when its certificate was issued.
    certificate: NodeCertificate | None = None  # In no answer, like the seal key.
    encryption: NodeEncryption | None = None  # In no answer either.
    down_since: datetime | None = None  # When it went down, while it is; set by the store, and in no answer either.
    drained_at: datetime | None = None  # When its availability became drain, while it is that; in no answer either.
    attachments: tuple[NodeAttachment, ...] = ()  # To the ingress network, by the allocator; in no answer either.
    spec_version: Version | None = None  # Commit index of the last change of `spec`; in no answer either.

    @property
    def is_manager(self) -> bool:
        """Whether it is meant to be a manager; what its certificate says may be behind."""
        return self.spec.role == "manager"

    @property
    def acts_as(self) -> str:
        """The role that its certificate is for: a demoted manager stays one until its part in the engine has ended.

        Else it would stop while it counts for quorum still, and the others could not so much as let it go.
        """
        return "manager" if self.manager_status is not None else self.spec.role

    @property
    def ready(self) -> bool:
        """Whether new tasks may be placed on it."""
        return self.status.state == "ready" and self.spec.availability == "active"
