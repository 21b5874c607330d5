"""Reads tar streams that nobody vouches for: ustar, PAX and GNU headers, forward only, everything bounded.

Pure but for the reading; called by `unpack` and `archive`.  Our own rather than `tarfile`, which reads headers of any
size into memory and has looped on made-up sizes.  Sources: POSIX pax; the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vault.agent.images.errors import BadArchive

_BLOCK: Final = 512
_HEADER_MAX_BYTES: Final = 1 << 20  # Of all PAX and GNU headers before one entry.
_NAME_MAX_BYTES: Final = 4096
_PIECE_BYTES: Final = 1 << 18
_SIZE_MAX: Final = 1 << 50
_ID_MAX: Final = (1 << 32) - 2
_TIME_MAX_S: Final = 1 << 40
_XATTR: Final = "SCHILY.xattr."

Read = Callable[[int], bytes]  # Like BinaryIO.read: fewer bytes than asked for only near the end, b"" at the end.


class Kind(Enum):
    """What an entry is."""

    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHARACTER_DEVICE = b"3"
    BLOCK_DEVICE = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry.  Names are as they stand in the stream: the caller judges them."""

    name: str  # Bytes that are not UTF-8 are surrogates, as in `os.fsdecode`.
    kind: Kind
    mode: int  # Permission bits, with set-uid, set-gid and sticky.
    uid: int
    gid: int
    size: int  # 0 unless it is a file.
    mtime_ns: int
    target: str = ""  # Of a link.
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes]


