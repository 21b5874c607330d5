"""One question to a plugin and its answer: JSON posted over HTTP/1.1, one connection each.

Not pure.  Called by `vault.plugins.secret_provider`, which bounds the time.  Everything read is bounded in size.
"""

import asyncio
from contextlib import suppress
from typing import Final

import httptools

from vault.plugins.errors import PluginFailed
from vault.plugins.places import Place

ANSWER_BYTES: Final = 2 * 1024 * 1024  # The base64 of the largest secret, and what goes with it.
MEDIA_TYPE: Final = "application/vnd.docker.plugins.v1.2+json"
RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0)  # A plugin that restarts is away for so long.
_PIECE: Final = 64 * 1024


async def ask(place: Place, path: str, body: bytes, *, patient: bool = True) -> tuple[int, bytes]:
    """Return status and body of the answer.

    patient: try again while nobody listens.  Raises `PluginFailed` when there is no connection or no HTTP.
    """
    reader, writer = await _connected(place, RETRY_S if patient else ())
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    try:
        writer.write(_head(path, len(body)) + body)
        await writer.drain()
        while not answer.complete and (piece := await reader.read(_PIECE)):
            parser.feed_data(piece)
            if answer.size_bytes > ANSWER_BYTES:
                raise PluginFailed(f"the plugin at {place} answers with more than {ANSWER_BYTES} bytes")
        if not answer.complete and not answer.ends_with_the_connection:
            raise PluginFailed(f"the plugin at {place} broke off in the middle of its answer")
        return parser.get_status_code(), b"".join(answer.body)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        raise PluginFailed(f"the plugin at {place} does not speak HTTP") from None
    except OSError as error:
        raise PluginFailed(f"the plugin at {place} broke off: {_reason(error)}") from None
    finally:
        writer.close()


def _head(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: plugin.moby.localhost\r\nAccept: {MEDIA_TYPE}\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


async def _connected(place: Place, pauses_s: tuple[float, ...]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        for pause_s in pauses_s:
            with suppress(ConnectionRefusedError, FileNotFoundError):
                return await _connect(place)
            await asyncio.sleep(pause_s)
        return await _connect(place)
    except OSError as error:
        raise PluginFailed(f"cannot connect to the plugin at {place}: {_reason(error)}") from None


async def _connect(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if place.socket:
        return await asyncio.open_unix_connection(place.socket)
    return await asyncio.open_connection(place.host, place.port, ssl=place.tls)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


class _Answer:
    """What the parser tells of an answer."""

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.complete = False
        self.ends_with_the_connection = False
        self.size_bytes = 0
        self._bounded = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._bounded |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self.ends_with_the_connection = not self._bounded

    def on_body(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True
