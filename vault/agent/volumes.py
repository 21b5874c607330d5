"""Named local volumes: directories under DATA_ROOT/volumes, in Docker's shapes and with its texts.

Touches files and mounts; blocking, from threads only.  Called by the executors (make, use, release) and by `vault.api`.
A volume is in use while a task that mounts it is on the node; who uses what lives in memory and is told again by the
executor after a restart.
"""

import re
import shutil
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from vault.agent.volume_options import check_options, device_mount, without_passwords
from vault.model.base import Shape, always
from vault.model.errors import BadRequest, Conflict, NotFound, VaultError
from vault.tmpfs.mount import mount, mounts_under, unmount

FORMAT: Final = 1
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_NAME_MAX: Final = 255
_RECORD_MAX_BYTES: Final = 1 << 20


class Volume(Shape, frozen=True, kw_only=True):
    """A volume as the API shows it."""

    created_at: datetime
    driver: str = always("local")
    labels: dict[str, str] | None = msgspec.field(default_factory=lambda: None)
    mountpoint: str
    name: str
    options: dict[str, str] | None = msgspec.field(default_factory=lambda: None)
    scope: str = always("local")


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    created_at: datetime
    labels: dict[str, str]
    options: dict[str, str]


class NoSuchVolume(NotFound):
    """No volume has the name."""

    def __init__(self, name: str) -> None:
        VaultError.__init__(self, f"get {name}: no such volume")
        self.kind = "volume"
        self.reference = name


class NoSuchDriver(NotFound):
    """Only local volumes are offered."""

    def __init__(self, name: str, driver: str) -> None:
        shown = driver[:64]
        VaultError.__init__(
            self, f'create {name[:64]}: error looking up volume plugin {shown}: plugin "{shown}" not found'
        )
        self.kind = "plugin"
        self.reference = driver


