"""How a container stands, in a file beside its record, so that the next vaultd neither forgets nor invents it.

A format of our own: JSON with a version first; nothing of what a probe printed is in it.  Blocking; called by
`executor` and `adoption`.
"""

import logging
from typing import Final

import msgspec

from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.health import KeptHealth

logger = logging.getLogger(__name__)
FORMAT: Final = 1
_MAX_BYTES: Final = 1 << 20


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    health: KeptHealth


def write(paths: TaskPaths, kept: KeptHealth) -> None:
    """Replace the file in one step.  What cannot be written costs the next vaultd its knowledge, and nothing else."""
    fresh = paths.health.with_suffix(".new")
    try:
        fresh.write_bytes(msgspec.json.encode(_File(format=FORMAT, health=kept)))
        fresh.replace(paths.health)
    except OSError as error:
        logger.warning("health_not_kept", extra={"task_id": paths.task_id, "reason": error.strerror})


def read(paths: TaskPaths) -> KeptHealth | None:
    """Return what was kept; None when there is nothing that this version reads."""
    try:
        with paths.health.open("rb") as file:
            found = msgspec.json.decode(file.read(_MAX_BYTES), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.health if found.format == FORMAT else None
