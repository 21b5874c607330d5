"""What goes with the lines of a container: labels and variables that were asked for, and a tag.

Pure.  Called by `vault.agent.executors.oci.prepare`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vault.crypto import Plaintext
from vault.model.log_options import LogSettings
from vault.store.template import render
from vault.store.template_values import Struct

DEFAULT_TAG = "{{.ID}}"
DAEMON = "docker"  # What `{{.DaemonName}}` has always been; filters of log servers look for it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A container, as far as its log is concerned."""

    id: str  # 64 digits.
    name: str
    image: str  # As the service names it.
    image_id: str  # sha256:…
    command: tuple[str, ...]
    env: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _TagContext:
    """What the template of a tag may read."""

    container: Logged
    payload: bool = False
    secrets: Mapping[str, Plaintext] = field(default_factory=dict)
    configs: Mapping[str, Plaintext] = field(default_factory=dict)

    def root(self) -> Struct:
        """Return the container."""
        one = self.container
        fields = {
            "ID": one.id[:12],
            "FullID": one.id,
            "Name": one.name,
            "ImageID": one.image_id[:12],
            "ImageFullID": one.image_id,
            "ImageName": one.image,
            "DaemonName": DAEMON,
            "Command": " ".join(one.command),
        }
        return Struct("*logger.Info", {name: value.encode() for name, value in fields.items()})

    def env(self, name: str) -> bytes:
        """Return nothing: a tag is no place for variables."""
        return b""


def tag_of(settings: LogSettings, container: Logged, default: str = DEFAULT_TAG) -> str:
    """Return the tag of a container's lines.  Raises `TemplateFailed`."""
    tag = settings.tag or default
    if "{{" in tag:
        tag = render(Plaintext(tag.encode()), _TagContext(container=container)).reveal().decode(errors="replace")
    return "".join(character if character.isprintable() else "_" for character in tag)


def attributes_of(settings: LogSettings, container: Logged) -> dict[str, str]:
    """Return the labels and variables that go with each line; the tag is not among them."""
    labels = _chosen(container.labels, settings.labels, settings.labels_regex)
    return labels | _chosen(container.env, settings.env, settings.env_regex)


def _chosen(values: Mapping[str, str], names: tuple[str, ...], pattern: str) -> dict[str, str]:
    named = {name: values[name] for name in names if name in values}
    if not pattern:
        return named
    wanted = re.compile(pattern)
    return named | {name: value for name, value in values.items() if wanted.search(name)}
