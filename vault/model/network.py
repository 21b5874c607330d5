"""Networks of the cluster, in SwarmKit's shape; `vault.api` shows them in the Engine's."""

import msgspec

from vault.model.base import Object, Shape, no_labels
from vault.model.secret import Driver


class IPAMConfig(Shape, frozen=True, kw_only=True):
    """One address range."""

    subnet: str = ""
    ip_range: str = msgspec.field(name="Range", default="")
    gateway: str = ""


class IPAMOptions(Shape, frozen=True, kw_only=True):
    """The address ranges of a network."""

    driver: Driver | None = None
    configs: tuple[IPAMConfig, ...] = ()


class NetworkSpec(Shape, frozen=True, kw_only=True):
    """What a user says of a network."""

    name: str = ""
    labels: dict[str, str] = no_labels()
    driver_configuration: Driver | None = None  # None = overlay.
    ipv6_enabled: bool = msgspec.field(name="IPv6Enabled", default=False)
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    ipam_options: IPAMOptions | None = msgspec.field(name="IPAMOptions", default=None)
    scope: str = ""


class Network(Object, frozen=True, kw_only=True):
    """A network, with what the allocator chose for it."""

    spec: NetworkSpec
    driver_state: Driver | None = None  # The vxlan id is an option of it; None until allocated.
    ipam_options: IPAMOptions | None = msgspec.field(name="IPAMOptions", default=None)

    @property
    def driver(self) -> str:
        """overlay | host | null | bridge"""
        return (self.spec.driver_configuration and self.spec.driver_configuration.name) or "overlay"

    @property
    def allocated(self) -> bool:
        """Whether tasks can be attached to it."""
        return self.driver_state is not None


class NetworkAttachment(Shape, frozen=True, kw_only=True):
    """A task's place on a network; `network` is a copy, as Docker shows it."""

    network: Network
    addresses: tuple[str, ...] = ()  # With prefix length; empty for host and null networks.
    aliases: tuple[str, ...] = ()
