"""Fetches an image from its registry: by tag or digest, for this machine, every blob checked by its SHA-256.

Blocking; runs in the worker process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from vault.agent.images.content import Content, digest_of
from vault.agent.images.documents import (
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPES,
    MANIFEST_TYPE,
    MANIFEST_TYPES,
    Configuration,
    Descriptor,
    Document,
    Index,
    Manifest,
    check_layers,
    decode,
)
from vault.agent.images.errors import BadArchive, RegistryFailed
from vault.agent.images.platforms import choose
from vault.agent.images.protocol import Progress, Stored
from vault.agent.images.reference import Reference
from vault.agent.images.registry import Repository
from vault.agent.images.settle import settle

_PIECE_BYTES: Final = 1 << 18
_REPORT_EVERY_BYTES: Final = 1 << 20
_AT_ONCE: Final = 3  # As Docker does.
_TRIES: Final = 3
_SHORT_ID: Final = 12

Tell = Callable[[Progress], None]


def pull(content: Content, reference: Reference, repository: Repository, tell: Tell) -> Stored:
    """Fetch an image; blobs that the store has are not fetched again.

    Raises `ManifestUnknown`, `PullDenied`, `RegistryFailed`, or `BadArchive` when what comes does not fit its digest.
    """
    which = reference.digest or reference.tag
    tell(Progress(status=f"Pulling from {reference.path}", id=which))
    top, kind = _manifest(repository, which, reference.digest)
    digest = digest_of(top)
    data = top
    if kind in INDEX_TYPES:
        chosen = choose(decode(top, Index))
        data, kind = _manifest(repository, chosen.digest, chosen.digest)
    if kind not in MANIFEST_TYPES:
        raise BadArchive(f"the registry has {which} in a form that is not supported: {kind[:100]}")
    manifest = decode(data, Manifest)
    _fetch_all(content, repository, manifest, tell)
    descriptor = Descriptor(media_type=kind, digest=content.put(data), size=len(data))
    stored = settle(content, descriptor, _names(reference, digest), _telling(tell))
    tell(Progress(status=f"Digest: {digest}"))
    return stored


def _names(reference: Reference, digest: str) -> list[str]:
    exact = reference.at(digest).full
    return [exact] if reference.digest else [reference.full, exact]


def _manifest(repository: Repository, which: str, digest: str) -> tuple[bytes, str]:
    """Fetch a document; its kind is what it says of itself, else what the registry says."""
    data, kind = repository.manifest(which)
    if digest and digest_of(data) != digest:
        raise BadArchive(f"the registry sends something else than {digest}")
    stated = decode(data, Document).media_type
    return data, stated or {"application/json": MANIFEST_TYPE, "text/plain": DOCKER_MANIFEST_TYPE}.get(kind, kind)


def _fetch_all(content: Content, repository: Repository, manifest: Manifest, tell: Tell) -> None:
    """Fetch the configuration, check it against the manifest, then fetch the layers, a few at a time."""
    _fetch(content, repository, manifest.config, lambda progress: None)
    check_layers(manifest, decode(content.document(manifest.config.digest), Configuration))
    layers = {layer.digest: layer for layer in manifest.layers}  # A layer may be there twice.
    for digest in layers:
        tell(Progress(status="Pulling fs layer", id=_short(digest)))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(_fetch, content, repository, layer, tell) for layer in layers.values()]:
            done.result()


def _fetch(content: Content, repository: Repository, descriptor: Descriptor, tell: Tell) -> None:
    """Fetch one blob; a connection that breaks is tried again, content that does not fit is not."""
    name = _short(descriptor.digest)
    if content.blob(descriptor.digest).exists():
        tell(Progress(status="Already exists", id=name))
        return
    for attempt in range(1, _TRIES + 1):
        try:
            _fetch_once(content, repository, descriptor, tell)
            break
        except RegistryFailed:
            if attempt == _TRIES:
                raise
    tell(Progress(status="Download complete", id=name))


def _fetch_once(content: Content, repository: Repository, descriptor: Descriptor, tell: Tell) -> None:
    reported = 0
    with content.intake() as intake, repository.blob(descriptor.digest) as answer:
        while piece := answer.read(_PIECE_BYTES):
            intake.write(piece)
            if intake.size_bytes > descriptor.size:
                break
            if intake.size_bytes - reported >= _REPORT_EVERY_BYTES:
                reported = intake.size_bytes
                tell(
                    Progress(
                        status="Downloading", id=_short(descriptor.digest), current=reported, total=descriptor.size
                    )
                )
        if intake.size_bytes < descriptor.size:
            raise RegistryFailed("the registry sends less than it promised")
        if intake.size_bytes > descriptor.size or intake.digest != descriptor.digest:
            raise BadArchive(f"the registry sends something else than {descriptor.digest}")
        intake.keep()


def _telling(tell: Tell) -> Callable[[str, str], None]:
    return lambda status, digest: tell(Progress(status=status, id=_short(digest)))


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_SHORT_ID]
