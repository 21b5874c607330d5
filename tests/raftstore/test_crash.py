"""Killed in the middle, a full disk, a failing disk: what was acknowledged stays, what was refused is not there."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.raftstore.model_engine import ModelEngine
from tests.raftstore.world import create, new_secret, opened, store_on
from tests.raftstore.writer_process import value_of
from vault.model.errors import DiskFull, OutcomeUnknown, StoreDamaged
from vault.model.ids import Kind
from vault.raftstore.engine import Commit, EngineStopped, Write
from vault.raftstore.engines import sqlite_file
from vault.raftstore.engines.sqlite import SqliteEngine
from vault.raftstore.engines.sqlite_log import check_log

ROOT = Path(__file__).parents[2]


def killed_after(directory: Path, prefix: str, lines: int) -> list[str]:
    """Let a process write, kill it after that many answers, and return all answers it gave."""
    command = [sys.executable, "-m", "tests.raftstore.writer_process", str(directory), prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    return [line.decode().rstrip("\n") for line in told]


@pytest.mark.timeout(60)
def test_everything_acknowledged_survives_kill_9_byte_for_byte(tmp_path: Path) -> None:
    there: set[str] = set()
    perhaps: set[str] = set()
    for round_number, lines in enumerate((1, 40, 700)):
        for line in killed_after(tmp_path, f"r{round_number}c", lines):
            sign, name = line[0], line[1:]
            if sign == "+":
                there.add(name)
            else:
                there.discard(name)
                (perhaps.add if sign == "?" else perhaps.discard)(name)

    async def run() -> None:
        store = await opened(tmp_path)
        found = {secret.spec.name: secret.id for secret in store.committed.secrets.values()}
        assert there <= found.keys()
        for name, secret_id in found.items():
            assert (await store.value(Kind.SECRET, secret_id)).reveal() == value_of(name)
        unasked = found.keys() - there - perhaps
        assert len(unasked) <= 3 * 6, "only what each client was waiting for when it was killed"
        await store.close()

    asyncio.run(run())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "vault-test", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte of the disk free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast


def test_a_full_disk_refuses_writes_and_the_store_serves_on(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "LOG_BYTES", 64 * 1024)

    async def run() -> None:
        store = await create(small_disk / "store")
        await store.submit(lambda snap: new_secret("before", b"1"))
        ballast = fill(small_disk)
        for _ in range(3):
            with pytest.raises(DiskFull):
                await store.submit(lambda snap: new_secret("too-large", bytes(400_000)))
        assert (await store.value(Kind.SECRET, next(iter(store.committed.secrets)))).reveal() == b"1"
        assert len(store.committed.secrets) == 1
        ballast.unlink()
        await store.submit(lambda snap: new_secret("too-large", bytes(400_000)))
        await store.close()
        store = await opened(small_disk / "store")
        assert {secret.spec.name for secret in store.committed.secrets.values()} == {"before", "too-large"}
        await store.close()

    asyncio.run(run())


def test_a_disk_that_fills_up_slowly_loses_nothing(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "LOG_BYTES", 64 * 1024)

    async def run() -> None:
        store = await create(small_disk / "store")
        reserve = small_disk / "reserve"
        reserve.write_bytes(bytes(200_000))
        written = 0
        with suppress(DiskFull):
            while written < 1000:
                await store.submit(lambda snap, n=written: new_secret(f"s{n}", bytes(9000)))
                written += 1
        assert 20 < written < 1000
        await store.close()
        with pytest.raises(DiskFull):
            await opened(small_disk / "store")
        reserve.unlink()
        store = await opened(small_disk / "store")
        assert len(store.committed.secrets) == written
        await store.close()

    asyncio.run(run())


def test_no_room_for_a_new_store_leaves_none(small_disk: Path) -> None:
    async def run() -> None:
        ballast = fill(small_disk)
        with pytest.raises((DiskFull, OSError)):
            await create(small_disk / "store")
        ballast.unlink()
        await (await create(small_disk / "store")).close()

    asyncio.run(run())


class FailingDisk:
    """An SQLite connection whose COMMIT reports a failed fsync."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self.real = real
        self.statements: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def execute(self, sql: str, *arguments: Any) -> Any:
        self.statements.append(sql)
        if sql == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return self.real.execute(sql, *arguments)


