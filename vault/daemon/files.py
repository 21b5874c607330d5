"""Files that must be there whole or not at all, and the lock that keeps a data root to one vaultd."""

import fcntl
import os
import secrets
from pathlib import Path

from vault.model.errors import VaultError
from vault.raftstore.files import sync_directory


class DataRootTaken(VaultError):
    """Another vaultd runs on the same data root."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"another vaultd runs on {path}: stop it, or choose another --data-root")


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file so that a crash leaves the old bytes or the new; durable on return."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:  # Whatever it is, a file that nobody knows of is not left.
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def lock(data_root: Path) -> int:
    """Take the data root for this process; return the descriptor that holds it.  Raises `DataRootTaken`."""
    data_root.mkdir(parents=True, exist_ok=True, mode=0o711)
    descriptor = os.open(data_root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataRootTaken(data_root) from None
    return descriptor
