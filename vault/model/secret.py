"""Secrets and configs: named values that the cluster keeps.  Their values are records of their own."""

import msgspec

from vault.model.base import Object, Shape, always, no_labels


class Driver(Shape, frozen=True, kw_only=True):
    """A driver by name, with its options."""

    name: str = ""
    options: dict[str, str] = msgspec.field(default_factory=dict)


class SecretSpec(Shape, frozen=True, kw_only=True):
    """What a user says of a secret, but for its value."""

    name: str = ""  # Unique among secrets whatever its case, 1 to 64 characters.
    labels: dict[str, str] = no_labels()
    driver: Driver | None = None
    templating: Driver | None = None


class Secret(Object, frozen=True, kw_only=True):
    """A named value that the cluster keeps, and hands only to the tasks that ask for it.  No API returns the value."""

    spec: SecretSpec

    @property
    def driven(self) -> bool:
        """Whether its value is not kept here, but asked of a driver for each task."""
        return self.spec.driver is not None


class ConfigSpec(Shape, frozen=True, kw_only=True):
    """What a user says of a config, but for its value."""

    name: str = ""
    labels: dict[str, str] = no_labels()
    templating: Driver | None = None


class Config(Object, frozen=True, kw_only=True):
    """A named file that is no secret; the API returns its value."""

    spec: ConfigSpec


class FileTarget(Shape, frozen=True, kw_only=True):
    """Where and how a secret or config appears in a task."""

    name: str = always("")  # Relative to /run/secrets (secrets) or / (configs), or absolute.
    uid: str = msgspec.field(name="UID", default_factory=lambda: "0")  # Numeric.
    gid: str = msgspec.field(name="GID", default_factory=lambda: "0")
    mode: int = always(0o444)


class SecretReference(Shape, frozen=True, kw_only=True):
    """A service's claim on a secret: by id, so that a new secret of the same name is not meant."""

    file: FileTarget | None = None
    secret_id: str = msgspec.field(name="SecretID", default_factory=lambda: "")
    secret_name: str = always("")


class RuntimeTarget(Shape, frozen=True, kw_only=True):
    """That a config is for the runtime, and no file of the task; Windows has such."""


class ConfigReference(Shape, frozen=True, kw_only=True):
    """A service's claim on a config."""

    file: FileTarget | None = None
    runtime: RuntimeTarget | None = None
    config_id: str = msgspec.field(name="ConfigID", default_factory=lambda: "")
    config_name: str = always("")
