"""The lock on a directory: two daemons never work in one.  Not pure; blocking for an instant."""

import fcntl
import os
from pathlib import Path

from vault.model.errors import VaultError


class DirectoryTaken(VaultError):
    """Another process holds the directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} is in use by another vaultd: stop it, or choose another --data-root")
        self.directory = directory


class DirectoryLock:
    """A `flock` on `directory/lock`, held from the call until `release` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise DirectoryTaken(directory) from None

    def release(self) -> None:
        """Let others have the directory.  A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
