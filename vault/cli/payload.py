"""Reading the value of a secret or config: exact bytes, from a file or standard input, never more than needed."""

import sys
from typing import BinaryIO

from vault.cli.errors import ApiError, CommandError


def read_payload(kind: str, file: str | None, limit: int) -> bytes:
    """Return the bytes of `file`, `-` being standard input, with nothing added or removed.

    kind: `secret` or `config`.  limit: values of this many bytes and more are refused before anything is sent.
    """
    if file is None or file == "":
        raise CommandError(f"{kind} file is required")
    if file == "-":
        data = _read(sys.stdin.buffer, "STDIN", limit)
    else:
        try:
            with open(file, "rb") as stream:
                data = _read(stream, file, limit)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            verb = "read" if isinstance(error, IsADirectoryError) else "open"
            raise CommandError(f"error reading from {file}: {verb} {file}: {reason}") from None
    if not data:
        raise CommandError(f"error reading from {'STDIN' if file == '-' else file}: data is empty")
    if len(data) >= limit:
        # The daemon's own sentence, so that scripts see one text wherever the limit is noticed.
        raise ApiError(
            400,
            f"rpc error: code = InvalidArgument desc = {kind} data must be larger than 0 and less than {limit} bytes",
        )
    return data


def _read(stream: BinaryIO, name: str, limit: int) -> bytes:
    try:
        return stream.read(limit)
    except OSError as error:
        raise CommandError(f"error reading from {name}: {(error.strerror or str(error)).lower()}") from None
