"""Packet rules of one namespace by libnftables, the library behind `nft`.

Not pure.  Used by `overlay.device`.  A context kept open programs a change in 0.1 to 1 ms, where the program `nft`,
started in the namespace, takes 16 to 45 ms, most of it for opening and closing its own (docs/networking.md has the
figures).  Source: libnftables(3).
"""

import ctypes
import threading
from functools import cache
from typing import Final

from vault.network.kernel.programs import NetworkFailed

_LIBRARY: Final = "libnftables.so.1"


class Nftables:
    """The rules of the namespace in which this was opened; usable from any thread, one at a time."""

    def __init__(self) -> None:
        self._library = _library()
        self._turn = threading.Lock()
        self._context: int | None = self._library.nft_ctx_new(0)
        if self._context is None:
            raise NetworkFailed("nft", "the library gave no context: is there memory left?")
        for kept in (self._library.nft_ctx_buffer_output, self._library.nft_ctx_buffer_error):
            kept(self._context)

    def run(self, script: str) -> str:
        """Carry out a script as one transaction; return what it printed.  Raises `NetworkFailed`: nothing changed."""
        with self._turn:
            assert self._context is not None, "used after it was closed"
            if self._library.nft_run_cmd_from_buffer(self._context, script.encode()) != 0:
                words = self._library.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
                first = words.partition("Error: ")[2].partition("\n")[0].strip()
                raise NetworkFailed("nft", first or "the kernel refused the rules")
            return str(self._library.nft_ctx_get_output_buffer(self._context).decode(errors="replace"))

    def close(self) -> None:
        """Close it; the kernel takes 10 ms.  The rules stay."""
        with self._turn:
            if self._context is not None:
                self._library.nft_ctx_free(self._context)
                self._context = None


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise NetworkFailed("nft", f"{_LIBRARY} is not installed: install the package nftables") from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        function = getattr(library, name)
        function.restype = ctypes.c_char_p
        function.argtypes = [ctypes.c_void_p]
    return library
