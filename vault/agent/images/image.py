"""An image of this node: its names, its configuration, and the directories of its layers.

Pure but for reading documents of the store.  Called by `store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vault.agent.images.content import Content, chain_ids
from vault.agent.images.documents import Configuration, Descriptor, Healthcheck, Manifest, Run, check_layers, decode
from vault.agent.images.reference import parse
from vault.model.container import HealthConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """How containers of an image are started, unless a service says otherwise."""

    env: tuple[str, ...] = ()  # NAME=value
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()  # 3306/tcp
    labels: Mapping[str, str] = field(default_factory=dict)
    healthcheck: HealthConfig | None = None
    shell: tuple[str, ...] = ()  # For commands that are one line; empty = the usual one.


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An unpacked image."""

    id: str  # sha256:… of its configuration.
    manifest: Descriptor
    names: frozenset[str]  # Whole names, with tag or digest.
    size_bytes: int  # Of its unpacked files.
    created: datetime | None
    architecture: str
    os: str
    variant: str
    author: str
    comment: str
    diff_ids: tuple[str, ...]
    config: ImageConfig
    layers: tuple[Path, ...]  # Lowermost first.

    @property
    def repo_tags(self) -> tuple[str, ...]:
        """Names with a tag, as Docker shows them: `busybox:latest`."""
        return tuple(sorted(parse(name).shown for name in self.names if "@" not in name))

    @property
    def repo_digests(self) -> tuple[str, ...]:
        """Names with a digest, as Docker shows them: `busybox@sha256:…`."""
        return tuple(sorted(parse(name).shown for name in self.names if "@" in name))

    @property
    def short_id(self) -> str:
        """The id's first 12 digits."""
        return self.id.removeprefix("sha256:")[:12]


def read_image(content: Content, manifest: Descriptor, names: frozenset[str], size_bytes: int) -> Image:
    """Return the image of a stored manifest.  Raises `BadArchive` when its documents are missing or damaged."""
    document = decode(content.document(manifest.digest), Manifest)
    configuration = decode(content.document(document.config.digest), Configuration)
    check_layers(document, configuration)
    diffs = tuple(configuration.rootfs.diff_ids)
    return Image(
        id=document.config.digest,
        manifest=Descriptor(media_type=manifest.media_type, digest=manifest.digest, size=manifest.size),
        names=names,
        size_bytes=size_bytes,
        created=configuration.created_at,
        architecture=configuration.architecture,
        os=configuration.os or "linux",
        variant=configuration.variant,
        author=configuration.author,
        comment=configuration.comment,
        diff_ids=diffs,
        config=_config(configuration.config or Run()),
        layers=tuple(content.layer(chain) for chain in chain_ids(diffs)),
    )


def _config(run: Run) -> ImageConfig:
    return ImageConfig(
        env=tuple(run.env or ()),
        entrypoint=_words(run.entrypoint),
        cmd=_words(run.cmd),
        user=run.user or "",
        working_dir=run.working_dir or "",
        volumes=tuple(sorted(run.volumes or ())),
        stop_signal=run.stop_signal or "",
        exposed_ports=tuple(sorted(run.exposed_ports or ())),
        labels=dict(run.labels or {}),
        healthcheck=_healthcheck(run.healthcheck),
        shell=tuple(run.shell or ()),
    )


def _healthcheck(said: Healthcheck | None) -> HealthConfig | None:
    if said is None:
        return None
    return HealthConfig(
        test=tuple(said.test or ()),
        interval=said.interval,
        timeout=said.timeout,
        start_period=said.start_period,
        start_interval=said.start_interval,
        retries=said.retries,
    )


def _words(value: list[str] | str | None) -> tuple[str, ...]:
    """Return a command; old images have a string where a list of one is meant."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
