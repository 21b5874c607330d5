"""Where lines of a log go to: the port that `executors.oci.shipping` sends by, and what every target is told."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vault.agent.logs import LogLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where lines come from."""

    tag: str
    hostname: str  # Of the node.
    pid: int  # Of the container's first process.
    fields: Mapping[str, str] = field(default_factory=dict)  # Attributes, and what names the container.


class Target(Protocol):
    """A log server.  Calls come one at a time; after an error, `send` may be tried again with the same lines."""

    async def send(self, lines: Sequence[LogLine]) -> None:
        """Hand over lines in order.  Raises `OSError`; then it is not known which of them have arrived."""
        ...

    async def close(self) -> None: ...


def unix_datagrams(path: str) -> socket.socket:
    """Return a socket that sends datagrams to another and does not block.  Raises `OSError`."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        one.connect(path)
    except OSError:
        one.close()
        raise
    return one
