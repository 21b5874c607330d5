"""The process that delays a node's packets where the kernel has no netem: `python -m vault.lab.relay PORT TAP DELAY_S`.

Not pure.  Runs in the bridge's namespace.  It takes the place of the node's port on the bridge with a TAP device and
carries whole frames between the two, each way through a `DelayLine`.  With TERM it puts the port back; killed, the TAP
goes by itself and the node is cut off until `heal`.  Frames have whole checksums and ordinary sizes, since `slowing`
turns the node's offloads off first.  Source: <linux/if_tun.h>, packet(7).
"""

import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from vault.lab.delay import DelayLine
from vault.lab.links import BRIDGE
from vault.lab.programs import run

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_SOL_PACKET, _ADD_MEMBERSHIP, _IGNORE_OUTGOING = 263, 1, 23
_PROMISCUOUS: Final = 1
_ETH_P_ALL: Final = 0x0003
_FRAME_BYTES: Final = 1 << 17
_BURST: Final = 256  # Frames read in one go, so that neither direction waits for the other.


def main() -> None:
    """Carry frames until TERM."""
    port, tap_name, delay_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
    signal.signal(signal.SIGTERM, _end)
    tap = open_tap(tap_name)
    wire = open_port(port)
    try:
        run("ip", "-batch", "-", script=f"link set dev {port} nomaster\nlink set dev {tap_name} master {BRIDGE} up\n")
        carry(tap, wire, delay_s)
    finally:
        os.close(tap)
        run("ip", "link", "set", "dev", port, "master", BRIDGE)


def open_tap(name: str) -> int:
    """Make a TAP device; it lives as long as the descriptor."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def open_port(name: str) -> socket.socket:
    """Return a socket that hears and sends every frame of a link."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wire.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    wire.bind((name, _ETH_P_ALL))
    membership = struct.pack("iHH8x", socket.if_nametoindex(name), _PROMISCUOUS, 0)
    wire.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
    wire.setblocking(False)
    return wire


def carry(tap: int, wire: socket.socket, delay_s: float) -> None:
    """Carry frames both ways, for ever."""
    outward, inward = DelayLine(delay_s), DelayLine(delay_s)
    readers: tuple[tuple[int, Callable[[], bytes], DelayLine], ...] = (
        (wire.fileno(), lambda: wire.recv(_FRAME_BYTES), outward),
        (tap, lambda: os.read(tap, _FRAME_BYTES), inward),
    )
    while True:
        waits = [due for due in (outward.next_s(), inward.next_s()) if due is not None]
        wait_s = max(0.0, min(waits) - time.monotonic()) if waits else None
        ready, _, _ = select.select([fd for fd, _, _ in readers], [], [], wait_s)
        for fd, read, line in readers:
            if fd in ready:
                _take(read, line)
        now_s = time.monotonic()
        for frame in outward.leave(now_s):
            _pass(os.write, tap, frame)
        for frame in inward.leave(now_s):
            _pass(os.write, wire.fileno(), frame)


def _take(read: Callable[[], bytes], line: DelayLine) -> None:
    for _ in range(_BURST):
        try:
            line.enter(read(), time.monotonic())
        except BlockingIOError:
            return


def _pass(write: Callable[[int, bytes], int], fd: int, frame: bytes) -> None:
    try:
        write(fd, frame)
    except OSError:  # The other end is down or its queue is full: lost, as on a real line.
        return


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
