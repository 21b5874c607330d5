"""The terminal's side of `vault exec`: a WebSocket, the keyboard, the window's size, and the exit code.

Binary messages; the first byte is the channel: 0 standard input (empty: its end), 1 standard output, 2 standard error,
3 size as JSON, 4 exit code as JSON (from the daemon), 5 name of a signal.  One thread reads the keyboard, the main
thread the daemon; signal handlers only write a byte to a pipe that the first thread waits on.
"""

import json
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from vault.cli.client import Client
from vault.cli.errors import ApiError, CannotConnect, ConnectionLost

STDIN, STDOUT, STDERR, RESIZE, EXIT, SIGNAL = range(6)
READ_BYTES = 32_768
MAX_MESSAGE_BYTES = 1 << 22
OPEN_LIMIT_S = 10.0
_WAKES = {signal.SIGWINCH: b"w", signal.SIGINT: b"i", signal.SIGTERM: b"t"}
_NAMES = {b"i": "SIGINT", b"t": "SIGTERM"}


class Socket(Protocol):
    """What is used of a WebSocket."""

    def send(self, message: bytes) -> None:
        """Send one binary message."""

    def recv(self) -> str | bytes:
        """Return the next message."""


def attach(client: Client, path: str, *, interactive: bool, tty: bool) -> int:
    """Connect this terminal to a command that is about to start; return its exit code."""
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect

    try:
        with (
            connect(
                f"ws://vault{path}{size_query() if tty else ''}",
                sock=client.dial(),
                open_timeout=OPEN_LIMIT_S,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                ping_interval=None,
                proxy=None,
            ) as web,
            raw_terminal(tty and interactive),
            wake_pipe(tty) as wake,
        ):
            keyboard = threading.Thread(
                target=pump, args=(web, wake), kwargs={"interactive": interactive, "tty": tty}, daemon=True
            )
            keyboard.start()
            return relay(web)
    except ConnectionClosed:
        raise ConnectionLost(client.host, "the daemon closed the connection before the command ended") from None
    except InvalidStatus as error:
        raise refusal(error.response.status_code, error.response.body or b"") from None
    except InvalidHandshake as error:
        raise ApiError(502, f"exec could not be attached: {error}") from None
    except (ConnectionError, FileNotFoundError):
        raise CannotConnect(client.host) from None


def relay(web: Socket) -> int:
    """Write what the command writes until it ends; return its exit code."""
    outputs = {STDOUT: sys.stdout.buffer, STDERR: sys.stderr.buffer}
    while True:
        message = web.recv()
        data = message.encode() if isinstance(message, str) else message
        channel, payload = (data[0], data[1:]) if data else (-1, b"")
        if channel == EXIT:
            return int(json.loads(payload)["code"])
        output = outputs.get(channel)
        if output is not None:
            output.write(payload)
            output.flush()


def pump(web: Socket, wake: int, *, interactive: bool, tty: bool, stdin: int = 0) -> None:
    """Send the keyboard, sizes and signals until the connection ends.  Runs in a thread of its own."""
    from websockets.exceptions import ConnectionClosed

    sources = [wake, stdin] if interactive else [wake]
    try:
        if tty:
            web.send(size_message())
        while True:
            ready, _, _ = select.select(sources, [], [])
            if wake in ready:
                letters = os.read(wake, READ_BYTES)
                if not letters:
                    return  # The command has ended, and with it whoever writes here.
                for letter in letters:
                    web.send(wake_message(bytes([letter])))
            if stdin in ready:
                data = os.read(stdin, READ_BYTES)
                web.send(bytes([STDIN]) + data)
                if not data:
                    sources.remove(stdin)
    except (ConnectionClosed, OSError):
        return  # The main thread sees the same end and reports it.


def wake_message(letter: bytes) -> bytes:
    """Return the message for a byte that a signal handler left."""
    return size_message() if letter == b"w" else bytes([SIGNAL]) + _NAMES[letter].encode()


def size_message() -> bytes:
    """Return the message that tells the window's size."""
    columns, rows = window()
    return bytes([RESIZE]) + json.dumps({"h": rows, "w": columns}).encode()


def size_query() -> str:
    """Return the query that tells the window's size before the command starts."""
    columns, rows = window()
    return f"?h={rows}&w={columns}"


def window() -> tuple[int, int]:
    """Return columns and rows of this terminal."""
    for descriptor in (1, 0, 2):
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if columns and rows:
            return columns, rows
    return 80, 24


def refusal(status: int, body: bytes | bytearray) -> ApiError:
    """Return the error of a connection that was refused before it became a WebSocket."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"exec could not be attached: status {status}"
    return ApiError(status, message)


@contextmanager
def raw_terminal(wanted: bool) -> Iterator[None]:
    """Hand every key to the command, and give the terminal back as it was."""
    if not wanted:
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def wake_pipe(tty: bool) -> Iterator[int]:
    """Catch signals and yield the reading end of the pipe they are told through.

    A changed window is told to a terminal's command; without a terminal Ctrl-C and SIGTERM are passed on, the first
    time: a second one ends us.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def caught(number: int, frame: FrameType | None) -> None:
        os.write(writing, _WAKES[signal.Signals(number)])
        if number != signal.SIGWINCH:
            signal.signal(number, before[signal.Signals(number)])

    numbers = [signal.SIGWINCH] if tty else [signal.SIGINT, signal.SIGTERM]
    before: dict[signal.Signals, Any] = {number: signal.signal(number, caught) for number in numbers}
    try:
        yield reading
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)