class TarReader:
    """Iterates over entries; `body()` yields the bytes of the one just given, and what it leaves is skipped."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._left = 0  # Bytes of the current entry's body that are not read yet.
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield entries up to the end mark, or to a clean end of the stream."""
        extended: dict[str, bytes] = {}
        room = _HEADER_MAX_BYTES
        while (header := self._next_header()) is not None:
            kind = header[156:157]
            size = _number(header[124:136], "size", _SIZE_MAX)
            if kind in b"xgLK":
                if size > room:
                    raise BadArchive("the archive has a header that is too large")
                room -= size + _BLOCK
                data = self._extension(size)
                if kind == b"x":
                    extended.update(_pax(data))
                elif kind == b"L":
                    extended.setdefault("path", data.rstrip(b"\0"))
                elif kind == b"K":
                    extended.setdefault("linkpath", data.rstrip(b"\0"))
                continue  # Global headers ("g") hold comments in practice, and are passed over.
            if any(key.startswith("GNU.sparse.") for key in extended):
                raise BadArchive("the archive has a sparse file: write it without sparse files")
            entry = _entry(header, size, extended)
            extended, room = {}, _HEADER_MAX_BYTES
            self._expect(entry.size)
            yield entry
            self._skip()

    def body(self) -> Iterator[bytes]:
        """Yield the current entry's bytes, in pieces of at most 256 KiB."""
        while self._left:
            piece = self._exactly(min(self._left, _PIECE_BYTES))
            self._left -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read what follows the end mark, so that a hash over the stream covers it."""
        while self._read(_PIECE_BYTES):
            continue

    def _expect(self, size: int) -> None:
        self._left, self._padding = size, -size % _BLOCK

    def _skip(self) -> None:
        for _ in self.body():
            continue
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _extension(self, size: int) -> bytes:
        self._expect(size)
        data = b"".join(self.body())
        self._skip()
        return data

    def _next_header(self) -> bytes | None:
        first = self._read(_BLOCK)
        if not first:
            return None
        header = first if len(first) == _BLOCK else first + self._exactly(_BLOCK - len(first))
        if header == bytes(_BLOCK):
            return None
        stated = header[148:156].strip(b" \0")
        if not stated.isdigit() or int(stated, 10) != int(f"{sum(header[:148]) + 8 * 32 + sum(header[156:]):o}"):
            raise BadArchive("this is not a tar archive, or it is damaged: a header's checksum does not fit")
        return header

    def _exactly(self, count: int) -> bytes:
        pieces = []
        while count:
            piece = self._read(count)
            if not piece:
                raise BadArchive("the archive ends too early")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


def _entry(header: bytes, size: int, extended: Mapping[str, bytes]) -> Entry:
    name = extended.get("path") or _joined(header)
    kind = _kind(header[156:157], name)
    return Entry(
        name=_name(name),
        kind=kind,
        mode=_number(header[100:108], "mode", 1 << 32) & 0o7777,
        uid=_overridden(extended, "uid", header[108:116]),
        gid=_overridden(extended, "gid", header[116:124]),
        size=(_decimal(extended["size"], _SIZE_MAX) if "size" in extended else size) if kind is Kind.FILE else 0,
        mtime_ns=_time_ns(extended["mtime"]) if "mtime" in extended else _header_time(header[136:148]),
        target=_name(extended.get("linkpath") or header[157:257].split(b"\0")[0]),
        device=(_number(header[329:337], "device", _ID_MAX), _number(header[337:345], "device", _ID_MAX))
        if kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
        else (0, 0),
        xattrs={key.removeprefix(_XATTR): value for key, value in extended.items() if key.startswith(_XATTR)},
    )


def _joined(header: bytes) -> bytes:
    """Return the name of a header: ustar has a prefix field, GNU uses that room for times."""
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _kind(flag: bytes, name: bytes) -> Kind:
    if flag in b"\007":
        return Kind.DIRECTORY if flag == b"\0" and name.endswith(b"/") else Kind.FILE
    try:
        return Kind(flag)
    except ValueError:
        raise BadArchive(f"the archive has an entry of an unknown kind ({flag!r})") from None


def _name(raw: bytes) -> str:
    if len(raw) > _NAME_MAX_BYTES or b"\0" in raw:
        raise BadArchive("the archive has a name that is too long, or has a NUL in it")
    return raw.decode("utf-8", "surrogateescape")


def _overridden(extended: Mapping[str, bytes], key: str, field: bytes) -> int:
    return _decimal(extended[key], _ID_MAX) if key in extended else _number(field, key, _ID_MAX)


def _number(field: bytes, what: str, most: int) -> int:
    """Read an octal number, or a GNU base-256 one; negative ones and those above `most` are refused."""
    if field[0] == 0x80:
        value = int.from_bytes(field[1:])
    else:
        digits = field.split(b"\0")[0].strip(b" ")
        if digits.strip(b"01234567"):
            raise BadArchive(f"the archive has a {what} that is not a number")
        value = int(digits or b"0", 8)
    if value > most:
        raise BadArchive(f"the archive has a {what} that is too large")
    return value


def _decimal(text: bytes, most: int) -> int:
    if not text.isdigit() or len(text) > 20 or int(text) > most:
        raise BadArchive("the archive has a header with a number out of range")
    return int(text)


def _header_time(field: bytes) -> int:
    """Return nanoseconds; a time before 1970, or none that makes sense, counts as 0."""
    try:
        return _number(field, "time", _TIME_MAX_S) * 1_000_000_000
    except BadArchive:
        return 0


def _time_ns(text: bytes) -> int:
    whole, _, fraction = text.partition(b".")
    if not whole.isdigit() or len(whole) > 12 or (fraction and not fraction.isdigit()):
        return 0
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))


def _pax(data: bytes) -> dict[str, bytes]:
    """Split `LENGTH KEY=VALUE\\n` records.  Raises `BadArchive` when they do not add up."""
    records: dict[str, bytes] = {}
    rest = memoryview(data)
    while rest:
        digits, space, _ = bytes(rest[:12]).partition(b" ")
        if not space or not digits.isdigit():
            raise BadArchive("the archive has a damaged header")
        length = int(digits)
        record = bytes(rest[len(digits) + 1 : length])
        key, equals, value = record.partition(b"=")
        if length > len(rest) or not equals or not value.endswith(b"\n"):
            raise BadArchive("the archive has a damaged header")
        records[key.decode("utf-8", "surrogateescape")] = value[:-1]
        rest = rest[length:]
    return records
