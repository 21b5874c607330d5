"""The store's directory: blobs named by their SHA-256, layers unpacked once, and what is still coming in.

    oci-layout, index.json       as in the OCI image layout; index.json is written by `index`
    blobs/sha256/<hex>           manifests, configurations, layers as they came
    layers/<chain id>/           unpacked layers, in the form overlayfs stacks
    incoming/                    of workers at work; emptied when none is

A blob or layer gets its name when it is whole and checked; `sync` puts all on disk before index.json lists it, and what
is not listed at start is deleted.  Blocking; runs in the worker process.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from vault.agent.images.errors import BadArchive
from vault.agent.images.streams import Hashing, opened
from vault.agent.images.tar import TarReader
from vault.agent.images.unpack import require_space, unpack

DOCUMENT_MAX_BYTES: Final = 4 << 20  # A manifest or a configuration; registries refuse larger ones too.
_CHECK_EVERY_BYTES: Final = 64 << 20
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The files of one store."""

    root: Path

    @property
    def incoming(self) -> Path:
        """Where unfinished files are."""
        return self.root / "incoming"

    def prepare(self) -> None:
        """Make the directories.  Only root may enter: images have set-uid files of their own."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (self.root / "blobs" / "sha256", self.root / "layers", self.incoming):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, digest: str) -> Path:
        """Return where a blob is, or would be; digest: `sha256:` and 64 hex digits, checked by the caller."""
        return self.root / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def layer(self, chain: str) -> Path:
        """Return where an unpacked layer is, or would be; chain: its chain id, `sha256:…`."""
        return self.root / "layers" / chain.removeprefix("sha256:")

    def document(self, digest: str) -> bytes:
        """Return a small blob.  Raises `BadArchive` when it is missing, too large or altered."""
        path = self.blob(digest)
        try:
            with path.open("rb") as file:
                data = file.read(DOCUMENT_MAX_BYTES + 1)
        except FileNotFoundError:
            raise BadArchive(f"the image refers to {digest}, which is missing") from None
        if len(data) > DOCUMENT_MAX_BYTES or digest_of(data) != digest:
            raise BadArchive(f"{digest} is not what its name says: it is too large or was altered")
        return data

    def put(self, data: bytes) -> str:
        """Store a small blob; return its digest."""
        with self.intake() as intake:
            intake.write(data)
            return intake.keep()

    def sync(self) -> None:
        """Put all that was stored on disk: one call for the file system, instead of one for each of many files."""
        directory = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _LIBC.syncfs(directory) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(self.root))
        finally:
            os.close(directory)

    @contextmanager
    def intake(self) -> Iterator[Intake]:
        """Give a file to fill; it is gone afterwards unless it was kept."""
        handle, name = tempfile.mkstemp(dir=self.incoming)
        path = Path(name)
        with os.fdopen(handle, "wb") as file:
            try:
                yield Intake(self, file, path)
            finally:
                path.unlink(missing_ok=True)

    def unpack(self, blob: str, diff: str, parents: Sequence[str]) -> tuple[str, int]:
        """Unpack a stored layer on top of others; return its chain id and how many bytes its files have.

        diff: the digest that the unpacked stream must have, "" to accept any.  parents: chain ids, lowermost first.
        A layer that is there already is not unpacked again.
        """
        there = self.layer(chain_id(parents[-1] if parents else "", diff)) if diff else None
        if there is not None and there.is_dir():
            return f"sha256:{there.name}", _size_bytes(there)
        scratch = Path(tempfile.mkdtemp(dir=self.incoming))
        scratch.chmod(0o755)
        try:
            with opened(self.blob(blob)) as plain:
                source = Hashing(plain)
                reader = TarReader(source.read)
                size_bytes = unpack(reader, scratch, below=[self.layer(parent) for parent in parents])
                reader.drain()
            if diff and source.digest != diff:
                raise BadArchive(f"a layer has the digest {source.digest}, not {diff}: the image is damaged")
            chain = chain_id(parents[-1] if parents else "", source.digest)
            _rename(scratch, self.layer(chain))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return chain, size_bytes


class Intake:
    """A blob on its way in: counted, hashed, and stopped before the disk is full."""

    def __init__(self, content: Content, file: BinaryIO, path: Path) -> None:
        self._content = content
        self._file = file
        self._hash = hashlib.sha256()
        self._unchecked_bytes = _CHECK_EVERY_BYTES
        self.path = path
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Append."""
        self._hash.update(data)
        self.size_bytes += len(data)
        self._unchecked_bytes += len(data)
        if self._unchecked_bytes >= _CHECK_EVERY_BYTES:
            self._unchecked_bytes = 0
            require_space(self._file.fileno())
        self._file.write(data)

    def keep(self) -> str:
        """Give the blob its name, and return it."""
        self._file.flush()
        os.rename(self.path, self._content.blob(self.digest))
        return self.digest


def digest_of(data: bytes) -> str:
    """Return `sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def chain_id(parent: str, diff: str) -> str:
    """Return the id of a layer on top of others.  Source: OCI image configuration, "Layer ChainID"."""
    return digest_of(f"{parent} {diff}".encode()) if parent else diff


def chain_ids(diffs: Sequence[str]) -> tuple[str, ...]:
    """Return the chain ids of layers, lowermost first."""
    chains: list[str] = []
    for diff in diffs:
        chains.append(chain_id(chains[-1] if chains else "", diff))
    return tuple(chains)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _size_bytes(directory: Path) -> int:
    """Return how many bytes the files below a directory have."""
    total = 0
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            total += _size_bytes(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            total += entry.stat(follow_symlinks=False).st_size
    return total


def _rename(scratch: Path, target: Path) -> None:
    """Give an unpacked layer its name, unless another worker was quicker."""
    try:
        os.rename(scratch, target)
    except OSError:
        if not target.is_dir():
            raise
