"""Networks that hold settings for others (`--config-only`), and those that take theirs from one.  Pure.

Called by `vault.store.rules_network`.  Texts are the Engine's.  There each node has configuration networks of its own;
here the swarm keeps them, so one is made once, and an overlay network takes its settings when it is made.
"""

from http import HTTPStatus
from typing import Final

from msgspec.structs import replace

from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.model.network import Network, NetworkSpec
from vault.model.secret import Driver
from vault.store.snapshot import Snapshot

DRIVER: Final = "null"  # So no older program takes one for a network.
SCOPE: Final = "local"


class NotForConfiguration(VaultError):
    """What was asked for does not go with configuration networks."""

    status = HTTPStatus.FORBIDDEN


class NotForServices(NotForConfiguration):
    """A service was to be on a network that tasks cannot be on."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The network {name} cannot be used with services. Only networks scoped to the swarm can be used, "
            "such as those created with the overlay driver."
        )
        self.name = name


class NoConfiguration(VaultError):
    """The network that should have the settings is not there."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(f'configuration network "{name}" does not exist')
        self.name = name


def held(spec: NetworkSpec) -> NetworkSpec:
    """Return the spec of a configuration network as it is stored.  Raises `NotForConfiguration`."""
    if spec.ingress or spec.internal or spec.attachable or spec.scope:
        raise NotForConfiguration(
            "configuration network can only contain network specific fields. "
            "Network operator fields like [ ingress | internal | attachable | scope ] are not supported."
        )
    if source_of(spec):
        raise NotForConfiguration("a configuration network cannot depend on another configuration network")
    driver = Driver(name=DRIVER, options=spec.driver_configuration.options if spec.driver_configuration else {})
    return replace(spec, driver_configuration=driver, scope=SCOPE)


def filled_in(snapshot: Snapshot, spec: NetworkSpec) -> NetworkSpec:
    """Return a spec with the settings of the configuration network that it names; as it is when it names none.

    Raises `NotForConfiguration` when it has settings of its own, `NoConfiguration` when there is no such network.
    """
    name = source_of(spec)
    if not name:
        return spec
    driver = spec.driver_configuration or Driver()
    ipam = spec.ipam_options
    own_ipam = ipam is not None and (ipam.configs or (ipam.driver and _of_its_own(ipam.driver)))
    if own_ipam or spec.labels or spec.ipv6_enabled or not spec.ipv4_enabled:
        raise NotForConfiguration(
            "user-specified configurations are not supported if the network depends on a configuration network"
        )
    if driver.options:
        raise NotForConfiguration(
            "network driver options are not supported if the network depends on a configuration network"
        )
    source = snapshot.by_name(Kind.NETWORK, name) or snapshot.networks.get(name)
    if not isinstance(source, Network) or not source.spec.config_only:
        raise NoConfiguration(name)
    return replace(
        spec,
        labels=source.spec.labels,
        driver_configuration=replace(driver, options=source.options),
        ipv4_enabled=source.spec.ipv4_enabled,
        ipv6_enabled=source.spec.ipv6_enabled,
        ipam_options=source.spec.ipam_options,
    )


def check_unused(snapshot: Snapshot, network: Network) -> None:
    """Raise `NotForConfiguration` while another network has its settings from a configuration network."""
    names = (network.spec.name, network.id)
    if any(source_of(other.spec) in names for other in snapshot.networks.values()):
        raise NotForConfiguration(f'configuration network "{network.spec.name}" is in use')


def source_of(spec: NetworkSpec) -> str:
    """Return the name of the network from which a spec takes its settings; "" for none."""
    return spec.config_from.network if spec.config_from is not None else ""


def _of_its_own(driver: Driver) -> bool:
    return driver.name not in ("", "default") or bool(driver.options)
