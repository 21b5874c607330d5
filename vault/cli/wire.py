"""The bytes of HTTP/1.1 and of URLs, as far as one client of one daemon needs them.  Used by `client` only.

Written here since `http.client` and `urllib.parse` would double the start-up time of a command.  Everything read is
bounded; what breaks the rules of HTTP raises `ValueError` with a sentence.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader

CHUNK_BYTES = 65_536
MAX_LINE_BYTES = 65_536
MAX_HEADERS = 200
Query = Mapping[str, str | int | bool | list[str] | None]
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
CLOSED, _FOREIGN = "the daemon closed the connection", "the answer is not HTTP"


def filters(wanted: Iterable[tuple[str, str]]) -> str | None:
    """Return the value of the `filters` query in the API's map form; None if nothing is wanted."""
    tree: dict[str, dict[str, bool]] = {}
    for name, value in wanted:
        tree.setdefault(name, {})[value] = True
    return json.dumps(tree, separators=(",", ":")) if tree else None


def query_text(query: Query) -> str:
    """Return a query as it stands in a URL; values of None are left out, lists are repeated."""
    pairs: list[str] = []
    for name, value in query.items():
        if value is not None:
            one = str(value).lower() if isinstance(value, bool) else str(value)
            values = value if isinstance(value, list) else [one]
            pairs += [f"{name}={quoted(text)}" for text in values]
    return "&".join(pairs)


def quoted(text: str, kept: bytes = b"") -> str:
    """Percent-encode a text; `kept` names bytes that stay.  `urllib.parse` would cost 4 ms of start-up."""
    stay = _UNRESERVED.union(kept)
    return "".join(chr(byte) if byte in stay else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def read_head(reader: BufferedReader) -> tuple[int, dict[str, str]]:
    """Return status and headers, names in lower case."""
    protocol, _, rest = _line(reader).partition(" ")
    if not protocol.startswith("HTTP/1.") or not (rest[:3].isascii() and rest[:3].isdigit()):
        raise ValueError(_FOREIGN)
    headers: dict[str, str] = {}
    while line := _line(reader):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
        if len(headers) > MAX_HEADERS:
            raise ValueError(_FOREIGN)
    return int(rest[:3]), headers


def read_body(reader: BufferedReader, headers: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the body as it comes: in chunks, of a stated length, or until the connection ends."""
    if "chunked" in headers.get("transfer-encoding", ""):
        yield from _chunks(reader)
    elif "content-length" in headers:
        yield from _exactly(reader, _number(headers["content-length"], 10))
    else:
        while piece := reader.read1(CHUNK_BYTES):
            yield piece


def ends_connection(headers: Mapping[str, str]) -> bool:
    """Return whether no other request may follow on the connection."""
    framed = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "")
    return not framed or headers.get("connection", "").lower() == "close"


def _line(reader: BufferedReader) -> str:
    line = reader.readline(MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise ValueError(CLOSED if len(line) < MAX_LINE_BYTES else _FOREIGN)
    return line.rstrip(b"\r\n").decode("latin-1")


def _chunks(reader: BufferedReader) -> Iterator[bytes]:
    while size := _number(_line(reader).partition(";")[0], 16):
        yield from _exactly(reader, size)
        _line(reader)
    while _line(reader):
        continue


def _number(text: str, base: int) -> int:
    digits = "0123456789abcdef"[:base]
    if not text or len(text) > 15 or not set(text.lower()) <= set(digits):
        raise ValueError(_FOREIGN)
    return int(text, base)


def _exactly(reader: BufferedReader, size: int) -> Iterator[bytes]:
    left = size
    while left > 0:
        piece = reader.read1(min(left, CHUNK_BYTES))
        if not piece:
            raise ValueError(CLOSED)
        left -= len(piece)
        yield piece
