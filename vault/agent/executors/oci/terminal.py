"""Pseudo-terminals: the runtime makes one inside the container and hands its other end over a socket.

Blocking (`receive`), from threads only.  Called by `execs`.
"""

import fcntl
import os
import select
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Final

HANDOVER_TIMEOUT_S: Final = 30
_LOOK_AGAIN_MS: Final = 20


class ConsoleSocket:
    """The socket on which one terminal arrives.

    It is named through a descriptor of its directory, since a socket's path has room for 107 bytes only.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._place = directory / name
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.path = f"/proc/{os.getpid()}/fd/{self._directory}/{name}"
        self._socket.bind(self.path)
        os.chmod(self.path, 0o600)
        self._socket.listen(1)

    def receive(self, process: subprocess.Popen[bytes]) -> int | None:
        """Return the terminal, non-blocking; None when the runtime ended without one, or took too long."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        until = time.monotonic() + HANDOVER_TIMEOUT_S
        while time.monotonic() < until:
            if poll.poll(_LOOK_AGAIN_MS):
                return self._take()
            if process.poll() is not None and not poll.poll(0):
                return None
        return None

    def close(self) -> None:
        """Remove the socket."""
        self._socket.close()
        self._place.unlink(missing_ok=True)
        os.close(self._directory)

    def _take(self) -> int | None:
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(HANDOVER_TIMEOUT_S)
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        if not descriptors:
            return None
        os.set_blocking(descriptors[0], False)
        return descriptors[0]


def resize(fd: int, rows: int, columns: int) -> None:
    """Tell the programs at a terminal its size; what is out of range is cut off."""
    cut = (max(0, min(size, 0xFFFF)) for size in (rows, columns))
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *cut, 0, 0))
