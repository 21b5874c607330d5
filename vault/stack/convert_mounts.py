"""The mounts of a stack's service: volumes, host paths and tmpfs.  Pure; called by `vault.stack.convert_service`."""

from collections.abc import Mapping

from vault.model.container import BindOptions, Mount, TmpfsOptions, VolumeOptions
from vault.model.secret import Driver
from vault.stack import document as doc
from vault.stack.errors import StackError
from vault.stack.namespace import Namespace


def mounts(
    namespace: Namespace, volumes: tuple[doc.ServiceVolume, ...], known: Mapping[str, doc.Volume]
) -> tuple[Mount, ...]:
    """Return mounts in the order of the file.  Raises `StackError` for one that cannot be."""
    return tuple(_mount(namespace, volume, known) for volume in volumes)


def _mount(namespace: Namespace, volume: doc.ServiceVolume, known: Mapping[str, doc.Volume]) -> Mount:
    match volume.type:
        case "volume" | "":
            _only(volume, "volume")
            return _volume_mount(namespace, volume, known)
        case "bind":
            _only(volume, "bind")
            if not volume.source:
                raise StackError("invalid bind source, source cannot be empty")
            bind = None if volume.bind is None else BindOptions(propagation=volume.bind.propagation)
            return _base(volume, volume.source, bind_options=bind)
        case "tmpfs":
            _only(volume, "tmpfs")
            if volume.source:
                raise StackError("invalid tmpfs source, source must be empty")
            tmpfs = None if volume.tmpfs is None else TmpfsOptions(size_bytes=volume.tmpfs.size)
            return _base(volume, "", tmpfs_options=tmpfs)
        case "image":
            _only(volume, "image")
            if not volume.source:
                raise StackError("invalid image source, source cannot be empty")
            return _base(volume, volume.source)
        case _:
            raise StackError("volume type must be volume, bind, tmpfs, npipe, or cluster")


def _only(volume: doc.ServiceVolume, type_: str) -> None:
    """Raise `StackError` when a mount has options of another type."""
    given = {"bind": volume.bind, "volume": volume.volume, "tmpfs": volume.tmpfs}
    for other, options in given.items():
        if options is not None and other != type_:
            raise StackError(f"{other} options are incompatible with type {type_}")


def _volume_mount(namespace: Namespace, volume: doc.ServiceVolume, known: Mapping[str, doc.Volume]) -> Mount:
    if not volume.source:
        return _base(volume, "")
    if volume.source not in known:
        raise StackError(f'undefined volume "{volume.source}"')
    stack_volume = known[volume.source]
    driver = None
    if not stack_volume.external and (stack_volume.driver or stack_volume.driver_opts):
        driver = Driver(name=stack_volume.driver, options=dict(stack_volume.driver_opts))
    options = VolumeOptions(
        no_copy=volume.volume is not None and volume.volume.nocopy,
        subpath="" if volume.volume is None else volume.volume.subpath,
        labels={} if stack_volume.external else namespace.label(stack_volume.labels),
        driver_config=driver,
    )
    return _base(volume, stack_volume.name or namespace.scope(volume.source), volume_options=options)


def _base(
    volume: doc.ServiceVolume,
    source: str,
    *,
    bind_options: BindOptions | None = None,
    volume_options: VolumeOptions | None = None,
    tmpfs_options: TmpfsOptions | None = None,
) -> Mount:
    return Mount(
        type=volume.type,
        source=source,
        target=volume.target,
        read_only=volume.read_only,
        consistency=volume.consistency,
        bind_options=bind_options,
        volume_options=volume_options,
        tmpfs_options=tmpfs_options,
    )
