"""Streams that hash what passes, and that undo compression.

Blocking; runs in the worker process.  A damaged stream raises `BadArchive` and nothing else.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from vault.agent.images.errors import BadArchive

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_FORMATS: Final[tuple[tuple[bytes, Callable[[IO[bytes]], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]], ...]] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)
_DAMAGED: Final = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class Readable(Protocol):
    """What can be read."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        ...


class Hashing:
    """A stream that knows the digest of what was read from it."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Read, and remember."""
        data = self._source.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        """`sha256:…` of everything read so far."""
        return f"sha256:{self._hash.hexdigest()}"


class _Plain:
    """The uncompressed side of a compressed stream."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        try:
            return self._source.read(size)
        except _DAMAGED as error:
            raise BadArchive("a compressed archive is damaged or cut short") from error


@contextmanager
def plain(file: io.BufferedReader) -> Iterator[Readable]:
    """Give the uncompressed bytes of a stream; gzip, bzip2, xz and zstd are known by how they begin."""
    begin = file.peek(6)[:6]
    if begin.startswith(_ZSTD):
        with _zstd(file) as source:
            yield source
        return
    for magic, opener in _FORMATS:
        if begin.startswith(magic):
            with opener(file) as source:
                yield _Plain(source)
            return
    yield file


@contextmanager
def opened(path: Path) -> Iterator[Readable]:
    """Give the uncompressed bytes of a file."""
    with path.open("rb") as file, plain(file) as source:
        yield source


@contextmanager
def _zstd(file: io.BufferedReader) -> Iterator[Readable]:
    """Let the `zstd` command uncompress; the standard library cannot before Python 3.14."""
    if not file.seekable():
        raise BadArchive("an archive compressed with zstd cannot be read from a pipe: uncompress it first")
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # The command reads the file itself, not what is buffered of it.
    try:
        process = subprocess.Popen(
            ["zstd", "--decompress", "--stdout", "--quiet", "--memory=128MB"],
            stdin=file.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise BadArchive("a layer is compressed with zstd: install Debian's zstd to read it") from None
    assert process.stdout is not None
    try:
        yield process.stdout
        rest = process.stdout.read(1)
        if not rest and process.wait() != 0:
            raise BadArchive("a compressed archive is damaged or cut short")
    finally:
        process.stdout.close()
        process.kill()
        process.wait()
