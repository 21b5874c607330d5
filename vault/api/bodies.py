"""Bodies of requests: read within a bound and decoded into model objects, or taken piece by piece.

Not pure: reads from the connection.  Called by all handlers.  Nothing here logs, and no error carries what was posted.
"""

from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from vault.api.casing import name_fields, shape_of
from vault.api.gojson import json_fault
from vault.model.errors import BadRequest, VaultError

T = TypeVar("T")
Hook = Callable[[type, Any], Any]  # Decodes what msgspec does not know, as `Plaintext`.
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
TOO_DEEP = "invalid request body: it is nested too deeply"
MAX_INTEGER = 2**63 - 1


class TooLarge(VaultError):
    """The body of a request is beyond its bound."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request body is too large: send at most {limit_bytes} bytes")


async def read(request: Request, limit_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body; raise `TooLarge` as soon as it is known to be longer than `limit_bytes`."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise TooLarge(limit_bytes)
    receive = request.receive
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _read_rest(request, bytearray(body), limit_bytes)
    if len(body) > limit_bytes:
        raise TooLarge(limit_bytes)
    return body


async def _read_rest(request: Request, body: bytearray, limit_bytes: int) -> bytes:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise TooLarge(limit_bytes)
        if not message.get("more_body", False):
            return bytes(body)


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it comes: archives are larger than memory.  Raises `ClientDisconnect`."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


def decode(body: bytes, type_: type[T], hook: Hook | None = None) -> T:
    """Return a posted object.  `null` means: not given.  Raises `BadRequest` with Go's text where Go has one."""
    if not body.strip():
        raise BadRequest("got EOF while reading request body")
    try:
        posted = msgspec.json.decode(body)
    except RecursionError:
        raise BadRequest(json_fault(body) or TOO_DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(json_fault(body) or "the request body is not valid JSON") from None
    return convert(posted, type_, hook)


def convert(posted: object, type_: type[T], hook: Hook | None = None) -> T:
    """Return decoded JSON as an object of the model; raise `BadRequest` naming the field that does not fit."""
    name_fields(posted, shape_of(type_))
    try:
        return msgspec.convert(without_nulls(posted), type_, dec_hook=hook)
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid request body: {_fault(error)}") from None
    except (RecursionError, OverflowError, ValueError):
        raise BadRequest("invalid request body: it is nested too deeply or holds a number out of range") from None


def without_nulls(value: object, depth: int = 0) -> object:
    """Return decoded JSON without the nulls in its objects and arrays, as Go leaves a field that is null unset.

    Raises `BadRequest` for nesting and numbers that no field of the API has.
    """
    if depth > MAX_DEPTH:
        raise BadRequest(TOO_DEEP)
    if isinstance(value, dict):
        return {key: without_nulls(item, depth + 1) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item, depth + 1) for item in value if item is not None]
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise BadRequest("invalid request body: a number is out of range")
    return value


def _fault(error: msgspec.ValidationError) -> str:
    """Return where and why an object does not fit, without what was posted."""
    reason, _, where = str(error).partition(" - at ")
    kind = "unknown value" if reason.startswith("Invalid enum value") else reason.replace("`", "")
    return f"{kind} at {where.strip('`') or '$'}"
