"""Networks of the cluster, in SwarmKit's shape; `vault.api` shows them in the Engine's."""

from typing import Final

import msgspec

from vault.model.base import Object, Shape, always, no_labels
from vault.model.secret import Driver

VXLAN_OPTION: Final = "com.docker.network.driver.overlay.vxlanid_list"
MTU_OPTION: Final = "com.docker.network.driver.mtu"
ENCRYPTED: Final = "encrypted"  # The driver option of networks between nodes.


class IPAMConfig(Shape, frozen=True, kw_only=True):
    """One address range."""

    subnet: str = ""
    ip_range: str = msgspec.field(name="Range", default="")
    gateway: str = ""
    aux_addresses: dict[str, str] = msgspec.field(name="AuxiliaryAddresses", default_factory=dict)  # Given to nobody.


class IPAMOptions(Shape, frozen=True, kw_only=True):
    """The address ranges of a network."""

    driver: Driver | None = None
    configs: tuple[IPAMConfig, ...] = ()


class ConfigReference(Shape, frozen=True, kw_only=True):
    """The configuration-only network from which another one has its settings, by name."""

    network: str = always("")


class NetworkSpec(Shape, frozen=True, kw_only=True):
    """What a user says of a network."""

    name: str = ""
    labels: dict[str, str] = no_labels()
    driver_configuration: Driver | None = None  # None = overlay.
    ipv4_enabled: bool = msgspec.field(name="IPv4Enabled", default=True)
    ipv6_enabled: bool = msgspec.field(name="IPv6Enabled", default=False)
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    ipam_options: IPAMOptions | None = msgspec.field(name="IPAMOptions", default=None)
    scope: str = ""
    config_from: ConfigReference | None = None
    config_only: bool = False  # It holds settings for others, and nothing else.

    @property
    def encrypted(self) -> bool:
        """Whether it asks for encryption: the option alone means yes, as in Docker."""
        options = self.driver_configuration.options if self.driver_configuration else {}
        return ENCRYPTED in options and options[ENCRYPTED].lower() not in ("false", "0")


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
    def of_each_node(self) -> bool:
        """Whether it is one that each node makes for its own tasks alone, and that somebody has named."""
        return self.driver == "bridge" and self.spec.scope == "swarm"

    @property
    def options(self) -> dict[str, str]:
        """What a user said to its driver."""
        return self.spec.driver_configuration.options if self.spec.driver_configuration else {}

    @property
    def asked_mtu(self) -> int:
        """The largest packet on it, in bytes, as a user chose it; 0 when nobody did."""
        return int(self.options.get(MTU_OPTION, 0))

    @property
    def vxlan_id(self) -> int:
        """The number of its overlay: the one it has, else the one a user chose; 0 when it has none yet."""
        state = self.driver_state.options if self.driver_state else {}
        return int(state.get(VXLAN_OPTION) or self.options.get(VXLAN_OPTION) or 0)

    @property
    def allocated(self) -> bool:
        """Whether tasks can be attached to it."""
        return self.driver_state is not None


class NetworkAttachment(Shape, frozen=True, kw_only=True):
    """A task's place on a network; `network` is a copy, as Docker shows it."""

    network: Network
    addresses: tuple[str, ...] = ()  # With prefix length; empty for host and null networks.
    aliases: tuple[str, ...] = ()
