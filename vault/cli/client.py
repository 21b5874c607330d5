"""HTTP to `vaultd`: one keep-alive connection, over its unix socket or over TLS.  I/O only; used by every command.

The API version is negotiated by asking in ours and stepping down once if the daemon says it is too new, so the usual
case costs no extra request.
"""

import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader
from typing import Any, NamedTuple

from vault.cli.errors import ApiError, BadReference, CommandError, ConnectionLost
from vault.cli.hosts import REFUSED, TLSFiles, connect, default_files, place_of, tls_reason
from vault.cli.wire import CLOSED, Query, ends_connection, query_text, quoted, read_body, read_head

API_VERSION = "1.50"
ANSWER_LIMIT_S = 120.0
MAX_ERROR_BYTES = 1 << 20
_TOO_NEW = r"client version \S+ is too new\. Maximum supported API version is (\d+\.\d+)"


class Answer(NamedTuple):
    """Head of an answer; `body` reads the rest once."""

    status: int
    headers: dict[str, str]
    body: Iterator[bytes]


class Client:
    """A connection to the daemon, made at the first request."""

    def __init__(self, host: str, files: TLSFiles | None = None) -> None:
        self.host = host
        self.version = API_VERSION
        self.place = place_of(host)
        self.files = files or default_files(None, None, None)
        self._answered = False  # On this connection.
        self._socket: socket.socket | None = None
        self._reader: BufferedReader | None = None

    def dial(self) -> socket.socket:
        """Return a connection of its own, for those who speak something else than plain HTTP over it."""
        return connect(self.host, self.place, self.files)

    def get(self, path: str, **query: str | int | bool | None) -> Any:
        """Return the JSON at `path`."""
        return self.request("GET", path, query)

    def post(
        self,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        **query: str | int | bool | None,
    ) -> Any:
        """Send `body` as JSON and return the JSON answer; None if there is none."""
        return self.request("POST", path, query, body, headers)

    def delete(self, path: str, **query: str | int | bool | None) -> Any:
        """Remove what is at `path`; return the answer, None where there is nothing to say."""
        return self.request("DELETE", path, query)

    def request(
        self, method: str, path: str, query: Query, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send one request and return its JSON answer.  Raises `ApiError` for a refusal."""
        payload = None if body is None else _encoded(body)
        kind = {} if payload is None else {"Content-Type": "application/json"}
        answer = self.send(method, path, query, payload, {**kind, **(headers or {})})
        data = b"".join(answer.body)
        if not data.strip():
            return None
        try:
            return json.loads(data)
        except ValueError:
            raise ConnectionLost(self.host, "the answer is not JSON: is that socket vaultd's?") from None

    def stream(
        self,
        method: str,
        path: str,
        query: Query,
        body: Iterable[bytes] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        limit_s: float | None = None,
    ) -> Answer:
        """Send one request, `body` piece by piece, and return the answer while it is still coming."""
        return self.send(method, path, query, body, headers or {}, limit_s=limit_s)

    def send(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        *,
        limit_s: float | None = ANSWER_LIMIT_S,
    ) -> Answer:
        """Send one request and return the answer's head.  Steps down once to the daemon's API version."""
        # A reference stands in the path; one of these would ask for something else.
        bad = next((part for part in path.split("/")[1:] if part in ("", ".", "..")), None)
        if bad is not None:
            raise BadReference(bad)
        for _ in range(2):
            asked = query_text(query)
            prefix = "" if path.startswith(("/vault/", "/_ping")) else f"/v{self.version}"
            target = f"{prefix}{quoted(path, b'/:@')}" + (f"?{asked}" if asked else "")
            answer = self._answer(method, target, body, headers, limit_s)
            if answer.status < 400:
                return answer
            message = _message(answer)
            newest = re.search(_TOO_NEW, message) if answer.status == 400 else None
            again = body is None or isinstance(body, bytes)  # What came in pieces has been sent and is gone.
            if newest is None or newest[1] == self.version or not again:
                raise ApiError(answer.status, message)
            self.version = newest[1]
        raise ApiError(answer.status, message)

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._reader is not None:
            self._reader.close()
        if self._socket is not None:
            self._socket.close()
        self._socket = self._reader = None

    def _answer(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        limit_s: float | None,
    ) -> Answer:
        reused = self._socket is not None
        try:
            return self._exchange(method, target, body, headers, limit_s)
        except ConnectionLost:
            # The daemon closes idle connections; a read may safely be asked again on a new one.
            if not reused or method != "GET":
                raise
            return self._exchange(method, target, body, headers, limit_s)

    def _exchange(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        limit_s: float | None,
    ) -> Answer:
        sock, reader = self._connect()
        sock.settimeout(limit_s)
        lines = [f"{method} {target} HTTP/1.1", "Host: vault", f"User-Agent: vault/{API_VERSION} (linux)"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            if body is None or isinstance(body, bytes):
                lines.append(f"Content-Length: {len(body or b'')}")
                sock.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))
            else:
                lines.append("Transfer-Encoding: chunked")
                sock.sendall("\r\n".join([*lines, "", ""]).encode())
                for piece in body:
                    if piece:
                        sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                sock.sendall(b"0\r\n\r\n")
            return self._head(reader, method)
        except BrokenPipeError:
            return self._early_answer(reader, method)
        except (OSError, ValueError) as error:
            raise self._lost(error) from None

    def _early_answer(self, reader: BufferedReader, method: str) -> Answer:
        # The daemon may refuse before it has read the whole body; its sentence is worth more than "broken pipe".
        try:
            return self._head(reader, method)
        except (OSError, ValueError) as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> ConnectionLost:
        """Close, and return what to say.  A server that refuses a certificate ends TLS 1.3 without a word, too."""
        self.close()
        silent = isinstance(error, ConnectionError) or str(error) == CLOSED
        return ConnectionLost(
            self.host, REFUSED if self.place.name and silent and not self._answered else _reason(error)
        )

    def _connect(self) -> tuple[socket.socket, BufferedReader]:
        if self._socket is None or self._reader is None:
            sock, self._answered = self.dial(), False
            self._socket, self._reader = sock, sock.makefile("rb")
        return self._socket, self._reader

    def _head(self, reader: BufferedReader, method: str) -> Answer:
        status, headers = read_head(reader)
        self._answered = True
        empty = method == "HEAD" or status in (204, 304)
        return Answer(status, headers, iter(()) if empty else self._body(reader, headers))

    def _body(self, reader: BufferedReader, headers: Mapping[str, str]) -> Iterator[bytes]:
        try:
            yield from read_body(reader, headers)
        except (OSError, ValueError) as error:
            self.close()
            raise ConnectionLost(self.host, _reason(error)) from None
        if ends_connection(headers):
            self.close()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_LIMIT_S:.0f} seconds"
    if isinstance(error, OSError) and (said := tls_reason(error)):
        return said
    if isinstance(error, OSError):
        return error.strerror.lower() if error.strerror else "the connection broke"
    return str(error)


def _message(answer: Answer) -> str:
    data = b""
    for piece in answer.body:
        data += piece
        if len(data) > MAX_ERROR_BYTES:
            break
    try:
        message = json.loads(data)["message"]
    except (ValueError, KeyError, TypeError):
        message = data.decode(errors="replace").strip() or f"the daemon answered with status {answer.status}"
    # The daemon's sentences are Docker's, since clients match on them; a person at this command line types ours.
    return re.sub(r'(["`])docker (?=swarm|info|node|service|stack|secret|config)', r"\1vault ", str(message))


def _encoded(body: object) -> bytes:
    try:
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # The bytes are not shown: they may be of a variable that holds a password.
        raise CommandError("an argument holds bytes that are not UTF-8 text: write it in UTF-8") from None
