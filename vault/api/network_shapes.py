"""Networks in the Engine's shape, which differs from SwarmKit's.  Pure.

Called by `vault.api.networks`.
"""

import hashlib
from datetime import datetime

import msgspec

from vault.api import network_endpoints
from vault.api.network_endpoints import Attached, EndpointService, Peer
from vault.model.base import EPOCH, Shape, always, no_labels
from vault.model.network import ConfigReference, IPAMConfig, IPAMOptions, Network, NetworkSpec
from vault.model.secret import Driver
from vault.store.snapshot import Snapshot


class PostedIPAMConfig(Shape, frozen=True, kw_only=True):
    """One address range, in the Engine's shape."""

    subnet: str = ""
    ip_range: str = msgspec.field(name="IPRange", default="")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = msgspec.field(default_factory=dict)  # By name; given to nobody.


class PostedIPAM(Shape, frozen=True, kw_only=True):
    """The address ranges, in the Engine's shape."""

    driver: str = always("default")
    options: dict[str, str] | None = always(None)
    config: tuple[PostedIPAMConfig, ...] = ()


class ShownIPAM(PostedIPAM, frozen=True, kw_only=True, omit_defaults=False):
    """The address ranges, as shown: none of them left out."""


class PostedNetwork(Shape, frozen=True, kw_only=True):
    """`POST /networks/create`."""

    name: str = ""
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool = msgspec.field(name="EnableIPv4", default=True)
    enable_ipv6: bool = msgspec.field(name="EnableIPv6", default=False)
    ipam: PostedIPAM | None = msgspec.field(name="IPAM", default=None)
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    options: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    check_duplicate: bool = False


class NetworkCreated(Shape, frozen=True, kw_only=True):
    """The answer to creating a network."""

    id: str
    warning: str = always("")


class ShownNetwork(Shape, frozen=True, kw_only=True, omit_defaults=False):
    """A network as the Engine shows it."""

    name: str
    id: str
    created: datetime
    scope: str
    driver: str
    enable_ipv4: bool = msgspec.field(name="EnableIPv4", default=True)
    enable_ipv6: bool = msgspec.field(name="EnableIPv6", default=False)
    ipam: ShownIPAM = msgspec.field(name="IPAM", default_factory=lambda: ShownIPAM())
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_from: ConfigReference = msgspec.field(default_factory=lambda: ConfigReference())
    config_only: bool = False
    containers: dict[str, Attached] | None = None
    options: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = no_labels()
    peers: tuple[Peer, ...] | msgspec.UnsetType = msgspec.UNSET  # Left out where nobody takes part.
    services: dict[str, EndpointService] | msgspec.UnsetType = msgspec.UNSET  # Of a verbose answer only.


def spec_of(posted: PostedNetwork) -> NetworkSpec:
    """Return SwarmKit's spec of a posted network; `vault.store.rules_network` judges it."""
    return NetworkSpec(
        name=posted.name,
        labels=posted.labels,
        driver_configuration=Driver(name=posted.driver, options=posted.options),
        ipv4_enabled=posted.enable_ipv4,
        ipv6_enabled=posted.enable_ipv6,
        internal=posted.internal,
        attachable=posted.attachable,
        ingress=posted.ingress,
        ipam_options=_ipam_of(posted.ipam) if posted.ipam else None,
        scope=posted.scope,
        config_from=posted.config_from if posted.config_from and posted.config_from.network else None,
        config_only=posted.config_only,
    )


def _ipam_of(posted: PostedIPAM) -> IPAMOptions | None:
    configs = tuple(
        IPAMConfig(subnet=one.subnet, ip_range=one.ip_range, gateway=one.gateway, aux_addresses=one.auxiliary_addresses)
        for one in posted.config
    )
    driver = Driver(name=posted.driver, options=posted.options or {})
    return IPAMOptions(driver=driver, configs=configs) if configs or driver != Driver() else None


def shown_network(network: Network, snapshot: Snapshot | None = None, *, verbose: bool = False) -> ShownNetwork:
    """Return a network in the Engine's shape; with a snapshot, also who is on it, and verbose, all endpoints."""
    spec = network.spec
    options = dict(network.options)
    options |= network.driver_state.options if network.driver_state else {}
    return ShownNetwork(
        name=spec.name,
        id=network.id,
        created=network.created_at,
        scope=scope_of(network),
        driver=network.driver,
        enable_ipv4=spec.ipv4_enabled,
        enable_ipv6=spec.ipv6_enabled,
        ipam=_shown_ipam(network.ipam_options or spec.ipam_options or IPAMOptions()),
        internal=spec.internal,
        attachable=spec.attachable,
        ingress=spec.ingress,
        config_from=spec.config_from or ConfigReference(),
        config_only=spec.config_only,
        containers=None if snapshot is None else network_endpoints.attached(snapshot, network),
        options=options,
        labels=spec.labels,
        peers=(tuple(network_endpoints.peers(snapshot, network)) if snapshot else ()) or msgspec.UNSET,
        services=network_endpoints.services(snapshot, network) if snapshot and verbose else msgspec.UNSET,
    )


def scope_of(network: Network) -> str:
    """Return where a network is, as the Engine says it: one that holds settings for others is nowhere but here."""
    return "local" if network.spec.config_only else "swarm"


def _shown_ipam(ipam: IPAMOptions) -> ShownIPAM:
    driver = ipam.driver or Driver()
    return ShownIPAM(
        driver=driver.name or "default",
        options=driver.options or None,
        config=tuple(
            PostedIPAMConfig(
                subnet=one.subnet, ip_range=one.ip_range, gateway=one.gateway, auxiliary_addresses=one.aux_addresses
            )
            for one in ipam.configs
        ),
    )


def _local(name: str, driver: str) -> ShownNetwork:
    """Return one of the networks that every node has; its id is the same on all nodes."""
    network_id = hashlib.sha256(f"vault/local-network/{name}".encode()).hexdigest()
    return ShownNetwork(name=name, id=network_id, created=EPOCH, scope="local", driver=driver, containers={})


LOCAL = (_local("bridge", "bridge"), _local("host", "host"), _local("none", "null"))
LOCAL_NAMES = {network.id: network.name for network in LOCAL}
