"""Answers: what every handler returns.

Not FastAPI's `JSONResponse`: bodies are encoded by msgspec, once, and headers are few.  Called by all handlers.
"""

from collections.abc import AsyncIterator
from http import HTTPStatus

import msgspec
from starlette.responses import Response, StreamingResponse

from vault.model.errors import VaultError

JSON = b"application/json"
_ENCODER = msgspec.json.Encoder()
encode = _ENCODER.encode


class Answer(Response):
    """An answer whose body and header list are ready to send."""

    def __init__(self, body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        # Not Response.__init__: it renders the body and builds headers that we have already.
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = headers


def json_bytes(body: bytes, status: int = HTTPStatus.OK) -> Answer:
    """Answer with JSON that is encoded already."""
    length = str(len(body)).encode()
    return Answer(body, int(status), [(b"content-type", JSON), (b"content-length", length)])


def json(value: object, status: int = HTTPStatus.OK) -> Answer:
    """Answer with `value` as JSON and a newline, as Docker ends its bodies."""
    return json_bytes(encode(value) + b"\n", status)


def created(id: str) -> Answer:
    """Answer 201 with the id of what was made."""
    return json_bytes(b'{"ID":"%b"}\n' % id.encode(), HTTPStatus.CREATED)


def done() -> Answer:
    """Answer 200 without a body."""
    return Answer(b"", HTTPStatus.OK, [(b"content-length", b"0")])


def gone() -> Answer:
    """Answer 204: it was removed."""
    return Answer(b"", HTTPStatus.NO_CONTENT, [])


def text(body: str) -> Answer:
    """Answer with plain text."""
    encoded = body.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(encoded)).encode())]
    return Answer(encoded, HTTPStatus.OK, headers)


def failed(error: VaultError) -> Answer:
    """Answer with an error's status and its sentence."""
    return refused(error.status, error.message)


def refused(status: int, message: str) -> Answer:
    """Answer with a status and a sentence."""
    return json({"message": message}, status)


def stream(chunks: AsyncIterator[bytes], content_type: str) -> StreamingResponse:
    """Answer with bytes as they come."""
    return StreamingResponse(chunks, media_type=content_type)
