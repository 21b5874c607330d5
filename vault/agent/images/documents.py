"""The JSON documents of images: indexes, manifests, configurations, and Docker's list in an archive.

Pure.  Only what we use is read; what a document has beyond that stays in its bytes.  Sources: the OCI image
specification; Docker's image manifest version 2, schema 2.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, TypeVar

import msgspec

from vault.agent.images.errors import BadArchive

INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEX_TYPES: Final = (INDEX_TYPE, DOCKER_INDEX_TYPE)
MANIFEST_TYPES: Final = (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE)
NAME_KEY: Final = "io.containerd.image.name"
REF_KEY: Final = "org.opencontainers.image.ref.name"
LAYERS_MAX: Final = 127  # Docker's limit, and about what one overlay mount takes.

Digest = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Any of them, before one knows which."""

    media_type: str = ""


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest of an index is for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A pointer to content."""

    media_type: str = ""
    digest: Digest
    size: Size
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Several manifests: one for each platform, or one for each image of a layout."""

    schema_version: int = 2
    media_type: str = INDEX_TYPE
    manifests: list[Descriptor]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One image: its configuration, and its layers, lowermost first."""

    schema_version: int = 2
    media_type: str = MANIFEST_TYPE
    config: Descriptor
    layers: list[Descriptor]


class Saved(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One image in the manifest.json of `docker save`; the values are names of files in the archive."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str]


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """The digests of the layers' uncompressed streams, lowermost first."""

    diff_ids: list[Digest] = []


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's HEALTHCHECK; the OCI specification has none.  Durations in nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Run(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """How containers are started."""

    env: list[str] | None = None
    entrypoint: list[str] | str | None = None
    cmd: list[str] | str | None = None
    user: str | None = None
    working_dir: str | None = None
    volumes: dict[str, msgspec.Raw] | None = None
    stop_signal: str | None = None
    exposed_ports: dict[str, msgspec.Raw] | None = None
    labels: dict[str, str] | None = None
    healthcheck: Healthcheck | None = None
    shell: list[str] | None = None


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """An image's configuration."""

    architecture: str = ""
    os: str = "linux"
    variant: str = ""
    created: str | None = None
    author: str = ""
    comment: str = ""
    config: Run | None = None
    rootfs: RootFS = RootFS()

    @property
    def created_at(self) -> datetime | None:
        """When the image says it was made; None when it says nothing sensible."""
        try:
            made = msgspec.convert(self.created, datetime)
        except msgspec.ValidationError:
            return None
        return made if made.tzinfo is not None else None


_Document = TypeVar("_Document")


def decode(data: bytes, kind: type[_Document]) -> _Document:
    """Read a document.  Raises `BadArchive` naming the kind and the field, never the content."""
    try:
        return msgspec.json.decode(data, type=kind)
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except (msgspec.DecodeError, RecursionError) as error:
        reason = str(error)
    raise BadArchive(f"the image has a damaged {getattr(kind, '__name__', 'document').lower()}: {reason}")


def check_layers(manifest: Manifest, configuration: Configuration) -> None:
    """Raise `BadArchive` unless both documents speak of the same, sensible number of layers, for Linux."""
    count = len(manifest.layers)
    if count != len(configuration.rootfs.diff_ids):
        raise BadArchive(f"the image has {count} layers, but digests for {len(configuration.rootfs.diff_ids)}")
    if not 0 < count <= LAYERS_MAX:
        raise BadArchive(f"the image has {count} layers: 1 to {LAYERS_MAX} can be used")
    if configuration.os not in ("linux", ""):
        raise BadArchive(f"the image is for {configuration.os[:32]!r}: only linux images can be used")