class VolumeStore:
    """The volumes of one node.  Safe for use from several threads."""

    def __init__(self, root: Path, resolve: Callable[[str], str] | None = None) -> None:
        """resolve: the address of the host name of a file server; raises `OSError`."""
        self._root = root  # DATA_ROOT/volumes
        self._resolve = resolve or _resolved
        self._lock = threading.Lock()  # Held for moments only; taken last.
        self._users: dict[str, dict[str, str]] = {}  # Volume -> user -> container id, for the text.
        self._mounting: dict[str, threading.Lock] = {}  # Of a volume's device; a file server may let one wait.
        self._filling: dict[str, threading.Lock] = {}

    def create(
        self,
        name: str,
        *,
        driver: str = "local",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Return the volume of that name, made if it is missing.  Raises `BadRequest`, `Conflict`, `NotFound`."""
        if driver not in ("", "local", "default"):
            raise NoSuchDriver(name, driver)
        _check_name(name)
        check_options(name, options or {})
        with self._lock:
            found = self._read(name)
            if found is None:
                record = _Record(
                    created_at=datetime.now(UTC).replace(microsecond=0),
                    labels=dict(labels or {}),
                    options=dict(options or {}),
                )
                self._write(name, record)
                return self._show(name, record)
        if options and dict(options) != found.options:
            raise Conflict(f"create {name}: volume {name} exists with other options: remove it, or choose another name")
        return self._show(name, found)

    def get(self, name: str) -> Volume:
        """Raises `NoSuchVolume`."""
        record = self._read(name) if _NAME.fullmatch(name) else None
        if record is None:
            raise NoSuchVolume(name)
        return self._show(name, record)

    def list(self) -> list[Volume]:
        """Return all volumes by name."""
        if not self._root.is_dir():
            return []
        found = ((path.name, self._read(path.name)) for path in sorted(self._root.iterdir()))
        return [self._show(name, record) for name, record in found if record is not None]

    def remove(self, name: str, *, force: bool = False) -> None:
        """Delete a volume and its files.  Raises `Conflict` when in use, `NoSuchVolume` unless `force`."""
        with self._turn(name), self._lock:
            if (self._read(name) if _NAME.fullmatch(name) else None) is None:
                if force:
                    return
                raise NoSuchVolume(name)
            users = self._users.get(name)
            if users:
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users.values())}]")
            while unmount(self._root / name / "_data"):
                continue
            # Moved first: a half-deleted volume is never seen as one.
            doomed = self._root / f".removed-{name}"
            shutil.rmtree(doomed, ignore_errors=True)
            (self._root / name).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def use(self, name: str, user: str, container_id: str) -> Path:
        """Note that a task uses the volume, mount its device if it has one, and return where its files are."""
        with self._turn(name):
            record = self._read(name)
            if record is None:
                raise NoSuchVolume(name)
            place = self._root / name / "_data"
            if record.options.get("device") and not mounts_under(place):
                _mount_device(place, record.options, self._resolve)
            with self._lock:
                self._users.setdefault(name, {})[user] = container_id
            return place

    def claim(self, name: str, user: str, container_id: str) -> None:
        """Note that a task of an earlier vaultd uses the volume, so that it is not removed; nothing is mounted."""
        with self._lock:
            self._users.setdefault(name, {})[user] = container_id

    def release(self, names: Collection[str], user: str) -> None:
        """Note that a task uses the volumes no longer; the device of one without users is unmounted."""
        for name in names:
            with self._turn(name), self._lock:
                users = self._users.get(name, {})
                users.pop(user, None)
                if users:
                    continue
                self._users.pop(name, None)
                record = self._read(name)
                if record is not None and record.options.get("device"):
                    unmount(self._root / name / "_data", detach=True)

    def _turn(self, name: str) -> threading.Lock:
        """Return the lock of a volume's device."""
        with self._lock:
            return self._mounting.setdefault(name, threading.Lock())

    def filling(self, name: str) -> threading.Lock:
        """Return the lock to hold while an image's files are copied into the volume."""
        with self._lock:
            return self._filling.setdefault(name, threading.Lock())

    def _show(self, name: str, record: _Record) -> Volume:
        return Volume(
            created_at=record.created_at,
            labels=record.labels or None,
            mountpoint=str(self._root / name / "_data"),
            name=name,
            options=record.options or None,
        )

    def _read(self, name: str) -> _Record | None:
        try:
            with (self._root / name / "volume.json").open("rb") as file:
                return msgspec.json.decode(file.read(_RECORD_MAX_BYTES), type=_Record)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _write(self, name: str, record: _Record) -> None:
        """Make the volume in one step: it appears with its record, or not at all."""
        self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        fresh = self._root / f".new-{name}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o711)
        data = fresh / "_data"
        data.mkdir()
        data.chmod(0o755)  # Whatever the umask of vaultd is.
        (fresh / "volume.json").write_bytes(msgspec.json.encode(record))
        fresh.rename(self._root / name)


def _check_name(name: str) -> None:
    if len(name) < 2:
        raise BadRequest("volume name is too short, names should be at least two alphanumeric characters")
    if len(name) > _NAME_MAX or _NAME.fullmatch(name) is None:
        raise BadRequest(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def _mount_device(place: Path, options: Mapping[str, str], resolve: Callable[[str], str]) -> None:
    """Mount what the options name.  Raises `BadRequest` with the kernel's reason; nothing is mounted then."""
    try:
        wanted = device_mount(options, resolve)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadRequest(
            f"error while mounting volume '{place}': error resolving passed in network volume address: {reason}"
        ) from None
    try:
        mount(wanted.device, place, wanted.fstype, wanted.flags, wanted.data)
        if wanted.again:
            mount(wanted.device, place, "", wanted.again)
        if wanted.propagation:
            mount("none", place, "", wanted.propagation)
    except OSError as error:
        unmount(place)
        raise BadRequest(
            f"error while mounting volume '{place}': failed to mount local volume: mount {wanted.device}:{place}, "
            f"data: {without_passwords(wanted.data)}: {(error.strerror or '').lower()}"
        ) from None


def _resolved(host: str) -> str:
    """Return an address of a host, IPv4 where it has one.  Raises `OSError`; blocks on the host's resolver."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in sorted(found, key=lambda one: one[0] is not socket.AF_INET)]
    return addresses[0]
