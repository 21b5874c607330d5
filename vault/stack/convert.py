"""A stack as objects of the cluster, in the shape in which Docker's client posts them.

Pure, but for the files of secrets and configs, which the stack's `read_value` reads; called by `vault.api`.  Names
get the stack's name in front, and every object its label.  References to secrets and configs carry names; `with_ids`
in `vault.stack.references` adds the ids once they are known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.model.names import check_service_name
from vault.model.network import IPAMConfig, IPAMOptions, NetworkSpec
from vault.model.secret import ConfigSpec, Driver, SecretSpec
from vault.model.service import ServiceSpec
from vault.stack import document as doc
from vault.stack.convert_service import service_spec
from vault.stack.dependencies import check_dependencies
from vault.stack.errors import NotDeployable, StackError
from vault.stack.load import ReadValue, Stack, check_images
from vault.stack.namespace import Namespace
from vault.stack.unsupported import check_supported
from vault.store.rules import check_config, check_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNetwork:
    """A network to create."""

    name: str
    driver: str = "overlay"
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    ipam_driver: str = ""
    subnets: tuple[str, ...] = ()

    def spec(self) -> NetworkSpec:
        """Return the spec of the network to create."""
        driver = Driver(name=self.ipam_driver)
        pools = tuple(IPAMConfig(subnet=subnet) for subnet in self.subnets)
        return NetworkSpec(
            name=self.name,
            labels=dict(self.labels),
            driver_configuration=Driver(name=self.driver, options=dict(self.options)),
            internal=self.internal,
            attachable=self.attachable,
            ipam_options=IPAMOptions(driver=driver, configs=pools) if self.ipam_driver or pools else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """A secret to create or to bring up to date."""

    spec: SecretSpec
    value: Plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class NewConfig:
    """A config to create or to bring up to date."""

    spec: ConfigSpec
    value: Plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What a stack needs in the cluster, in the order of its files."""

    namespace: Namespace
    networks: tuple[NewNetwork, ...]
    external_networks: tuple[str, ...]
    secrets: tuple[NewSecret, ...]
    configs: tuple[NewConfig, ...]
    services: tuple[ServiceSpec, ...]
    warnings: tuple[str, ...]


def convert(stack: Stack, namespace: str) -> Deployment:
    """Return the objects that a stack of that name needs.

    Raises `StackError` for what the stack says wrong, `NotOffered` for what no node can do, and what `read_value`
    raises for the file of a secret or config.
    """
    stack_name = Namespace(namespace)
    document = stack.document
    check_images(stack)
    check_supported(document)
    check_dependencies(document)
    used = {name: document.networks.get(name, doc.Network()) for name in _used_networks(document)}
    services = tuple(
        service_spec(stack_name, service, document, stack.read_value) for service in document.services.values()
    )
    for spec in services:
        _named("service", spec.name)
    return Deployment(
        namespace=stack_name,
        networks=tuple(_network(stack_name, name, network) for name, network in used.items() if not network.external),
        external_networks=tuple(network.name for network in used.values() if network.external),
        secrets=tuple(
            _secret(stack_name, name, secret, stack.read_value)
            for name, secret in document.secrets.items()
            if not secret.external
        ),
        configs=tuple(
            _config(stack_name, name, config, stack.read_value)
            for name, config in document.configs.items()
            if not config.external
        ),
        services=services,
        warnings=stack.warnings,
    )


def _used_networks(document: doc.Document) -> tuple[str, ...]:
    """Return the networks that services are on, once each; a service that names none is on `default`."""
    names = (name for service in document.services.values() for name in (service.networks or ("default",)))
    return tuple(dict.fromkeys(names))


def _network(namespace: Namespace, name: str, network: doc.Network) -> NewNetwork:
    new = NewNetwork(
        name=network.name or namespace.scope(name),
        driver=network.driver or "overlay",
        options=network.driver_opts,
        labels=namespace.label(network.labels),
        internal=network.internal,
        attachable=network.attachable,
        ipam_driver=network.ipam.driver,
        subnets=tuple(pool.subnet for pool in network.ipam.config),
    )
    _named("network", new.name)
    return new


def _secret(namespace: Namespace, name: str, secret: doc.FileObject, read_value: ReadValue) -> NewSecret:
    spec = SecretSpec(
        name=secret.name or namespace.scope(name),
        labels=namespace.label(secret.labels),
        driver=Driver(name=secret.driver, options=dict(secret.driver_opts)) if secret.driver else None,
        templating=Driver(name=secret.template_driver) if secret.template_driver else None,
    )
    value = Plaintext(b"") if secret.driver else read_value(secret.file)
    try:
        check_secret(spec, len(value))
    except VaultError as error:
        raise NotDeployable(f"failed to create secret {spec.name}: {error}") from None
    return NewSecret(spec=spec, value=value)


def _config(namespace: Namespace, name: str, config: doc.FileObject, read_value: ReadValue) -> NewConfig:
    spec = ConfigSpec(
        name=config.name or namespace.scope(name),
        labels=namespace.label(config.labels),
        templating=Driver(name=config.template_driver) if config.template_driver else None,
    )
    value = read_value(config.file)
    try:
        check_config(spec, len(value))
    except VaultError as error:
        raise NotDeployable(f"failed to create config {spec.name}: {error}") from None
    return NewConfig(spec=spec, value=value)


def _named(kind: str, name: str) -> None:
    """Raise `StackError` unless `name` may name a service or network."""
    try:
        check_service_name(name)
    except VaultError as error:
        raise StackError(f"failed to create {kind} {name}: {error}") from None
