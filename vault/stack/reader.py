"""The one place of this package that touches the machine: stack files, and the files they name.

Called by the command line, which passes `read_file` on to `load`.
"""

import os
import stat
import sys
from collections.abc import Sequence

from vault.stack.errors import StackError
from vault.stack.load import Source
from vault.stack.yaml import MAX_BYTES

# More than any secret or config may have, so that a file too large is named as such and not read to its end.
_READ_LIMIT_BYTES = MAX_BYTES + 1


def read_sources(paths: Sequence[str]) -> list[Source]:
    """Return the stack files at `paths`; `-` is standard input.

    Relative paths inside them start at the directory of the first, or where the command runs when that is `-`.
    Raises `StackError` when one cannot be read.
    """
    if not paths:
        raise StackError("specify a Compose file (with --compose-file)")
    try:
        here = os.getcwd()
    except OSError as error:
        raise StackError(f"getwd: {_reason(error)}") from None
    directory = here if paths[0] == "-" else os.path.dirname(os.path.join(here, paths[0]))
    directory = os.path.normpath(directory)
    return [
        Source(name=path, text=_standard_input() if path == "-" else read_file(path), directory=directory)
        for path in paths
    ]


def read_file(path: str) -> bytes:
    """Return the bytes of a file, as they are, up to a little over the largest that any use allows.

    Raises `StackError` in Docker's words: `open PATH: no such file or directory`.
    """
    try:
        with open(path, "rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise StackError(f"read {path}: is a directory")
            return file.read(_READ_LIMIT_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path.
        what = "read" if isinstance(error, IsADirectoryError) else "open"
        raise StackError(f"{what} {path}: {_reason(error)}") from None


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read(_READ_LIMIT_BYTES)
    except OSError as error:
        raise StackError(f"read /dev/stdin: {_reason(error)}") from None


def _reason(error: OSError | ValueError) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else "invalid argument"
    return text[:1].lower() + text[1:]
