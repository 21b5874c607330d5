"""Protobuf's encoding, as much of it as etcd's messages need: numbers, bytes, and fields in any order.  Pure.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator
from typing import Final

_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # How a field's content is told.
_SKIPPED: Final = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_MAX_NUMBER_BYTES: Final = 10


class Malformed(Exception):
    """These bytes are no message."""


def varint(number: int) -> bytes:
    """Return a number from 0 below 2^64: seven bits a byte, the lowest first."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(field: int, number: int) -> bytes:
    """Return a field that holds a number; zero is told by no field."""
    return varint(field << 3 | _NUMBER) + varint(number) if number else b""


def bytes_head(field: int, size_bytes: int) -> bytes:
    """Return what comes before the content of a field that holds bytes, text or a message."""
    return varint(field << 3 | _BYTES) + varint(size_bytes)


def bytes_field(field: int, content: bytes) -> bytes:
    """Return a field that holds bytes, text or a message."""
    return bytes_head(field, len(content)) + content


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield a message's fields as they come: number and content.  Raises `Malformed`.

    Content of four or eight bytes, which nothing here reads, is left out.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _NUMBER:
            number, at = _varint(data, at)
            yield tag >> 3, number
        elif kind == _BYTES:
            size, start = _varint(data, at)
            at = start + size
            if at > end:
                raise Malformed
            yield tag >> 3, data[start:at]
        elif kind in _SKIPPED:
            at += _SKIPPED[kind]
            if at > end:
                raise Malformed
        else:
            raise Malformed


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it."""
    try:
        byte = data[at]
        if byte < 0x80:
            return byte, at + 1
        number, shift = byte & 0x7F, 7
        for place in range(at + 1, at + _MAX_NUMBER_BYTES):
            byte = data[place]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number, place + 1
            shift += 7
    except IndexError:
        pass
    raise Malformed
