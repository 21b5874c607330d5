"""Wall clocks that are wrong, by libfaketime and for vaultd alone: etcd and tasks keep the machine's.

Not pure: looks for the library.  The monotonic clock stays as it is.
"""

from pathlib import Path
from typing import Final

from vault.lab.errors import LabError, ProgramFailed
from vault.lab.plan import Place

MOST_S: Final = 20 * 365 * 86_400
_LIBRARIES: Final = ("*/faketime/libfaketimeMT.so.1", "faketime/libfaketimeMT.so.1")


def check(offset_s: int) -> None:
    """Raise `LabError` for an offset that no clock can have, or when the library is missing."""
    if abs(offset_s) > MOST_S:
        raise LabError("a clock can be off by 20 years at most: choose a smaller --offset")
    if offset_s:
        _library()


def environment(node: Place, offset_s: int) -> dict[str, str]:
    """Return what vaultd's environment must have for a clock that is off by so many seconds."""
    if offset_s == 0:
        return {}
    node.clock.write_text(f"{offset_s:+d}\n")
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME": f"{offset_s:+d}s",
        "DONT_FAKE_MONOTONIC": "1",  # Its name up to 0.9.10; the next is the later one.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


def _library() -> Path:
    for root in (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")):
        for pattern in _LIBRARIES:
            for found in root.glob(pattern):
                return found
    raise ProgramFailed("libfaketime", "not installed: install the package faketime")
