"""Bounds of the channel: how long anything may take, how much may be open or waiting."""

from dataclasses import dataclass
from typing import Final

from vault.rpc.coding import MAX_MESSAGE_BYTES

MAX_FRAME_BYTES: Final = MAX_MESSAGE_BYTES + 64 * 1024  # A message, or a batch of short ones, and what frames it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds; the other bounds hold for one server or one client."""

    connect_s: float = 5.0  # A client's connection: TCP, TLS and hello.
    handshake_s: float = 5.0  # TLS, seen from the server.
    hello_s: float = 5.0  # The first request after it.
    ping_s: float = 1.5  # After so much silence a client asks for a sign of life; a server after twice that.
    silent_s: float = 5.0  # After so much the connection is given up.
    close_s: float = 10.0  # For what was sent last to arrive, once a call has ended.
    backlog: int = 1024  # Connections that the kernel holds before they are accepted.
    greeting: int = 256  # Connections that have not said hello yet; more wait in the backlog.
    greeting_of_host: int = 64  # Of them from one address; more are closed.
    strangers: int = 128  # Connections without a certificate.
    stranger_bytes: int = 256 * 1024  # What such a connection may send in all.
    of_worker: int = 128  # Connections of one worker node.
    of_manager: int = 1024  # Connections of one manager node.
    asks: int = 256  # Asks of one connection that wait for an answer, and twice that at the server.
    ask_bytes: int = 64 * 1024 * 1024  # Of their requests, likewise.
