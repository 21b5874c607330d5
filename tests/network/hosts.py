"""A scratch host: a network namespace that the test's thread enters, with neighbours, servers and clients.

Sockets belong to the namespace they were made in, so one thread can talk from any of them.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
OUTSIDE, HOST_ADDRESS = "198.51.100.2", "198.51.100.1"


def sh(command: str) -> str:
    """Run a command in the calling thread's namespace."""
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


@contextmanager
def scratch_host() -> Iterator[None]:
    """Put the calling thread into a namespace of its own, as if it were a machine."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert _LIBC.unshare(_CLONE_NEWNET) == 0
        loopback_up()
        yield
    finally:
        assert _LIBC.setns(home, _CLONE_NEWNET) == 0
        os.close(home)


def loopback_up() -> None:
    """Bring lo up where the calling thread is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))


def inside(namespace: Path | int, work: Callable[[], T]) -> T:
    """Do some work in a thread that is in the namespace, and ends there."""

    def enter() -> T:
        fd = namespace if isinstance(namespace, int) else os.open(namespace, os.O_RDONLY)
        assert _LIBC.setns(fd, _CLONE_NEWNET) == 0
        if fd is not namespace:
            os.close(fd)
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


@contextmanager
def neighbour() -> Iterator[int]:
    """Yield the namespace of another machine, OUTSIDE, that shares a wire with this host, HOST_ADDRESS."""

    def another() -> int:
        assert _LIBC.unshare(_CLONE_NEWNET) == 0
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    with ThreadPoolExecutor(1) as thread:
        fd = thread.submit(another).result()
    try:
        sh(f"ip link add wire type veth peer name wire netns /proc/{os.getpid()}/fd/{fd}")
        sh(f"ip addr add {HOST_ADDRESS}/24 dev wire && ip link set wire up")
        inside(fd, lambda: sh(f"ip addr add {OUTSIDE}/24 dev wire && ip link set wire up"))
        yield fd
    finally:
        os.close(fd)


def ask(address: str, port: int, kind: str = "tcp", *, at: Path | int | None = None, timeout_s: float = 2.0) -> str:
    """Return what a server at the address says; raises OSError when none answers in time."""
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}

    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, kinds[kind])

    with make() if at is None else inside(at, make) as one:
        one.settimeout(timeout_s)
        one.connect((address, port))
        if kind == "udp":
            one.send(b"?")
        return one.recv(100).decode()
