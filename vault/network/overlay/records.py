"""What a node keeps of its overlay networks in RUN_ROOT/overlay, for the next vaultd: what it was told, and its tasks.

Not pure.  Used by `overlay.overlays` and `node`.  RUN_ROOT is in memory, so all of it ends together with what it
describes.  A task's record is written before its links are made and removed after they are gone.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path
from typing import Final

import msgspec

from vault.model.overlay import OverlayChange, OverlayNetwork
from vault.network.overlay.state import OverlayState

logger = logging.getLogger(__name__)
_STATE: Final = "state"
_VERSION: Final = 1
_PAUSE: Final = 10
_LEAST_PAUSE_S: Final = 0.02


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A task's link to a network."""

    network: OverlayNetwork
    device: str
    addresses: tuple[str, ...]  # With prefix length.
    settings: tuple[tuple[str, str], ...] = ()  # As `vault.model.endpoint_options` has them.


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A task's links, in their order."""

    task_id: str
    links: tuple[LinkRecord, ...]
    nameservers: tuple[str, ...] = ()


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """The file of what a node was told."""

    version: int
    node_id: str
    state: OverlayChange


class Records:
    """The directory RUN_ROOT/overlay, which is there as long as something is in it."""

    def __init__(self, run_root: Path) -> None:
        self._directory = run_root / "overlay"

    def tasks(self) -> Iterator[TaskRecord]:
        """Yield the records of tasks; what cannot be read is removed."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                record = msgspec.json.decode(path.read_bytes(), type=TaskRecord)
                for link in record.links:
                    for address in link.addresses:
                        ip_interface(address)
            except (OSError, ValueError):
                logger.warning("overlay_record_unreadable", extra={"path": str(path)})
                path.unlink(missing_ok=True)
            else:
                yield record

    def put_task(self, record: TaskRecord) -> None:
        """Write a task's record."""
        self._write(f"{record.task_id}.json", msgspec.json.encode(record))

    def remove_task(self, task_id: str) -> None:
        """Remove a task's record; none is no error."""
        (self._directory / f"{task_id}.json").unlink(missing_ok=True)

    def state(self) -> tuple[str, OverlayState]:
        """Return the node's id and what it was told; nothing when there is no file that this release reads."""
        try:
            told = msgspec.json.decode((self._directory / _STATE).read_bytes(), type=_Told)
        except FileNotFoundError:
            return "", OverlayState()
        except (OSError, ValueError) as error:
            logger.warning("overlay_state_unreadable", extra={"err": type(error).__name__})
            return "", OverlayState()
        if told.version != _VERSION:
            return "", OverlayState()
        return told.node_id, OverlayState().applied(told.state)

    def put_state(self, node_id: str, state: OverlayState) -> None:
        """Write what the node was told."""
        if not state.overlays:
            (self._directory / _STATE).unlink(missing_ok=True)
            self.tidy()
            return
        told = _Told(version=_VERSION, node_id=node_id, state=state.as_change())
        self._write(_STATE, msgspec.json.encode(told))

    def tidy(self) -> None:
        """Remove the directory if nothing is in it."""
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    def _write(self, name: str, data: bytes) -> None:
        """Write whole or not at all; what a crash of the machine loses is lost together with the links."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        fresh = self._directory / f"{name}.new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        fresh.rename(self._directory / name)


class StateKeeper:
    """Writes what a node was told, in the background; what comes meanwhile is written once.

    Writing a large state takes some 10 ms of processor time, so it pauses ten times as long after each; and after a
    small one so long that what follows at once is written with it.
    """

    def __init__(self, records: Records, state: OverlayState) -> None:
        """state: as it was read."""
        self._records = records
        self._node_id, self._state, self._written = "", state, state
        self._job: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def put(self, node_id: str, state: OverlayState) -> None:
        """Have a state written."""
        self._node_id, self._state = node_id, state
        if self._job is None or self._job.done():
            self._job = asyncio.create_task(self._write(), name="keep overlays")

    async def settle(self) -> None:
        """Return when the newest state is written, without pauses."""
        self._hurry.set()
        if self._job is not None:
            await asyncio.wait({self._job})
        self._hurry.clear()

    async def _write(self) -> None:
        while self._written is not self._state:
            self._written, began_s = self._state, time.monotonic()
            try:
                await asyncio.to_thread(self._records.put_state, self._node_id, self._written)
            except OSError as error:
                logger.warning("overlay_state_not_kept", extra={"err": error.strerror})
            with contextlib.suppress(TimeoutError):
                pause_s = max(_LEAST_PAUSE_S, _PAUSE * (time.monotonic() - began_s))
                await asyncio.wait_for(self._hurry.wait(), pause_s)
