"""A small asynchronous HTTP client: one connection kept alive, a deadline for everything, little work a request.

It tells apart what the checker must tell apart: a request that was never sent, and one whose answer is missing.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

API = "/v1.41"
ANSWER_MAX_BYTES = 64 << 20


class NotSent(Exception):
    """The server was not reached: nothing can have happened."""


class NoAnswer(Exception):
    """The request was sent, at least in part, and no whole answer came: anything can have happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status and a body."""

    status: int
    body: bytes

    @property
    def content(self) -> Any:
        """The decoded body; None when it is empty or not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def message(self) -> str:
        """What a refusal says."""
        content = self.content
        said = content.get("message", "") if isinstance(content, dict) else ""
        return said or self.body[:200].decode(errors="replace")


class Http:
    """One connection to one manager; not for two requests at once."""

    def __init__(self, address: str) -> None:
        """address: path of a unix socket, or HOST:PORT."""
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: object = None, *, timeout_s: float) -> Answer:
        """Send a request and return its answer.  Raises `NotSent` or `NoAnswer`."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {API}{path} HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\n"
        sent = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await self._open()
        except (OSError, TimeoutError) as error:
            raise NotSent(str(error) or type(error).__name__) from None
        try:
            async with asyncio.timeout(timeout_s):
                writer.write(sent)
                return await _answer(reader)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            raise NoAnswer(str(error) or type(error).__name__) from None
        except asyncio.CancelledError:
            self.close()
            raise

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and not self._streams[0].at_eof():
            return self._streams
        self.close()
        if self._address.startswith("/"):
            self._streams = await asyncio.open_unix_connection(self._address, limit=1 << 20)
        else:
            host, _, port = self._address.rpartition(":")
            self._streams = await asyncio.open_connection(host, int(port), limit=1 << 20)
        return self._streams

    def close(self) -> None:
        """End the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def _answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    if status in (204, 304):
        return Answer(status=status, body=b"")
    if b"transfer-encoding: chunked" in head:
        return Answer(status=status, body=await _chunks(reader))
    _, _, after = head.partition(b"content-length:")
    length = int(after.split(b"\r\n", 1)[0]) if after else 0
    if length > ANSWER_MAX_BYTES:
        raise ValueError(f"an answer of {length} bytes")
    return Answer(status=status, body=await reader.readexactly(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)
