"""The identity in force: on disk before it is in use, written only where it differs."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemon.world import founded
from vault.crypto.keys import UnlockKey
from vault.daemon.holding import Holding
from vault.daemon.identity import Identity, IdentityFiles, Place
from vault.rpc.messages import ManagerAddress


class FakeFiles(IdentityFiles):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.written: list[Identity | Place] = []
        self.full = False

    def write(self, identity: Identity) -> None:
        self._note(identity)

    def write_place(self, place: Place) -> None:
        self._note(place)

    def _note(self, what: Identity | Place) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.written.append(what)


@pytest.fixture
def holding() -> Holding:
    return Holding(FakeFiles(), founded().identity)


def written(holding: Holding) -> list[Identity | Place]:
    assert isinstance(holding.files, FakeFiles)
    return holding.files.written


def test_what_managers_say_of_themselves_rewrites_no_keys(holding: Holding) -> None:
    async def learn() -> None:
        await holding.remember_managers((ManagerAddress(node_id="m", addr="10.0.0.2:2377"),))
        await holding.remember_epoch((5, 7))
        await holding.remember_epoch((5, 7))

    asyncio.run(learn())
    assert [type(one) for one in written(holding)] == [Place, Place]
    assert holding.epoch == (5, 7)
    assert holding.managers == (ManagerAddress(node_id="m", addr="10.0.0.2:2377"),)


def test_what_is_the_same_is_not_written(holding: Holding) -> None:
    asyncio.run(holding.change(lambda had: replace(had)))
    assert written(holding) == []


def test_another_unlock_key_is_written_and_leaves_connections_alone(holding: Holding) -> None:
    own = holding.credentials.own
    asyncio.run(holding.change(lambda had: replace(had, unlock=UnlockKey.generate(), unlock_version=2)))
    assert [type(one) for one in written(holding)] == [Identity]
    assert holding.credentials.own is own


def test_what_could_not_be_written_is_not_in_force(holding: Holding) -> None:
    assert isinstance(holding.files, FakeFiles)
    before, holding.files.full = holding.identity, True
    with pytest.raises(OSError, match="No space left"):
        asyncio.run(holding.remember_epoch((9, 9)))
    assert holding.identity is before


def test_changes_at_one_time_are_all_kept(holding: Holding) -> None:
    async def both() -> None:
        await asyncio.gather(
            holding.remember_epoch((1, 2)),
            holding.change(lambda had: replace(had, unlock_version=3)),
            holding.remember_managers((ManagerAddress(node_id="m", addr="a:1"),)),
        )

    asyncio.run(both())
    assert (holding.epoch, holding.identity.unlock_version, len(holding.managers)) == ((1, 2), 3, 1)


def test_who_is_cancelled_while_a_change_is_written_is_so_once_it_is_written(holding: Holding) -> None:
    """Files were written while `swarm leave` removed them: it failed with an error that named none of this."""
    assert isinstance(holding.files, FakeFiles)
    writes, goes_on = threading.Event(), threading.Event()
    note = holding.files.write_place

    def slow(place: Place) -> None:
        writes.set()
        goes_on.wait(5)
        note(place)

    holding.files.write_place = slow  # type: ignore[method-assign]

    async def cancelled() -> None:
        changing = asyncio.ensure_future(holding.remember_epoch((5, 7)))
        await asyncio.to_thread(writes.wait, 5)
        changing.cancel()
        await asyncio.sleep(0)
        assert not changing.done()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await changing
        assert [type(one) for one in written(holding)] == [Place]

    asyncio.run(cancelled())
