"""Rules for the mounts of a service's containers.  Pure.

Called by `vault.store.rules_spec`.  What a node alone can know (whether a path or an image is there) is not looked at;
texts are those in which Docker's managers or nodes refuse the same.
"""

import posixpath
from collections.abc import Sequence
from typing import Final

from vault.model.container import Mount
from vault.model.errors import BadRequest, InvalidArgument

PROPAGATIONS: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
TMPFS_OPTIONS: Final = ("exec", "noexec")


def check_mounts(mounts: Sequence[Mount]) -> None:
    """Raise `InvalidArgument` or `BadRequest` for the first mount that no node could make, or a target given twice."""
    targets = set()
    for mount in mounts:
        target = posixpath.normpath(mount.target) if mount.target else ""
        if not target.startswith("/") or "\0" in target:
            raise InvalidArgument(f"invalid mount target, must be an absolute path: {mount.target}")
        if target.strip("/") == "":
            raise _invalid(mount, "invalid specification: destination can't be '/'")
        if target in targets:
            raise InvalidArgument(f"ContainerSpec: duplicate mount point: {mount.target}")
        targets.add(target)
        _check(mount)


def _check(mount: Mount) -> None:
    """Raise for a mount whose type, source or options cannot be."""
    given = {
        "bind": ("BindOptions", mount.bind_options),
        "volume": ("VolumeOptions", mount.volume_options),
        "tmpfs": ("TmpfsOptions", mount.tmpfs_options),
        "image": ("ImageOptions", mount.image_options),
    }
    for kind, (field, options) in given.items():
        if options is not None and kind != (mount.type or "bind"):
            raise _invalid(mount, f"field {field} must not be specified")
    match mount.type:
        case "bind" | "":  # Docker's managers take an empty type for this one.
            _check_bind(mount)
        case "volume":
            _check_volume(mount)
        case "tmpfs":
            _check_tmpfs(mount)
        case "image":
            _check_image(mount)
        case _:
            raise BadRequest(f'invalid MountType: "{mount.type}"')


def _check_bind(mount: Mount) -> None:
    if not posixpath.isabs(mount.source) or "\0" in mount.source:
        raise InvalidArgument(f"invalid bind mount source, must be an absolute path: {mount.source}")
    options = mount.bind_options
    if options is None:
        return
    if options.propagation and options.propagation.lower() not in PROPAGATIONS:
        raise BadRequest(f'invalid MountPropagation: "{options.propagation}"')
    if options.read_only_non_recursive and options.read_only_force_recursive:
        raise _invalid(mount, "ReadOnlyNonRecursive and ReadOnlyForceRecursive contradict each other: leave one out")
    if (options.read_only_non_recursive or options.read_only_force_recursive) and not mount.read_only:
        raise _invalid(mount, "recursive read-only options need a read-only mount: add readonly")
    if options.read_only_force_recursive and options.non_recursive:
        raise _invalid(mount, "a mount that is not recursive has nothing below it to make read-only: leave one out")
    if options.read_only_force_recursive and options.propagation not in ("", "rprivate"):
        raise _invalid(mount, "a mount that is read-only throughout needs bind-propagation=rprivate")


def _check_volume(mount: Mount) -> None:
    if posixpath.isabs(mount.source):
        raise InvalidArgument(f"invalid volume mount source, must not be an absolute path: {mount.source}")
    options = mount.volume_options
    if options is not None and options.subpath:
        if not mount.source:
            raise _invalid(mount, "must not set Subpath when using anonymous volumes")
        _check_subpath(mount, options.subpath)


def _check_tmpfs(mount: Mount) -> None:
    if mount.source:
        raise InvalidArgument("invalid tmpfs source, source must be empty")
    options = mount.tmpfs_options
    if options is None:
        return
    if options.size_bytes < 0:
        raise _invalid(mount, f"invalid size {options.size_bytes}: it is a number of bytes, 0 for half of the memory")
    if not 0 <= options.mode <= 0o7777:
        raise _invalid(mount, f"invalid mode {options.mode:o}: it is permission bits, at most 7777")
    for option in options.options:
        if not 1 <= len(option) <= 2:
            raise _invalid(mount, "invalid option array length")
        if option[0] not in TMPFS_OPTIONS:
            raise _invalid(mount, f"invalid option: {option[0]}")


def _check_image(mount: Mount) -> None:
    if not mount.source:
        raise _invalid(mount, "field Source must not be empty")
    if mount.image_options is not None and mount.image_options.subpath:
        _check_subpath(mount, mount.image_options.subpath)


def _check_subpath(mount: Mount, subpath: str) -> None:
    clean = posixpath.normpath(subpath)
    if clean.startswith(("/", "..")) or "\0" in subpath:
        raise _invalid(mount, "subpath must be a relative path within the volume")


def _invalid(mount: Mount, why: str) -> InvalidArgument:
    return InvalidArgument(f'invalid mount config for type "{mount.type or "bind"}": {why}')