def test_after_a_failed_fsync_nothing_is_tried_again(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        file = store._leadership.engine._file  # type: ignore[attr-defined]
        failing = file._db = FailingDisk(file._db)
        asked = [asyncio.ensure_future(store.submit(lambda snap: new_secret("first", b"1")))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked.append(asyncio.ensure_future(store.submit(lambda snap: new_secret("second", b"2"))))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, EngineStopped]
        assert isinstance(await store.stopped(), OutcomeUnknown)
        with pytest.raises(EngineStopped):
            await store.submit(lambda snap: new_secret("third", b"3"))
        with pytest.raises(EngineStopped):
            await anext(store.snapshots())
        count = len(failing.statements)
        await store.close()
        assert len(failing.statements) == count
        failing.real.close()

    asyncio.run(run())


def test_a_full_disk_fails_all_that_was_built_on_the_failed_write() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        engine.fails = [DiskFull()]
        first = asyncio.ensure_future(store.submit(lambda snap: new_secret("first", b"1")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = asyncio.ensure_future(store.submit(lambda snap: new_secret("second", b"2")))
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DiskFull, DiskFull]
        engine.fails = [DiskFull()]
        change = new_secret("proposed", b"3")
        assert set(map(id, await store.propose(change))) == set(map(id, change))
        assert await store.propose(change) == ()
        assert [secret.spec.name for secret in store.committed.secrets.values()] == ["proposed"]
        await store.close()

    asyncio.run(run())


def running_copy(tmp_path: Path) -> Path:
    """Return the log of a store that was copied while it ran, with one commit a secret in it."""

    async def run() -> None:
        store = await create(tmp_path / "live")
        for number in range(10):
            await store.submit(lambda snap, n=number: new_secret(f"s{n}", b"x"))
        shutil.copytree(tmp_path / "live", tmp_path / "copy")
        await store.close()

    asyncio.run(run())
    (log,) = (tmp_path / "copy").glob("sqlite-*/store.db-wal")
    return log


def names_in(directory: Path) -> set[str]:
    async def run() -> set[str]:
        store = await opened(directory)
        names = {secret.spec.name for secret in store.committed.secrets.values()}
        await store.close()
        return names

    return asyncio.run(run())


def used(log: Path) -> int:
    return len(log.read_bytes().rstrip(b"\0"))


def test_a_log_that_a_crash_left_is_read_to_its_end(tmp_path: Path) -> None:
    running_copy(tmp_path)
    assert names_in(tmp_path / "copy") == {f"s{n}" for n in range(10)}


def test_a_torn_last_commit_is_dropped_and_no_other(tmp_path: Path) -> None:
    log = running_copy(tmp_path)
    os.truncate(log, used(log) - 100)
    assert names_in(tmp_path / "copy") == {f"s{n}" for n in range(9)}


@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_damage_before_the_last_commit_in_the_log_is_no_torn_end(tmp_path: Path, part: float) -> None:
    log = running_copy(tmp_path)
    content = bytearray(log.read_bytes())
    content[int(used(log) * part)] ^= 4
    log.write_bytes(content)
    with pytest.raises(StoreDamaged, match="before its end"):
        names_in(tmp_path / "copy")


@pytest.mark.parametrize("where", range(0, 32, 3))
def test_a_log_with_another_header_is_damaged(tmp_path: Path, where: int) -> None:
    log = running_copy(tmp_path)
    content = bytearray(log.read_bytes())
    content[where] ^= 0x80
    log.write_bytes(content)
    with pytest.raises(StoreDamaged):
        check_log(log)


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(100_000)])
def test_an_unused_log_is_a_good_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    check_log(tmp_path / "log")
    check_log(tmp_path / "none")


def test_every_commit_is_synced_and_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    async def run() -> None:
        engine = await SqliteEngine.create(tmp_path)
        db = engine._file._db
        settings = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "secure_delete")}
        assert settings == {"synchronous": 2, "secure_delete": 1}
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == b"wal"
        await engine.close()

    asyncio.run(run())


def test_a_file_that_may_not_grow_takes_nothing_and_serves_on(tmp_path: Path) -> None:
    async def run() -> None:
        engine = await SqliteEngine.create(tmp_path)
        await engine.commit(lambda: Commit(expected=None, head=b"1", writes=[Write("/v1/task/a", b"a")]))
        db = engine._file._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone()
        large = [Write("/v1/task/a", b"b"), Write("/v1/task/b", bytes(50_000))]
        for _ in range(2):
            with pytest.raises(DiskFull):
                await engine.commit(lambda: Commit(expected=b"1", head=b"2", writes=large))
        assert await engine.head() == b"1"
        assert await engine.get("/v1/task/a") == b"a"
        await engine.commit(lambda: Commit(expected=b"1", head=b"2", writes=[Write("/v1/task/a", b"c")]))
        assert await engine.get("/v1/task/a") == b"c"
        await engine.close()

    asyncio.run(run())
