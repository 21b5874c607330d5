"""What runs inside network namespaces while networks are measured: a server, a load, and who asks for names.

Started by `bench.network_stage` with nsenter.  The server keeps connections open and answers with the same bytes, so
that what is measured is the way and not the server.
"""

import asyncio
import json
import random
import socket
import sys
import time
from typing import cast

import uvloop

BODY = b"x" * 128
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
QUESTION = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
RESOLVER = ("127.0.0.11", 53)
ASK_S = 0.02  # A resolver may pass on what it does not know, and then be silent: ask again soon.
CONNECT_S = 0.25
PAUSE_S = 0.002
LIMIT_S = 60.0


class Server(asyncio.Protocol):
    """Answers every request, however its bytes arrive."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class.
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._unread += data
        while b"\r\n\r\n" in self._unread:
            self._unread = self._unread.partition(b"\r\n\r\n")[2]
            self._transport.write(ANSWER)


class Client(asyncio.Protocol):
    """Asks again as soon as it is answered, and keeps how long each answer took."""

    def __init__(self, latencies_s: list[float]) -> None:
        self._latencies_s = latencies_s
        self._read = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class.
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        """Remember that the load was less than it should have been."""
        self.lost = True

    def data_received(self, data: bytes) -> None:
        """Count an answer when all of it is there."""
        self._read += len(data)
        if self._read >= len(ANSWER):
            self._latencies_s.append(time.perf_counter() - self._begun)
            self._ask()

    def _ask(self) -> None:
        self._read, self._begun = 0, time.perf_counter()
        self._transport.write(QUESTION)


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Server, "0.0.0.0", port)  # noqa: S104 - its own namespace
    print("serving", flush=True)
    await server.serve_forever()


async def load(host: str, port: int, connections: int, seconds: float) -> None:
    """Ask over so many connections for so long; print what came of it."""
    latencies_s: list[float] = []
    loop = asyncio.get_running_loop()
    connecting = [loop.create_connection(lambda: Client(latencies_s), host, port) for _ in range(connections)]
    made = await asyncio.wait_for(asyncio.gather(*connecting), 10)
    latencies_s.clear()
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - begun
    ordered = sorted(latencies_s)
    if not ordered or any(client.lost for _, client in made):
        sys.exit("connections were lost or never answered")
    at = {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000
        for name, part in (("p50", 0.5), ("p99", 0.99))
    }
    print(json.dumps({"rate": len(ordered) / took, **at}), flush=True)


def resolve(name: str) -> list[str] | None:
    """Return the IPv4 addresses of a name; None when nobody answers in time."""
    number = random.randrange(1 << 16)  # noqa: S311
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = number.to_bytes(2, "big") + b"\x01\x00\x00\x01\0\0\0\0\0\0" + labels + b"\0\0\x01\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(ASK_S)
        try:
            sock.sendto(query, RESOLVER)
            return addresses(sock.recv(4096), len(query))
        except OSError:
            return None


def addresses(answer: bytes, question_end: int) -> list[str]:
    """Return the addresses in an answer whose question ends at `question_end`; names in it are pointers or labels."""
    found, at = [], question_end
    for _ in range(int.from_bytes(answer[6:8], "big")):
        while 0 < answer[at] < 0xC0:
            at += 1 + answer[at]
        at += 2 if answer[at] >= 0xC0 else 1
        kind, length = int.from_bytes(answer[at : at + 2], "big"), int.from_bytes(answer[at + 8 : at + 10], "big")
        if kind == 1:
            found.append(socket.inet_ntoa(answer[at + 10 : at + 14]))
        at += 10 + length
    return found


def connects(address: str, port: int) -> bool:
    """Whether a server accepts there."""
    try:
        socket.create_connection((address, port), CONNECT_S).close()
    except OSError:
        return False
    return True


def watch() -> None:
    """Take orders from standard input, a line each, and print when, by the wall clock, what they wait for was so.

    `appears NAME PORT`: NAME has an address, and a server there accepts; `knows NAME ADDRESS`; `vanishes NAME ADDRESS`.
    None after a minute.
    """
    print("watching", flush=True)
    for line in sys.stdin:
        what, name, detail = line.split()
        deadline = time.monotonic() + LIMIT_S
        when = None
        while when is None and time.monotonic() < deadline:
            found = resolve(name)
            if found is not None and _is_so(what, found, detail):
                when = time.time()
            else:
                time.sleep(PAUSE_S)
        print(json.dumps(when), flush=True)


def _is_so(what: str, found: list[str], detail: str) -> bool:
    if what == "vanishes":
        return detail not in found
    if what == "knows":
        return detail in found
    return bool(found) and connects(found[0], int(detail))


def main() -> None:
    """Do what the command line says."""
    match sys.argv[1:]:
        case ["serve", port]:
            uvloop.run(serve(int(port)))
        case ["load", host, port, connections, seconds]:
            uvloop.run(load(host, int(port), int(connections), float(seconds)))
        case ["watch"]:
            watch()
        case _:
            sys.exit("usage: serve PORT | load HOST PORT CONNECTIONS SECONDS | watch")


if __name__ == "__main__":
    main()
