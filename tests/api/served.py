"""The API over fakes behind a Unix socket, for clients that are processes or speak to sockets themselves."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from vault.api.gateway import Gateway


@contextmanager
def served(app: Gateway, path: Path) -> Iterator[None]:
    """Serve on a socket at `path`, from a thread."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(16)
    settings = uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, server_header=False)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
