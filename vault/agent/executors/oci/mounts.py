"""The mounts a service asks for, checked as Docker checks them.

Pure: says what is to be mounted; `prepare` makes the volumes and looks whether bind sources exist.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any, Final

from vault.agent.executors.port import TaskRejected
from vault.model.container import Mount, TmpfsOptions, VolumeOptions

_PROPAGATIONS: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A file or directory of the host."""

    source: str
    target: PurePosixPath
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: bool = True
    create: bool = False  # Make the source if it is missing.
    whole: bool = True  # Read-only means what is mounted below it too, as far as the kernel can.
    must_be_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume; without a name, one that goes with the task."""

    name: str
    target: PurePosixPath
    read_only: bool = False
    options: VolumeOptions = field(default_factory=lambda: VolumeOptions())


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """Memory that goes with the task; not for secrets, which have noswap mounts."""

    target: PurePosixPath
    read_only: bool = False
    options: TmpfsOptions = field(default_factory=lambda: TmpfsOptions())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMount:
    """The files of another image; what a container writes there goes with the task."""

    source: str
    target: PurePosixPath
    read_only: bool = False
    subpath: str = ""


Planned = BindMount | VolumeMount | TmpfsMount | ImageMount


def plan_mounts(mounts: Iterable[Mount], image_volumes: Iterable[str]) -> tuple[Planned, ...]:
    """Return what is to be mounted, parents first: what the spec asks for, and the image's volumes it leaves open.

    Raises `TaskRejected` with Docker's text.
    """
    planned: dict[PurePosixPath, Planned] = {}
    for mount in mounts:
        target = _target(mount)
        if target in planned:
            raise TaskRejected(f"Duplicate mount point: {target}")
        planned[target] = _plan(mount, target)
    for volume in image_volumes:
        target = _clean(volume)
        if target.is_absolute() and target not in planned and target != PurePosixPath("/"):
            planned[target] = VolumeMount(name="", target=target)
    return tuple(planned[target] for target in sorted(planned, key=lambda path: (len(path.parts), path)))


def _plan(mount: Mount, target: PurePosixPath) -> Planned:
    match mount.type:
        case "bind" | "":
            return _plan_bind(mount, target)
        case "volume":
            options = mount.volume_options or VolumeOptions()
            if options.subpath and not _stays_inside(options.subpath):
                raise _invalid("volume", f"subpath {options.subpath!r} does not stay inside the volume")
            return VolumeMount(name=mount.source, target=target, read_only=mount.read_only, options=options)
        case "tmpfs":
            if mount.source:
                raise _invalid("tmpfs", "field Source must not be specified")
            return TmpfsMount(target=target, read_only=mount.read_only, options=mount.tmpfs_options or TmpfsOptions())
        case "image":
            subpath = mount.image_options.subpath if mount.image_options else ""
            if not mount.source:
                raise _invalid("image", "field Source must not be empty")
            if subpath and not _stays_inside(subpath):
                raise _invalid("image", f"subpath {subpath!r} does not stay inside the image")
            return ImageMount(source=mount.source, target=target, read_only=mount.read_only, subpath=subpath)
        case other:
            raise TaskRejected(f'invalid mount config for type "{other}": mount type unknown')


def _plan_bind(mount: Mount, target: PurePosixPath) -> BindMount:
    if not mount.source:
        raise _invalid("bind", "field Source must not be empty")
    if not mount.source.startswith("/") or "\0" in mount.source:
        raise _invalid("bind", f"invalid mount path: '{mount.source}' mount path must be absolute")
    options = mount.bind_options
    propagation = ((options and options.propagation) or "rprivate").lower()
    if propagation not in _PROPAGATIONS:
        raise _invalid("bind", f"invalid propagation mode: {propagation}")
    return BindMount(
        source=normpath(mount.source),
        target=target,
        read_only=mount.read_only,
        propagation=propagation,
        recursive=not (options and options.non_recursive),
        create=bool(options and options.create_mountpoint),
        whole=not (options and options.read_only_non_recursive),
        must_be_whole=bool(options and options.read_only_force_recursive),
    )


def _target(mount: Mount) -> PurePosixPath:
    if not mount.target:
        raise _invalid(mount.type, "field Target must not be empty")
    target = _clean(mount.target)
    if not target.is_absolute() or "\0" in mount.target:
        raise _invalid(mount.type, f"invalid mount path: '{mount.target}' mount path must be absolute")
    if target == PurePosixPath("/"):
        raise _invalid(mount.type, "invalid specification: destination can't be '/'")
    return target


def _clean(path: str) -> PurePosixPath:
    parts = PurePosixPath(normpath(path)).parts
    return PurePosixPath("/", *parts[1:]) if path.startswith("/") else PurePosixPath(*parts)


def _stays_inside(subpath: str) -> bool:
    clean = normpath(subpath)
    return not clean.startswith(("/", "..")) and "\0" not in subpath


def _invalid(kind: str, why: str) -> TaskRejected:
    return TaskRejected(f'invalid mount config for type "{kind}": {why}')


def bind_entry(
    source: str,
    target: PurePosixPath,
    *,
    read_only: bool,
    propagation: str = "rprivate",
    recursive: bool = True,
    whole: bool = False,
) -> dict[str, Any]:
    """Return the OCI mount of something that is on the host.

    whole: what is mounted below a read-only source is read-only too; the kernel must be able to (Linux 5.12).
    """
    access = ["ro", "rro"] if read_only and recursive and whole else ["ro" if read_only else "rw"]
    options = ["rbind" if recursive else "bind", *access, propagation]
    return {"destination": str(target), "type": "bind", "source": source, "options": options}


def tmpfs_entry(mount: TmpfsMount) -> dict[str, Any]:
    """Return the OCI mount of a tmpfs."""
    wanted = [option[0] for option in mount.options.options if option]
    executable = next((word for word in reversed(wanted) if word in ("exec", "noexec")), "noexec")
    options = ["nosuid", "nodev", executable, "ro" if mount.read_only else "rw"]
    if mount.options.size_bytes:
        options.append(f"size={mount.options.size_bytes}")
    options.append(f"mode={(mount.options.mode & 0o7777) or 0o1777:o}")
    return {"destination": str(mount.target), "type": "tmpfs", "source": "tmpfs", "options": options}
