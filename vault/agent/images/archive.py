"""Takes in archives of `docker save` and OCI layouts in a tar: every blob checked, every layer unpacked.

Archives are untrusted.  Blocking; runs in the worker process.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from vault.agent.images.content import DOCUMENT_MAX_BYTES, Content
from vault.agent.images.documents import (
    CONFIG_TYPE,
    INDEX_TYPES,
    LAYER_TYPE,
    MANIFEST_TYPE,
    MANIFEST_TYPES,
    NAME_KEY,
    REF_KEY,
    Descriptor,
    Index,
    Manifest,
    Saved,
    decode,
)
from vault.agent.images.errors import BadArchive, BadReference
from vault.agent.images.platforms import choose
from vault.agent.images.protocol import Stored
from vault.agent.images.reference import DIGEST, parse
from vault.agent.images.settle import settle
from vault.agent.images.streams import plain
from vault.agent.images.tar import Kind, TarReader
from vault.agent.images.unpack import clean

_FILES_MAX: Final = 10_000
_LINKS_MAX: Final = 16
_NESTED_MAX: Final = 4

Tell = Callable[[str, str], None]  # Status, and what it is about.


def load(content: Content, archive: io.BufferedReader, tell: Tell) -> list[Stored]:
    """Store every image of an archive.  Raises `BadArchive` when it is none, or one of its images is damaged."""
    files = _Files(content)
    with plain(archive) as source:
        files.take(TarReader(source.read))
        if files.has("manifest.json"):
            return list(_saved(content, files, tell))
        if files.has("index.json"):
            return list(_layout(content, files, tell))
    raise BadArchive("this is no image archive: it has neither manifest.json nor index.json")


class _Files:
    """The files of an archive: each a blob of the store, known by its name in the archive."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._digests: dict[str, tuple[str, int]] = {}
        self._links: dict[str, str] = {}

    def take(self, tar: TarReader) -> None:
        """Read the archive to its end; blobs that the store has are not written again."""
        for number, entry in enumerate(tar):
            if number >= _FILES_MAX:
                raise BadArchive(f"the archive has more than {_FILES_MAX} files")
            name = clean(entry.name)
            match entry.kind:
                case Kind.FILE if self._known(name):
                    continue
                case Kind.FILE:
                    with self._content.intake() as intake:
                        for piece in tar.body():
                            intake.write(piece)
                        self._digests[name] = intake.keep(), intake.size_bytes
                case Kind.SYMLINK:  # Older archives say so that two layers are the same.
                    self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.target))
                case Kind.HARD_LINK:
                    self._links[name] = clean(entry.target)
                case Kind.DIRECTORY:
                    continue
                case _:
                    raise BadArchive("the archive has something else than files in it")

    def _known(self, name: str) -> bool:
        """Tell whether a file is called by the digest of a blob that the store has, checked when it came in."""
        directory, _, digest = name.rpartition("/")
        if directory != "blobs/sha256" or not DIGEST.fullmatch(f"sha256:{digest}"):
            return False
        blob = self._content.blob(digest)
        if not blob.exists():
            return False
        self._digests[name] = f"sha256:{digest}", blob.stat().st_size
        return True

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        return name in self._digests or name in self._links

    def find(self, name: str) -> tuple[str, int]:
        """Return a file's digest and size."""
        for _ in range(_LINKS_MAX):
            if name in self._digests:
                return self._digests[name]
            name = self._links.get(name, "")
        raise BadArchive("the archive lacks a file that it refers to")

    def document(self, name: str) -> bytes:
        """Return what a small file holds."""
        digest, size = self.find(name)
        if size > DOCUMENT_MAX_BYTES:
            raise BadArchive(f"{name} is too large")
        return self._content.document(digest)


def _saved(content: Content, files: _Files, tell: Tell) -> Iterator[Stored]:
    """Take in what `docker save` wrote: its layers are known by their names, its manifests are ours to write."""
    for saved in decode(files.document("manifest.json"), list[Saved]):
        config, size = files.find(saved.config)
        layers = [_layer(*files.find(name)) for name in saved.layers]
        manifest = Manifest(config=Descriptor(media_type=CONFIG_TYPE, digest=config, size=size), layers=layers)
        data = msgspec.json.encode(manifest)
        descriptor = Descriptor(media_type=MANIFEST_TYPE, digest=content.put(data), size=len(data))
        names = [parse(name).full for name in saved.repo_tags or ()]
        yield settle(content, descriptor, names, tell)


def _layer(digest: str, size: int) -> Descriptor:
    return Descriptor(media_type=LAYER_TYPE, digest=digest, size=size)


def _layout(content: Content, files: _Files, tell: Tell) -> Iterator[Stored]:
    """Take in an OCI layout; the blobs of it are those whose content fits their name."""
    for descriptor in decode(files.document("index.json"), Index).manifests:
        chosen = _resolve(content, descriptor)
        yield settle(content, chosen, _names(descriptor.annotations or {}), tell)


def _resolve(content: Content, descriptor: Descriptor) -> Descriptor:
    """Follow indexes down to the manifest for this machine."""
    for _ in range(_NESTED_MAX):
        if descriptor.media_type not in INDEX_TYPES:
            break
        descriptor = choose(decode(content.document(descriptor.digest), Index))
    if descriptor.media_type not in MANIFEST_TYPES:
        raise BadArchive("the archive's index does not lead to a manifest")
    return Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)


def _names(annotations: Mapping[str, str]) -> list[str]:
    """Return the name that an index gives an image; a bare tag is none."""
    name = annotations.get(NAME_KEY) or annotations.get(REF_KEY, "")
    if not set(name) & set(":/"):
        return []
    try:
        return [parse(name).full]
    except BadReference:
        return []
