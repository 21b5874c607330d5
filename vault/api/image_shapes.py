"""Images in the Engine's shape.  Pure; called by `vault.api.images`."""

from datetime import datetime

import msgspec

from vault.api.ports import Image
from vault.api.system_shapes import Full
from vault.model.base import EPOCH, Shape
from vault.model.container import HealthConfig

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class ImageSummary(Full, frozen=True, kw_only=True):
    """One row of the list of images."""

    id: str
    parent_id: str = ""
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    created: int  # Seconds since 1970.
    size: int
    shared_size: int = -1
    virtual_size: int
    labels: dict[str, str]
    containers: int = -1


class ImageConfig(Full, frozen=True, kw_only=True):
    """How containers of an image run."""

    user: str
    exposed_ports: dict[str, dict[str, str]] | None
    env: tuple[str, ...]
    cmd: tuple[str, ...] | None
    volumes: dict[str, dict[str, str]] | None
    working_dir: str
    entrypoint: tuple[str, ...] | None
    labels: dict[str, str]
    stop_signal: str
    healthcheck: HealthConfig | msgspec.UnsetType = msgspec.UNSET
    shell: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class Layers(Full, frozen=True, kw_only=True):
    """The layers of an image."""

    type: str = "layers"
    layers: tuple[str, ...]


class ImageDetails(Full, frozen=True, kw_only=True):
    """An image as inspect shows it."""

    id: str
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    parent: str = ""
    comment: str
    created: datetime
    author: str
    config: ImageConfig
    architecture: str
    variant: str
    os: str
    size: int
    virtual_size: int
    root_fs: Layers = msgspec.field(name="RootFS")


class Removed(Shape, frozen=True, kw_only=True):
    """One effect of removing an image."""

    untagged: str = ""
    deleted: str = ""


def summary_of(image: Image) -> ImageSummary:
    """Return an image as a row of the list."""
    return ImageSummary(
        id=image.id,
        repo_tags=image.references,
        repo_digests=image.digests,
        created=int((image.created_at or EPOCH).timestamp()),
        size=image.size_bytes,
        virtual_size=image.size_bytes,
        labels=dict(image.labels),
    )


def details_of(image: Image) -> ImageDetails:
    """Return an image as inspect shows it."""
    config = ImageConfig(
        user=image.user,
        exposed_ports={port: {} for port in image.exposed_ports} or None,
        env=image.env,
        cmd=image.command or None,
        volumes={volume: {} for volume in image.volumes} or None,
        working_dir=image.working_dir,
        entrypoint=image.entrypoint or None,
        labels=dict(image.labels),
        stop_signal=image.stop_signal,
        healthcheck=image.healthcheck or msgspec.UNSET,
        shell=image.shell or msgspec.UNSET,
    )
    return ImageDetails(
        id=image.id,
        repo_tags=image.references,
        repo_digests=image.digests,
        comment=image.comment,
        created=image.created_at or EPOCH,
        author=image.author,
        config=config,
        architecture=ARCHITECTURES.get(image.architecture, image.architecture),
        variant=image.variant,
        os=image.os,
        size=image.size_bytes,
        virtual_size=image.size_bytes,
        root_fs=Layers(layers=image.layers),
    )
