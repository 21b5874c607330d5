"""RUN_ROOT/dns.state: what was told, to start again from when nobody is there to tell it.

Written a moment after each change, whole or not at all, in a format of our own that begins with its release.  Not
synced: after a restart of the machine no task is left that it speaks of.  Used by `vault.dns.process`.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from vault.dns.messages import KEPT, RELEASE, Served
from vault.model.overlay import OverlayChange

_MAX_BYTES: Final = 64 << 20


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was told."""

    release: str = ""
    change: OverlayChange = OverlayChange()
    tasks: tuple[Served, ...] = ()


def write(run_root: Path, change: OverlayChange, tasks: tuple[Served, ...]) -> None:
    """Replace the file.  Raises `OSError`."""
    path = run_root / KEPT
    fresh = path.with_suffix(".new")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "wb") as writing:
        writing.write(msgspec.msgpack.encode(Kept(release=RELEASE, change=change, tasks=tasks)))
    fresh.replace(path)


def read(run_root: Path) -> Kept:
    """Return what was told; nothing when there is no file that this release reads."""
    try:
        with (run_root / KEPT).open("rb") as file:
            kept = msgspec.msgpack.decode(file.read(_MAX_BYTES), type=Kept)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Kept()
    return kept if kept.release == RELEASE else Kept()


def forget(run_root: Path) -> None:
    """Remove the file."""
    (run_root / KEPT).unlink(missing_ok=True)
