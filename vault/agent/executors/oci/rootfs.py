"""The root file system of a task: the image's layers and a writable one over them.

Touches mounts and files; blocking.  Images are untrusted, so every path inside one is resolved by `resolve_in_root`.
Called by `prepare` and `removal`.
"""

import ctypes
import errno
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from vault.agent.executors.oci.process import Accounts
from vault.agent.executors.port import TaskRejected
from vault.tmpfs.mount import MountFlag, mount

_OPTIONS_MAX_BYTES: Final = 4000  # mount(2) takes one page.
_ACCOUNT_FILE_MAX_BYTES: Final = 4 << 20
_LINKS_MAX: Final = 40
_OPENAT2: Final = 437  # The same on every architecture.
_RESOLVE_IN_ROOT: Final = 0x10 | 0x02  # And no magic links.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_COPY_TIMEOUT_S: Final = 600


def mount_layers(layers: Sequence[Path], place: Path, *, upper: Path, work: Path, label: str = "") -> None:
    """Mount the layers of an image (lowermost first) and an empty writable one at `place`; all three are made.

    label: the SELinux label of all files; "" = the files' own.
    """
    if not layers:
        raise TaskRejected("the image has no layers: load or pull it again")
    for directory in (place, upper, work):
        directory.mkdir(parents=True)
    shown = layers[-1].stat()
    os.chown(upper, shown.st_uid, shown.st_gid)
    os.chmod(upper, stat.S_IMODE(shown.st_mode))
    writable = f"upperdir={_escape(upper)},workdir={_escape(work)}" + (f',context="{label}"' if label else "")
    opened: list[int] = []
    try:
        names = [str(layer) for layer in reversed(layers)]
        options = f"lowerdir={':'.join(names)},{writable}"
        if len(options) > _OPTIONS_MAX_BYTES or any(c in "".join(names) for c in ":,\\"):
            opened = [os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for name in names]
            options = f"lowerdir={':'.join(f'/proc/self/fd/{fd}' for fd in opened)},{writable}"
        _mount_overlay(place, options, upper)
    finally:
        for fd in opened:
            os.close(fd)


def _mount_overlay(place: Path, options: str, upper: Path) -> None:
    try:
        # volatile: the layer goes with the task, so nothing need be synced when it is unmounted.
        mount("overlay", place, "overlay", MountFlag(0), options + ",volatile")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        try:
            mount("overlay", place, "overlay", MountFlag(0), options)  # Linux before 5.10.
        except OSError as refusal:
            raise TaskRejected(
                f"the file system of {upper.parent} cannot hold the writable layer of a task "
                f"({refusal.strerror}): put the data root on ext4, xfs or btrfs"
            ) from refusal


def _escape(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(",", "\\,")


def resolve_in_root(root: Path, path: PurePosixPath) -> Path:
    """Return where `path` leads when `root` is /, following the links in there; the end need not exist.

    Only for a tree that nothing changes meanwhile: a container that is not started yet.
    """
    rest = list(reversed(path.parts[1:] if path.is_absolute() else path.parts))
    here = PurePosixPath("/")
    links = 0
    while rest:
        part = rest.pop()
        if part == "..":
            here = here.parent
            continue
        step = here / part
        try:
            link = PurePosixPath(os.readlink(root / step.relative_to("/")))
        except OSError:  # Not a link, or not there.
            here = step
            continue
        links += 1
        if links > _LINKS_MAX:
            raise TaskRejected(f"the image has too many symbolic links on the way to {path}")
        here = PurePosixPath("/") if link.is_absolute() else here
        rest += reversed(link.parts[1:] if link.is_absolute() else link.parts)
    return root / here.relative_to("/")


def read_accounts(rootfs: Path) -> Accounts:
    """Read the image's account files; missing or odd ones count as empty."""
    return Accounts(passwd=_read_text(rootfs, "/etc/passwd"), group=_read_text(rootfs, "/etc/group"))


def _read_text(rootfs: Path, name: str) -> str:
    try:
        fd = open_in_root(rootfs, name)
    except OSError:
        return ""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(_ACCOUNT_FILE_MAX_BYTES).decode(errors="replace")


def open_in_root(rootfs: Path, name: str) -> int:
    """Open a file for reading as a process in the container would; good while the container runs and plays tricks."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
        fd: int = _LIBC.syscall(_OPENAT2, root, os.fsencode(name), how, len(how))
    finally:
        os.close(root)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return fd


def make_directory(rootfs: Path, path: PurePosixPath) -> None:
    """Make a directory of the container, as Docker does for a missing working directory."""
    place = resolve_in_root(rootfs, path)
    try:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise TaskRejected(f"the directory {path} cannot be made in the image: {error.strerror}") from error


def copy_up(rootfs: Path, path: PurePosixPath, volume: Path) -> None:
    """Fill an empty volume with what the image has at `path`, as Docker does; owner and mode of the directory too."""
    source = resolve_in_root(rootfs, path)
    if not source.is_dir() or any(volume.iterdir()):
        return
    try:
        subprocess.run(
            ["cp", "-a", "--reflink=auto", "--", f"{source}/.", f"{volume}/"],
            check=True,
            capture_output=True,
            timeout=_COPY_TIMEOUT_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise TaskRejected(f"the image's files at {path} cannot be copied into the volume: {error}") from error


def remove_tree(path: Path) -> None:
    """Delete a directory of ours with all in it; links in it are not followed.  Missing is no error."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
