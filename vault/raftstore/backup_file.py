"""The backup file: how its bytes are laid out, read within bounds.  Blocking; knows no keys.

Layout: magic (8) ‖ version (1) ‖ length of the opening (4) ‖ opening (MessagePack, at most 4 KiB: cluster id, how the
root key is locked, the locked root key, head, number of records) ‖ records (length of the key (1) ‖ length of the
value (4) ‖ key ‖ value) ‖ tag (32).  Numbers are big endian.  The tag is over the SHA-256 of everything before it.
Called by `vault.raftstore.backup`.
"""

import hashlib
from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, Final, Literal

import msgspec

from vault.crypto.records import MAX_RECORD_BYTES
from vault.model.errors import BadRequest

MAGIC: Final = b"VAULTBAK"
VERSION: Final = 1
TAG_BYTES: Final = 32
MAX_OPENING_BYTES: Final = 4096
MAX_VALUE_BYTES: Final = MAX_RECORD_BYTES + 64
PAGE_BYTES: Final = 1024 * 1024
PAGE_RECORDS: Final = 512
_START: Final = Struct(">8sBI")
_RECORD: Final = Struct(">BI")


class BackupDamaged(BadRequest):
    """It is no backup, or not all of it, or not as it was written; nothing was changed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the backup cannot be used ({why}): take another copy of it, or another backup")
        self.why = why


class Opening(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What can be read without a key."""

    cluster_id: str
    lock: Literal["unlock-key", "passphrase"]
    wrapped: bytes  # The root key.
    head: bytes
    count: int


class Sink:
    """Writes a backup to a file, from the start."""

    def __init__(self, file: BinaryIO, opening: Opening) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        packed = msgspec.msgpack.encode(opening)
        self._write(_START.pack(MAGIC, VERSION, len(packed)) + packed)

    def add(self, key: str, value: bytes) -> None:
        """Write one record."""
        name = key.encode("ascii")
        self._write(_RECORD.pack(len(name), len(value)) + name)
        self._write(value)

    def digest(self) -> bytes:
        """Return the SHA-256 of everything written; what the tag is over."""
        return self._digest.digest()

    def finish(self, tag: bytes) -> None:
        """Write the end."""
        self._file.write(tag)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class Source:
    """Reads a backup from a file, from the start, never more than one page ahead.  Raises `BackupDamaged`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        magic, version, length = _START.unpack(self._read(_START.size))
        if magic != MAGIC:
            raise BackupDamaged("it is no backup of a vault")
        if version != VERSION or length > MAX_OPENING_BYTES:
            raise BackupDamaged("it was altered, or written by another version of vault")
        try:
            self.opening = msgspec.msgpack.decode(self._read(length), type=Opening)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise BackupDamaged("its first bytes were altered, or another version of vault wrote them") from None

    def pages(self) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the records, some at a time."""
        page: list[tuple[str, bytes]] = []
        size_bytes = 0
        for _ in range(self.opening.count):
            key_bytes, value_bytes = _RECORD.unpack(self._read(_RECORD.size))
            if value_bytes > MAX_VALUE_BYTES:
                raise BackupDamaged("a length in it was altered")
            if page and (len(page) >= PAGE_RECORDS or size_bytes + value_bytes > PAGE_BYTES):
                yield page
                page, size_bytes = [], 0
            key = self._read(key_bytes).decode("ascii", "replace")
            page.append((key, self._read(value_bytes)))
            size_bytes += value_bytes
        if page:
            yield page

    def digest(self) -> bytes:
        """Return the SHA-256 of everything read."""
        return self._digest.digest()

    def tag(self) -> bytes:
        """Return the tag at the end, after all pages; nothing may follow."""
        tag = self._file.read(TAG_BYTES + 1)
        if len(tag) != TAG_BYTES:
            raise BackupDamaged("it is cut short, or something was added to it")
        return tag

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise BackupDamaged("it is cut short, or no backup at all")
        self._digest.update(data)
        return data
