"""One layer of an image: a sorted, reproducible tar built from packages and files of our own.

The same packages give the same bytes, so the same image id.  Called by `recipes`.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
from collections.abc import Iterable
from pathlib import Path

from debian import Package, contents

MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")  # Debian 12: links into /usr.
NOT_NEEDED = tuple(
    f"usr/share/{name}/"
    for name in (
        "base-files", "bug", "debianutils", "dict", "doc", "doc-base", "info", "initramfs-tools", "lintian", "locale",
        "man", "menu",
    )
)  # fmt: skip


class Layer:
    """Files to be, by their path without a leading slash; what is put last wins."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
        self.newest_s = 0  # The newest time of any file: when this layer counts as made.

    def add_packages(self, packages: Iterable[Package]) -> None:
        """Put what the packages hold, without documentation and translations."""
        for package in packages:
            with contents(package) as process, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for info in tar:
                    self._add_member(tar, info)
            if process.returncode != 0:
                raise RuntimeError(f"dpkg-deb cannot read {package.file.name}: delete it and build again")

    def _add_member(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        path = _merged(posixpath.normpath(info.name).lstrip("/"))
        if path == "." or path in MERGED or f"{path}/".startswith(NOT_NEEDED):
            return
        if info.isdir() and path in self._entries:
            return
        if info.islnk():
            info.linkname = _merged(posixpath.normpath(info.linkname).lstrip("/"))
        source = tar.extractfile(info) if info.isreg() else None
        self._put(path, info, source.read() if source else b"")

    def read(self, path: str) -> bytes:
        """Return what a file of this layer holds."""
        return self._entries[path][1]

    def paths(self) -> list[str]:
        """Return the paths put so far, sorted."""
        return sorted(self._entries)

    def directory(self, path: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> None:
        """Put a directory."""
        self._put(path, _info(tarfile.DIRTYPE, mode, uid, gid))

    def file(self, path: str, data: bytes, mode: int = 0o644, *, uid: int = 0, gid: int = 0) -> None:
        """Put a file."""
        self._put(path, _info(tarfile.REGTYPE, mode, uid, gid), data)

    def symlink(self, path: str, target: str) -> None:
        """Put a symbolic link that says `target`."""
        info = _info(tarfile.SYMTYPE, 0o777)
        info.linkname = target
        self._put(path, info)

    def hard_link(self, path: str, target: str) -> None:
        """Put another name for a file of this layer."""
        info = _info(tarfile.LNKTYPE, 0o755)
        info.linkname = target
        self._put(path, info)

    def _put(self, path: str, info: tarfile.TarInfo, data: bytes = b"") -> None:
        info.name = path
        info.size = len(data)
        info.uname = info.gname = ""  # Numbers decide; names differ between machines.
        info.pax_headers = {}
        self.newest_s = max(self.newest_s, int(info.mtime))
        self._entries[path] = (info, data)

    def write(self, target: Path) -> str:
        """Write the tar; return its SHA-256 in hex.  Hard links come last, after what they name."""
        for path in list(self._entries):
            self._add_parents(path)
        ordered = sorted(self._entries.items(), key=lambda entry: (entry[1][0].islnk(), entry[0]))
        with target.open("wb") as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for _, (info, data) in ordered:
                tar.addfile(info, io.BytesIO(data))
        with target.open("rb") as written:
            return hashlib.file_digest(written, "sha256").hexdigest()

    def _add_parents(self, path: str) -> None:
        parent = posixpath.dirname(path)
        if parent and parent not in self._entries:
            self.directory(parent)
            self._add_parents(parent)


def _merged(path: str) -> str:
    """Move /bin, /lib and the like below /usr, where Debian 12 keeps them."""
    first, _, rest = path.partition("/")
    return f"usr/{path}" if first in MERGED and rest else path


def _info(kind: bytes, mode: int, uid: int = 0, gid: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.mode, info.uid, info.gid = kind, mode, uid, gid
    return info
