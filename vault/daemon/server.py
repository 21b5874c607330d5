"""The API's socket: ours from the first moment, and served by uvicorn.

The directory is 0750 root:GROUP and the socket 0660, bound by us: uvicorn would open it to everybody.
"""

import contextlib
import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from vault.daemon.settings import Settings
from vault.model.errors import VaultError

BACKLOG = 1024
CLOSE_WAIT_S = 3  # For requests under way when vaultd ends; streams are cut.


class SocketTaken(VaultError):
    """Another vaultd answers on the socket."""


def bind(settings: Settings) -> socket.socket:
    """Return the listening socket; a stale one is replaced, a live one refused with `SocketTaken`."""
    path = settings.socket
    path.parent.mkdir(parents=True, exist_ok=True)
    group_id = _group(settings.group)
    os.chown(path.parent, 0, group_id)
    path.parent.chmod(0o750)
    if path.exists():
        _refuse_if_alive(path)
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    os.chown(path, 0, group_id)
    path.chmod(0o660)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def server(app: Any) -> uvicorn.Server:
    """Return the server for `app`; run it with `serve(sockets=[bind(…)])`, end it with `should_exit = True`."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        date_header=True,
        timeout_graceful_shutdown=CLOSE_WAIT_S,
        timeout_keep_alive=75,
        backlog=BACKLOG,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """Leaves signals to `vault.daemon.main`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return 0  # No such group: the socket is root's alone.


def _refuse_if_alive(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise SocketTaken(f"another vaultd answers on {path}: stop it, or choose another --run-root")
