"""The move from the engine of one manager to that of several, while this manager leads.  Not pure.

Writes wait; all records are copied into a fresh engine, under a head that is none; the true head comes last, and then
everything is read back and compared, record by record, with what the ledger holds.  The rename of the file `engine` is
the commit point: before it, whatever happens, the old engine is in charge and the new directory is a left-over;
after it, the other way round.  Left-overs are deleted here, or at the next start.  Called by `vault.raftstore.store`.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

from vault.model.errors import OutcomeUnknown, StoreDamaged, Unavailable
from vault.raftstore import files
from vault.raftstore.engine import Commit, Engine, EngineStopped, Reading, Write
from vault.raftstore.leadership import Leadership
from vault.raftstore.ledger import Ledger
from vault.raftstore.opening import StartEtcd
from vault.raftstore.proposals import BATCH_BYTES, BATCH_WRITES

logger = logging.getLogger(__name__)
Step = Callable[[str], None]
_finishing: set[asyncio.Future[None]] = set()  # What goes on when whoever asked for a move is gone.
STEPS: Final = ("start", "stop writes", "copy", "head", "compare", "rename", "switch", "remove")


class MoveFailed(Unavailable):
    """The swarm goes on with the engine it had."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the store could not be moved for several managers ({why}): see the log, and try again")
        self.why = why


async def move(
    leadership: Leadership, directory: Path, content: files.EngineFile, start: StartEtcd, step: Step = lambda name: None
) -> None:
    """Move to the engine that `content` names; see `Store.move`.  step: told the name of each step before it."""
    home, old = directory / content.directory, leadership.engine
    writer = leadership.leading()
    await asyncio.to_thread(_make_empty, home)
    engine: Engine | None = None
    try:
        step("start")
        engine = await start(home)
        step("stop writes")
        await writer.pause()
        writer.check_running()
        reading = await _copied(leadership.replica.ledger, old, engine, content.directory, step)
        await asyncio.to_thread(files.sync_directory, home)
        step("rename")
    except BaseException:  # Cancelled too: the old engine goes on, and nothing of the new one is left.
        writer.resume(old, alone=True)
        if engine is not None:
            await engine.close()
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        raise
    # From here on nothing waits, so that nobody who gives up the move can break it off between the two engines.
    try:
        files.write(directory, content)
    except OSError as error:
        # Whether the file names the old engine or the new one is for the next start to see: both stay.
        writer.end(OutcomeUnknown())
        raise EngineStopped(f"renaming its engine file failed: {error.strerror}") from None
    step("switch")
    leadership.switch(engine, reading)
    writer.resume(engine, alone=False)
    logger.info("engine_moved", extra={"engine": content.engine, "index": leadership.replica.committed.index})
    finishing = asyncio.ensure_future(_let_go(old, directory, content, step))
    _finishing.add(finishing)
    finishing.add_done_callback(_finishing.discard)
    await asyncio.shield(finishing)


async def _let_go(old: Engine, directory: Path, content: files.EngineFile, step: Step) -> None:
    """Close the old engine, which lets the leadership's watch go over to the new one, and delete it."""
    await old.close()
    step("remove")
    try:
        await asyncio.to_thread(files.sweep, directory, content.directory)
    except OSError as error:  # The next start tries again.
        logger.warning("engine_not_removed", extra={"reason": error.strerror})


async def _copied(ledger: Ledger, old: Engine, new: Engine, name: str, step: Step) -> Reading:
    """Copy everything, and return a reading of the new engine that shows all of it."""
    if await new.head() is not None:
        raise MoveFailed("the new engine is not empty")
    marks = 0
    expected: bytes | None = None
    assert ledger.head_bytes is not None
    async for writes in _packed(await old.read()):
        step("copy")
        marks += 1
        mark = f"copy {marks} into {name}, no head yet".encode()
        expected = await _put(new, Commit(expected=expected, head=mark, writes=writes))
    step("head")
    await _put(new, Commit(expected=expected, head=ledger.head_bytes, writes=()))
    step("compare")
    reading = await new.read()
    if reading.head != ledger.head_bytes:
        raise MoveFailed("the new engine does not hold the head that was written")
    count = 0
    async for page in reading.pages():
        count += len(page)
        if not await asyncio.to_thread(_are_live, ledger, page):
            raise MoveFailed("the new engine does not hold what was copied")
    if count != len(ledger.live):
        raise MoveFailed("the new engine does not hold everything that was copied")
    return reading


async def _put(engine: Engine, commit: Commit) -> bytes:
    await engine.commit(lambda: commit)
    return commit.head


async def _packed(reading: Reading) -> AsyncIterator[Sequence[Write]]:
    """Yield all records in pieces that fit one commit."""
    writes: list[Write] = []
    size_bytes = 0
    async for page in reading.pages():
        for key, value in page:
            if writes and (len(writes) >= BATCH_WRITES or size_bytes + len(value) > BATCH_BYTES):
                yield writes
                writes, size_bytes = [], 0
            writes.append(Write(key, value))
            size_bytes += len(value)
    if writes:
        yield writes


def _are_live(ledger: Ledger, page: Sequence[tuple[str, bytes]]) -> bool:
    """Return whether records as read are those that the ledger counts."""
    try:
        return all(ledger.agrees(key, framed) for key, framed in page)
    except StoreDamaged:
        return False


def _make_empty(home: Path) -> None:
    """Make the directory of the new engine; what a move that failed has left in it goes."""
    if home.exists():
        shutil.rmtree(home)
    home.mkdir(mode=0o700)
