"""Who a node is, on disk: crashes between any two steps leave the identity of before, that of after, or none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemon.world import founded
from vault.crypto.errors import CryptoError, WrongUnlockKey
from vault.crypto.keys import UnlockKey
from vault.daemon import identity as module
from vault.daemon.identity import Identity, IdentityFiles, Locked, MembershipDamaged, Peer


class PowerCut(Exception):
    """The machine stops here."""


@pytest.fixture
def files(tmp_path: Path) -> IdentityFiles:
    return IdentityFiles(tmp_path)


@pytest.fixture
def identity() -> Identity:
    return founded().identity


class Crashes:
    """Breaks off before the n-th change of a file or name."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for owner, name in (
            (module, "write_whole"), (Path, "unlink"), (module.shutil, "rmtree"), (Path, "rename"),
        ):  # fmt: skip
            patch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, real: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **named: object) -> object:
            if self.left == 0:
                raise PowerCut
            self.left -= 1
            return real(*args, **named)

        return counted

    def at(self, step: int, act: Callable[[], object]) -> bool:
        """Act, with a crash before a step; return whether there was such a step."""
        self.left = step
        try:
            act()
        except PowerCut:
            return True
        finally:
            self.left = -1
        return False


@pytest.fixture
def crashes(monkeypatch: pytest.MonkeyPatch) -> Crashes:
    return Crashes(monkeypatch)


def each_crash(crashes: Crashes, prepare: Callable[[], object], act: Callable[[], object]) -> "Crashed":
    return Crashed(crashes, prepare, act)


class Crashed:
    """Iterates over every step at which something can break off."""

    def __init__(self, crashes: Crashes, prepare: Callable[[], object], act: Callable[[], object]) -> None:
        self.crashes, self.prepare, self.act, self.step = crashes, prepare, act, -1

    def __iter__(self) -> "Crashed":
        return self

    def __next__(self) -> int:
        self.step += 1
        self.prepare()
        if not self.crashes.at(self.step, self.act):
            assert self.step > 1, "there were steps"
            raise StopIteration
        return self.step


def made(files: IdentityFiles, identity: Identity) -> None:
    files.begin()
    files.write(identity)


def test_what_is_written_is_read(files: IdentityFiles, identity: Identity) -> None:
    peer = Peer(authority="A", certificate="C", revoked="R", serials=("1",))
    made(files, replace(identity, peer=peer))
    found = IdentityFiles(files.root.parent).read()
    assert found.keys.node_id == identity.keys.node_id
    assert (found.peer, found.place, found.certificate) == (peer, identity.place, identity.certificate)
    assert not found.locks
    assert files.revoked.read_text() == "R"


def test_a_membership_that_was_broken_off_while_it_was_made_is_none(
    files: IdentityFiles, identity: Identity, crashes: Crashes
) -> None:
    for step in each_crash(crashes, files.remove, lambda: made(files, identity)):
        if files.exists():  # Only what says that it is unfinished is left to be removed.
            assert files.read().keys.node_id == identity.keys.node_id, step
        else:
            files.remove()
            assert not files.root.exists()


def test_a_membership_that_was_broken_off_while_it_was_forgotten_is_whole_or_none(
    files: IdentityFiles, identity: Identity, crashes: Crashes
) -> None:
    def prepare() -> None:
        made(files, identity)
        files.store.mkdir()

    for _ in each_crash(crashes, prepare, files.remove):
        if files.exists():
            files.read()
            assert files.store.is_dir()


def test_a_store_whose_key_file_is_gone_is_no_left_over(files: IdentityFiles, identity: Identity) -> None:
    made(files, identity)
    files.store.mkdir()
    (files.root / "node.key").unlink()
    with pytest.raises(MembershipDamaged, match=r"node\.key is missing: put back a copy of it, or leave"):
        files.exists()
    assert files.store.is_dir()


@pytest.mark.parametrize(
    ("locked_before", "locked_after"), [(False, False), (False, True), (True, True), (True, False)]
)
def test_a_crash_between_two_unlock_keys_leaves_one_that_opens(
    files: IdentityFiles, identity: Identity, crashes: Crashes, locked_before: bool, locked_after: bool
) -> None:
    """The operator has the keys of autolock; those of a swarm without it are found on the disk."""
    before = replace(identity, locks=locked_before, unlock_version=1)
    after = replace(identity, locks=locked_after, unlock=UnlockKey.generate(), unlock_version=2)

    def opened() -> Identity:
        for held in (after, before):
            try:
                return files.read(held.unlock if held.locks else None)
            except (Locked, CryptoError):
                continue
        raise AssertionError("no key opens it")

    for step in each_crash(crashes, lambda: made(files, before), lambda: files.write_keys(after)):
        found = opened()
        assert found.keys.root_key is not None
        assert found.unlock_version in (1, 2), step
    found = opened()
    assert (found.unlock_version, found.locks) == (2, locked_after)
    assert (files.root / "unlock.key").exists() is not locked_after


def test_a_locked_membership_needs_its_key_and_says_what_follows(files: IdentityFiles) -> None:
    identity = founded(autolock=True).identity
    made(files, identity)
    assert not (files.root / "unlock.key").exists()
    with pytest.raises(Locked, match=r"needs to be unlocked .* does not count for quorum"):
        files.read()
    with pytest.raises(WrongUnlockKey, match="give the key of before"):
        files.read(UnlockKey.generate())
    assert files.read(identity.unlock).locks


def test_a_key_file_that_the_key_beside_it_does_not_open_is_damaged(files: IdentityFiles, identity: Identity) -> None:
    made(files, identity)
    path = files.root / "node.key"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(MembershipDamaged, match="is not opened by the key beside it"):
        files.read()


@pytest.mark.parametrize("name", ["node.crt", "ca.crt", "node.json"])
def test_what_is_missing_or_cut_short_is_named(files: IdentityFiles, identity: Identity, name: str) -> None:
    made(files, identity)
    path = files.root / name
    path.write_bytes(path.read_bytes()[:20])
    if name != "ca.crt":  # Which is looked at when it is used.
        with pytest.raises(CryptoError):
            files.read()
    path.unlink()
    with pytest.raises(CryptoError, match=str(files.root)):
        files.read()


def test_a_worker_keeps_nothing_that_opens_the_store(files: IdentityFiles, identity: Identity) -> None:
    made(files, replace(identity, peer=Peer(authority="A", certificate="C", revoked="R")))
    files.write(replace(identity, keys=identity.keys.as_worker(), peer=None))
    assert files.read().keys.root_key is None
    assert not (files.root / "peer.json").exists()
    assert not files.revoked.exists()
