"""Directories inside a directory that nobody vouches for: the kernel resolves every link as if it were /.

Blocking; called by `unpack`.  Source: openat2(2), RESOLVE_IN_ROOT.
"""

from __future__ import annotations

import ctypes
import errno
import os
import posixpath
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_OPENAT2: Final = 437  # The same on every architecture.
_RESOLVE_IN_ROOT: Final = 0x10 | 0x02  # And no magic links.
_OPEN_DIRECTORY: Final = os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Open the directory `path` ("" is the root itself); the caller closes it.  Raises `OSError`."""
    how = struct.pack("QQQ", flags | _OPEN_DIRECTORY, 0, _RESOLVE_IN_ROOT)
    opened: int = _LIBC.syscall(_OPENAT2, root, os.fsencode(path or "."), how, len(how))
    if opened < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return opened


def open_child(directory: int, name: str) -> int:
    """Open a directory for reading by its name in another, which must not be a link; the caller closes it."""
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | _OPEN_DIRECTORY, dir_fd=directory)


@dataclass(slots=True, kw_only=True)
class Tree:
    """The directories of a layer on its way in; those it does not describe look like the ones below it."""

    root: int
    below: Sequence[Path]  # Unpacked layers, uppermost first.
    _cached: tuple[str, int] | None = None  # The directory that the last entry was in, open.

    def directory(self, path: str) -> int:
        """Return the open directory `path`, made with its parents if need be; good until the next call."""
        if self._cached is None or self._cached[0] != path:
            self.close()
            self._cached = path, self._open_or_make(path)
        return self._cached[1]

    def close(self) -> None:
        """Close what is open."""
        if self._cached is not None:
            os.close(self._cached[1])
            self._cached = None

    def _open_or_make(self, path: str) -> int:
        try:
            return open_directory(self.root, path)
        except FileNotFoundError:
            self._make(path)
        return open_directory(self.root, path)

    def _make(self, path: str) -> None:
        parent, name = posixpath.split(path)
        directory = self._open_or_make(parent)
        try:
            os.mkdir(name, 0o755, dir_fd=directory)
            like = self._like_below(path)
            if like is not None:
                os.chown(name, like.st_uid, like.st_gid, dir_fd=directory, follow_symlinks=False)
                os.chmod(name, stat.S_IMODE(like.st_mode), dir_fd=directory)
        finally:
            os.close(directory)

    def _like_below(self, path: str) -> os.stat_result | None:
        for lower in self.below:
            root = os.open(lower, os.O_PATH | _OPEN_DIRECTORY)
            try:
                opened = open_directory(root, path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                continue
            finally:
                os.close(root)
            try:
                return os.fstat(opened)
            finally:
                os.close(opened)
        return None
