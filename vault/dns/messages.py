"""What vaultd and vault-dns say to each other on RUN_ROOT/dns.sock.  Pure.

A frame is four bytes of length (big-endian) and that many bytes of MessagePack.  vault-dns begins with `Hello`; then
each `Update` is answered by one `Done`.
"""

from pathlib import Path
from typing import Final

import msgspec

from vault import __version__
from vault.model.overlay import OverlayChange

RESOLVER: Final = "127.0.0.11"  # As Docker has it; programs and images know it.
PORT: Final = 61_153  # Where we listen; port 53 leads there.  Above those that the kernel gives out by itself.
SOCKET: Final = "dns.sock"
LOG: Final = "dns.log"
LOCK: Final = "dns.lock"
KEPT: Final = "dns.state"
RELEASE: Final = f"{__version__}/1"  # Another one at the other end is replaced, so no two need understand each other.
MAX_FRAME_BYTES: Final = 64 << 20
LENGTH_BYTES: Final = 4


class Served(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task whose queries are to be answered."""

    task_id: str
    namespace: str  # The file of its network namespace.
    networks: tuple[str, ...]  # Ids, in the order in which names are looked for.
    nameservers: tuple[str, ...] = ()  # Its own, asked from inside its namespace; none = the node's, from the node's.
    outward: bool = False  # It has a way out of this node, so that asking the node's servers for it is none.


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """Who serves."""

    release: str


class Update(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is new."""

    change: OverlayChange | None = None
    put_tasks: tuple[Served, ...] = ()
    remove_tasks: tuple[str, ...] = ()
    only_these: bool = False  # All tasks but those put are to be let go of.


class Done(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An update is in force, but for tasks that could not be served."""

    refused: dict[str, str] = {}  # Reasons, by task id.


def framed(message: msgspec.Struct) -> bytes:
    """Return a message with its length before it."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def socket_path(run_root: Path) -> Path:
    """Return where vault-dns is spoken to."""
    return run_root / SOCKET
