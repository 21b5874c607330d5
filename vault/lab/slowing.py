"""Slow nodes: the rate of a node's link, the delay of its packets, and its processor time.

Not pure but for `discipline`; blocking.  Rate by tbf at both ends of the node's link.  Delay by netem at both ends
where the kernel has it, else by a process that carries the frames (`vault.lab.relay`).
"""

import array
import contextlib
import fcntl
import os
import signal
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from vault.lab import cgroups
from vault.lab.cuts import relay_port
from vault.lab.errors import ProgramFailed
from vault.lab.launching import launch
from vault.lab.links import BRIDGE
from vault.lab.namespaces import enter_network
from vault.lab.plan import Place
from vault.lab.processes import recorded, send, wait_gone
from vault.lab.programs import run
from vault.lab.state import Slow

LEAST_RATE_BITS: Final = 1_000
_LEAST_BURST_BYTES: Final = 6_056  # Four frames: what is larger than the burst would never pass.
_BURST_S: Final = 0.02
_QUEUE: Final = "400ms"
_NETEM_FRAMES: Final = 10_000
_END_LIMIT_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.01
_SIOCETHTOOL, _SET_TX_CHECKSUMS = 0x8946, 0x17  # Source: <linux/sockios.h>, <linux/ethtool.h>.


def slow_down(node: Place, how: Slow) -> None:
    """Make a node as slow as that, and no slower.  Safe to repeat."""
    cgroups.limit(node, how.cpus)
    netem = how.delay_s > 0 and has_netem(node)
    wanted = discipline(how, netem=netem)
    for namespace, link in ((node.net, "eth0"), (node.site.switch, node.name)):
        if wanted:
            run("tc", "qdisc", "replace", "dev", link, "root", *wanted, inside=namespace)
        else:
            with contextlib.suppress(ProgramFailed):  # There is none.
                run("tc", "qdisc", "delete", "dev", link, "root", inside=namespace)
    _relay(node, 0.0 if netem else how.delay_s)


def discipline(how: Slow, *, netem: bool) -> tuple[str, ...]:
    """Return what `tc` is told of a link; () for a link that is not slow.  Pure."""
    if how.delay_s and netem:
        rate = ("rate", f"{how.rate_bits}bit") if how.rate_bits else ()
        return ("netem", "limit", str(_NETEM_FRAMES), "delay", f"{round(how.delay_s * 1e6)}us", *rate)
    if how.rate_bits:
        burst = max(int(how.rate_bits / 8 * _BURST_S), _LEAST_BURST_BYTES)
        return ("tbf", "rate", f"{how.rate_bits}bit", "burst", f"{burst}b", "latency", _QUEUE)
    return ()


def has_netem(node: Place) -> bool:
    """Return whether the kernel can delay packets itself."""
    try:
        run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms", inside=node.site.switch)
    except ProgramFailed:
        return False
    run("tc", "qdisc", "delete", "dev", "lo", "root", inside=node.site.switch)
    return True


def _relay(node: Place, delay_s: float) -> None:
    """Have a relay with that delay, or none."""
    running = recorded(node.relay_pid)
    if running is not None:
        send([running], signal.SIGTERM)
        if not wait_gone(running, _END_LIMIT_S):
            send([running], signal.SIGKILL)
            wait_gone(running, _END_LIMIT_S)
    _offload(node, on=delay_s == 0)
    if delay_s == 0:
        node.relay_pid.unlink(missing_ok=True)
        # A relay that was killed could not do it itself.
        run("ip", "link", "set", "dev", node.name, "master", BRIDGE, inside=node.site.switch)
        return
    program = (sys.executable, "-P", "-m", "vault.lab.relay", node.name, relay_port(node.name), repr(delay_s))
    launch(
        ("nsenter", f"--net={node.site.switch}", "--", *program),
        pid_file=node.relay_pid,
        cgroup=Path(os.devnull),  # In none of the node's: it is a part of the wire.
        log=node.relay_log,
        environment=os.environ,
    )
    deadline = time.monotonic() + _END_LIMIT_S
    while relay_port(node.name) not in run("ip", "link", "show", "master", BRIDGE, inside=node.site.switch):
        if recorded(node.relay_pid) is None or time.monotonic() > deadline:
            raise ProgramFailed("relay", f"packets cannot be delayed: see {node.relay_log}")
        time.sleep(_LOOK_AGAIN_S)


def _offload(node: Place, *, on: bool) -> None:
    """Let the node's link leave checksums and segments to the other end, which a relay could not do, or not."""
    with ThreadPoolExecutor(1, "offload") as thread:
        thread.submit(_set_offload, node.net, on).result()


def _set_offload(namespace: Path, on: bool) -> None:
    enter_network(namespace)
    value = array.array("I", [_SET_TX_CHECKSUMS, int(on)])
    address, _ = value.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP16x", b"eth0", address))
