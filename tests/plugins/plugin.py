"""A plugin as others write them: `http.server` of the standard library on a Unix socket or a TCP port."""

import json
import socketserver
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answer = Callable[[dict[str, Any]], object]  # The question, decoded, to what is answered: JSON, or (status, bytes).


class Plugin:
    """What a plugin was asked, and what it answers."""

    def __init__(self, answer: Answer, implements: object) -> None:
        self.answer = answer
        self.implements = implements
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: dict[str, str] = {}
        self.address = ("", 0)


@contextmanager
def plugin(
    answer: Answer, *, socket: Path | None = None, tls: ssl.SSLContext | None = None, implements: object = None
) -> Iterator[Plugin]:
    """Serve a plugin on a socket, or on a port of 127.0.0.1."""
    made = Plugin(answer, ["secretprovider"] if implements is None else implements)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            question = json.loads(body or b"{}")
            made.asked.append((self.path, question))
            made.headers = dict(self.headers)
            if self.path == "/Plugin.Activate":
                said: object = {"Implements": made.implements}
            else:
                said = made.answer(question)
            status, text = said if isinstance(said, tuple) else (200, json.dumps(said).encode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "-"

    server: socketserver.BaseServer
    if socket is not None:
        server = socketserver.ThreadingUnixStreamServer(str(socket), Handler)
    else:
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        made.address = server.server_address  # type: ignore[assignment]
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield made
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
        if socket is not None:
            socket.unlink()


def value(text: bytes) -> dict[str, Any]:
    """Return an answer with a value."""
    return {"Value": b64encode(text).decode()}
