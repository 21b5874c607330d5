"""`vault exec` over a WebSocket: input, output, terminal size, signals and exit code on one connection.

Binary messages; the first byte is the channel.  From the client: 0 input (empty = end of file), 3 size `{"h":…,"w":…}`,
5 signal name.  From the server: 1 output, 2 errors (with a terminal all is on 1), 4 exit `{"code":…}`, the last one.
"""

import asyncio
import logging

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from vault.api import answers
from vault.api.exec_sessions import Session, Sessions
from vault.api.ports import Process
from vault.model.errors import VaultError

log = logging.getLogger(__name__)
INPUT, SIZE, EXIT, SIGNAL = b"\x00", b"\x03", b"\x04", b"\x05"
MAX_SIGNAL_BYTES = 16
MAX_SIDE = 65_535
BAD_MESSAGE = 1003  # RFC 6455: data of a kind that is not accepted.


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a terminal."""

    h: int
    w: int


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended."""

    code: int


class BadMessage(Exception):
    """The client sent what the protocol does not have."""


class ExecSocket:
    """The handler of `/vault/v1/exec/{id}/start`."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def serve(self, socket: WebSocket) -> None:
        """Start an exec and carry its streams until it ends or the client goes; `?h=&w=` is the first size."""
        try:
            session = self.sessions.find(socket.path_params["id"])
            height, width = (_side(socket.query_params.get(name, "0")) for name in ("h", "w"))
            process = await self.sessions.start(session, height=height, width=width)
        except VaultError as error:
            await socket.send_denial_response(answers.failed(error))
            return
        try:
            await socket.accept()
            await self._carry(socket, session, process)
        except* (WebSocketDisconnect, OSError):
            log.info("exec.left", extra={"exec": session.id})
        except* BadMessage:
            await socket.close(BAD_MESSAGE)
        finally:
            await self.sessions.abandon(session)

    async def _carry(self, socket: WebSocket, session: Session, process: Process) -> None:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(_read(socket, process))
            async for channel, data in process.output():
                await socket.send_bytes(bytes((channel,)) + data)
            code = await self.sessions.finish(session)
            reader.cancel()
            await socket.send_bytes(EXIT + answers.encode(Exit(code=code)))
            await socket.close()


async def _read(socket: WebSocket, process: Process) -> None:
    """Hand the client's messages to the process, until the client goes."""
    while True:
        message = await socket.receive_bytes()
        channel, payload = message[:1], message[1:]
        if channel == INPUT:
            await (process.write(payload) if payload else process.close_stdin())
        elif channel == SIZE:
            await process.resize(*_size(payload))
        elif channel == SIGNAL and len(payload) <= MAX_SIGNAL_BYTES and payload.isalnum():
            await process.signal(payload.decode("ascii"))
        else:
            raise BadMessage


def _size(payload: bytes) -> tuple[int, int]:
    try:
        size = msgspec.json.decode(payload, type=Size)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadMessage from None
    if not (0 <= size.h <= MAX_SIDE and 0 <= size.w <= MAX_SIDE):
        raise BadMessage
    return size.h, size.w


def _side(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= MAX_SIDE else 0
