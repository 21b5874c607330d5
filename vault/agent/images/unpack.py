"""Unpacks one layer into a directory in the form that overlayfs stacks: white-outs and opaque directories made real.

Layers are untrusted.  Every name is resolved inside the target directory by the kernel (openat2, RESOLVE_IN_ROOT), so
no link leads out; `..` and absolute names are refused.  Blocking; runs in the worker process, as root.
Source: OCI image layer specification; the kernel's overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vault.agent.images.errors import BadArchive, NoSpace
from vault.agent.images.inroot import Tree, open_child, open_directory
from vault.agent.images.tar import Entry, Kind, TarReader

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_AUFS: Final = ".wh..wh."  # Other names that begin so are aufs's own bookkeeping.
_ENTRIES_MAX: Final = 1_000_000
_DEPTH_MAX: Final = 256
_SPARE_BYTES: Final = 256 << 20  # Left free on the disk, for the store and the tasks.
_CHECK_EVERY_BYTES: Final = 64 << 20
_HARMLESS_DEVICES: Final = frozenset(
    {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)}
)  # null zero full random urandom tty
_KEPT_XATTRS: Final = ("security.capability", "user.")  # Never trusted.*: overlayfs believes those.


def unpack(layer: TarReader, target: Path, *, below: Sequence[Path] = ()) -> int:
    """Unpack a layer into the empty directory `target`; return how many bytes its files have.

    below: the unpacked layers under it, lowermost first; directories that the layer does not describe itself take
    owner and mode from there.
    Raises `BadArchive` for what breaks a rule, `NoSpace` when the disk gets full.
    """
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    tree = Tree(root=root, below=tuple(reversed(below)))
    try:
        return _Unpacking(tree=tree).run(layer)
    finally:
        tree.close()
        os.close(root)


@dataclass(slots=True, kw_only=True)
class _Unpacking:
    """One layer on its way to one directory."""

    tree: Tree
    size_bytes: int = 0
    unchecked_bytes: int = _CHECK_EVERY_BYTES
    directory_times: dict[str, int] = field(default_factory=dict)

    def run(self, layer: TarReader) -> int:
        for number, entry in enumerate(layer):
            if number >= _ENTRIES_MAX:
                raise BadArchive(f"a layer has more than {_ENTRIES_MAX} files")
            self._put(layer, entry)
        for path, mtime_ns in self.directory_times.items():
            self._set_directory_time(path, mtime_ns)
        return self.size_bytes

    def _put(self, layer: TarReader, entry: Entry) -> None:
        path = clean(entry.name)
        parent, name = posixpath.split(path)
        try:
            if not path:
                self._describe_root(entry)
            elif name.startswith(_WHITEOUT):
                self._white_out(parent, name)
            else:
                self._make(layer, entry, parent, name)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace("no space left for images: free space under the data root and try again") from error
            raise BadArchive(f"a layer's entry {_shown(entry.name)} cannot be unpacked: {error.strerror}") from error

    def _make(self, layer: TarReader, entry: Entry, parent: str, name: str) -> None:
        if entry.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE) and not _wanted_device(entry, parent):
            return
        directory = self.tree.directory(parent)
        replaced = self._clear_way(directory, name, keep_directory=entry.kind is Kind.DIRECTORY)
        match entry.kind:
            case Kind.DIRECTORY:
                self._make_directory(directory, entry, posixpath.join(parent, name), hides=replaced)
                return
            case Kind.FILE:
                self._make_file(layer, directory, name, entry)
                return
            case Kind.HARD_LINK:
                self._make_hard_link(directory, name, entry)
                return
            case Kind.SYMLINK:
                os.symlink(entry.target, name, dir_fd=directory)
            case Kind.FIFO:
                os.mkfifo(name, dir_fd=directory)
            case Kind.CHARACTER_DEVICE | Kind.BLOCK_DEVICE:
                os.mknod(name, stat.S_IFCHR, os.makedev(*entry.device), dir_fd=directory)
        os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=directory)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _make_directory(self, parent: int, entry: Entry, path: str, *, hides: bool) -> None:
        name = posixpath.basename(path)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            hides = False
        made = open_child(parent, name)
        try:
            _describe(made, entry)
        finally:
            os.close(made)
        if hides:
            _make_opaque(parent, name)
        self.directory_times[path] = entry.mtime_ns

    def _make_file(self, layer: TarReader, directory: int, name: str, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            for piece in layer.body():
                self._count(file, len(piece))
                view = memoryview(piece)
                while view:
                    view = view[os.write(file, view) :]
            _describe(file, entry)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(file)

    def _make_hard_link(self, directory: int, name: str, entry: Entry) -> None:
        target = clean(entry.target.lstrip("/"))
        parent, target_name = posixpath.split(target)
        if not target_name or target_name.startswith(_WHITEOUT):
            raise BadArchive(f"a layer's hard link {_shown(entry.name)} names no file")
        source = open_directory(self.tree.root, parent)
        try:
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(source)

    def _white_out(self, parent: str, name: str) -> None:
        """Hide what lower layers have: all of a directory, or one name; what this layer itself has stays."""
        if name == _OPAQUE:
            _make_opaque(self.tree.directory(parent), ".")
            return
        hidden = name.removeprefix(_WHITEOUT)
        if name.startswith(_AUFS):
            return
        if hidden in ("", ".", ".."):
            raise BadArchive("a layer has a white-out without a name")
        directory = self.tree.directory(parent)
        try:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=directory)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(hidden, dir_fd=directory, follow_symlinks=False).st_mode):
                _make_opaque(directory, hidden)

    def _clear_way(self, directory: int, name: str, *, keep_directory: bool) -> bool:
        """Remove what this layer already put there; return whether that was a white-out."""
        try:
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(there.st_mode):
            if not keep_directory:
                shutil.rmtree(name, dir_fd=directory)
            return False
        os.unlink(name, dir_fd=directory)
        return stat.S_ISCHR(there.st_mode) and there.st_rdev == 0

    def _describe_root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise BadArchive("a layer's root is not a directory")
        root = open_child(self.tree.root, ".")
        try:
            _describe(root, entry)
        finally:
            os.close(root)
        self.directory_times[""] = entry.mtime_ns

    def _set_directory_time(self, path: str, mtime_ns: int) -> None:
        """Set a time that later entries have moved; a directory that is gone or hidden by now needs none."""
        try:
            opened = open_directory(self.tree.root, path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            os.utime(opened, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(opened)

    def _count(self, file: int, length: int) -> None:
        self.size_bytes += length
        self.unchecked_bytes += length
        if self.unchecked_bytes >= _CHECK_EVERY_BYTES:
            self.unchecked_bytes = 0
            require_space(file)


def require_space(file: int) -> None:
    """Raise `NoSpace` when the disk that a file is on is all but full."""
    disk = os.fstatvfs(file)
    if disk.f_bavail * disk.f_frsize < _SPARE_BYTES:
        raise NoSpace("no space left for images: free space under the data root and try again")


def clean(name: str) -> str:
    """Return a name in its shortest form, "" for the root.  Raises `BadArchive` for one that leads elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or len(parts) > _DEPTH_MAX:
        raise BadArchive(f"a layer has an entry with a forbidden name: {_shown(name)}")
    return "/".join(parts)


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 100 else name[:100] + "…")


def _wanted_device(entry: Entry, parent: str) -> bool:
    """Tell whether to make a device.  The runtime fills /dev itself; elsewhere only what can do no harm is made."""
    if entry.kind is Kind.CHARACTER_DEVICE and entry.device in _HARMLESS_DEVICES:
        return True
    if parent == "dev" or parent.startswith("dev/"):
        return False
    raise BadArchive(f"a layer has a device outside /dev: {_shown(entry.name)}")


def _describe(file: int, entry: Entry) -> None:
    """Give an open file or directory its owner, then what a change of owner would take away: mode and capabilities."""
    os.fchown(file, entry.uid, entry.gid)
    os.fchmod(file, entry.mode)
    for name, value in entry.xattrs.items():
        if name.startswith(_KEPT_XATTRS):
            try:
                os.setxattr(file, name, value)
            except OSError as error:
                if error.errno != errno.ENOTSUP or not name.startswith("user."):
                    raise


def _make_opaque(parent: int, name: str) -> None:
    """Let a directory hide all that lower layers have in it."""
    directory = open_child(parent, name)
    try:
        os.setxattr(directory, "trusted.overlay.opaque", b"y")
    finally:
        os.close(directory)
