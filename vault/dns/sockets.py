"""Sockets that belong to another network namespace than ours.

A socket stays where it was made, so the thread goes there, makes it and comes back, without anything between; this is
why the process has one thread.  Not pure; called by `vault.dns.serving` and `vault.dns.forwarding`.
"""

import ctypes
import os
import socket
from collections.abc import Callable
from typing import Final, TypeVar

from vault.dns.messages import PORT, RESOLVER

T = TypeVar("T")
_CLONE_NEWNET: Final = 0x40000000
_BACKLOG: Final = 64
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace, kept open."""

    def __init__(self, path: str) -> None:
        """Open the file.  Raises `OSError`."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self._file)
        self.identity = (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)

    def run(self, make: Callable[[], T]) -> T:
        """Return what a function makes inside.  Raises `OSError`, also when the file is no network namespace."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self._file)
            try:
                return make()
            finally:
                try:
                    _enter(home)
                except OSError:  # In a namespace of somebody else's, nothing that we do next would be right.
                    os.abort()
        finally:
            os.close(home)


def listen() -> tuple[socket.socket, socket.socket]:
    """Return the sockets of a resolver, UDP and TCP, in the namespace that the thread is in.  Raises `OSError`."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        datagrams.bind((RESOLVER, PORT))
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Else a restart waits for old connections.
            stream.bind((RESOLVER, PORT))
            stream.listen(_BACKLOG)
        except OSError:
            stream.close()
            raise
    except OSError:
        datagrams.close()
        raise
    return datagrams, stream


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
