"""Which servers the node itself asks: /etc/resolv.conf, read again when it has changed.

Not pure.  Used by `vault.dns.serving` for tasks without servers of their own.
"""

import contextlib
import time
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

MAX_SERVERS: Final = 3  # As many as resolv.conf(5) knows.
LOOK_S: Final = 2.0
_MAX_BYTES: Final = 64 << 10


class NodeServers:
    """The node's own servers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._servers: tuple[str, ...] = ()
        self._looked_s = -LOOK_S
        self._seen: tuple[int, int, int] | None = None

    def __call__(self) -> tuple[str, ...]:
        """Return them as they are now, or were a moment ago."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._look()
        return self._servers

    def _look(self) -> None:
        with contextlib.suppress(OSError):  # It is being replaced: what was there before goes on.
            found = self._path.stat()
            if (seen := (found.st_ino, found.st_size, found.st_mtime_ns)) != self._seen:
                with self._path.open("rb") as file:
                    self._servers = nameservers(file.read(_MAX_BYTES).decode(errors="replace"))
                self._seen = seen


def nameservers(text: str) -> tuple[str, ...]:
    """Return the servers that a resolv.conf names."""
    lines = (line.split() for line in text.splitlines())
    return usable(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")


def usable(servers: Iterable[str]) -> tuple[str, ...]:
    """Return the first few that are IP addresses."""
    found = []
    for server in servers:
        with contextlib.suppress(ValueError):
            ip_address(server)
            found.append(server)
    return tuple(found[:MAX_SERVERS])
