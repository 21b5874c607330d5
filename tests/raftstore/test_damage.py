"""A disk that was altered at rest: found at the next start, and the record named.  Whole-disk rollback is not found."""

import asyncio
import atexit
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.raftstore.world import create, new_secret, opened
from vault.model.errors import StoreDamaged, VaultError
from vault.model.ids import Kind
from vault.raftstore.engines import sqlite_file
from vault.raftstore.head import Part
from vault.store import rules
from vault.store.changes import Put

Rows = dict[str, bytes]
VALUES = {f"name{n}": bytes([n]) * (10 + n * 40) for n in range(6)}


@pytest.fixture(autouse=True)
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep files small."""
    monkeypatch.setattr(sqlite_file, "LOG_BYTES", 64 * 1024)


@cache
def template() -> Path:
    """Make a closed store of six secrets, once."""
    directory = Path(mkdtemp(prefix="vault-damage-"))
    atexit.register(shutil.rmtree, directory)

    async def run() -> None:
        store = await create(directory)
        for name, value in VALUES.items():
            await store.submit(lambda snap, name=name, value=value: new_secret(name, value))
        await store.close()

    asyncio.run(run())
    return directory


def filled(directory: Path) -> Path:
    """Put a copy of the template in `directory`; return its file."""
    shutil.copytree(template(), directory, dirs_exist_ok=True)
    return file_of(directory)


def file_of(directory: Path) -> Path:
    (path,) = directory.glob("sqlite-*/store.db")
    return path


def rows(path: Path) -> Rows:
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT key, value FROM records"))


def sql(path: Path, statement: str, *arguments: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute(statement, arguments).rowcount == 1


def head_of(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as db:
        ((head,),) = db.execute("SELECT value FROM head")
    return bytes(head)


def set_row(path: Path, key: str, value: bytes) -> None:
    sql(path, "UPDATE records SET value = ? WHERE key = ?", value, key)


def refusal(directory: Path) -> str:
    """Return what opening the store says; it must refuse."""

    async def run() -> str:
        with pytest.raises(StoreDamaged) as caught:
            await opened(directory)
        return caught.value.message

    return asyncio.run(run())


def named(key: str) -> str:
    return key.removeprefix("/v1/")


@pytest.mark.parametrize("kind", ["secret", "secret-value", "keyring"])
@pytest.mark.parametrize("where", [0, 8, 9, 13, 40, 80, -1])
def test_a_flipped_bit_is_found_and_the_record_named(tmp_path: Path, kind: str, where: int) -> None:
    path = filled(tmp_path)
    key, value = next((k, v) for k, v in rows(path).items() if k.startswith(f"/v1/{kind}/"))
    altered = bytearray(value)
    altered[where] ^= 0x10
    set_row(path, key, bytes(altered))
    assert named(key) in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["secret", "secret-value"])
def test_two_records_that_changed_places_are_found(tmp_path: Path, kind: str) -> None:
    path = filled(tmp_path)
    (one, first), (two, second), *_ = ((k, v) for k, v in rows(path).items() if k.startswith(f"/v1/{kind}/"))
    set_row(path, one, second)
    set_row(path, two, first)
    text = refusal(tmp_path)
    assert named(one) in text or named(two) in text


@pytest.mark.parametrize("kind", ["secret", "secret-value", "keyring"])
def test_a_dropped_record_is_found_and_named(tmp_path: Path, kind: str) -> None:
    path = filled(tmp_path)
    key = next(k for k in rows(path) if k.startswith(f"/v1/{kind}/"))
    sql(path, "DELETE FROM records WHERE key = ?", key)
    text = refusal(tmp_path)
    assert named(key) in text
    assert "it is missing" in text


def test_a_record_replaced_by_its_older_self_is_found_and_named(tmp_path: Path) -> None:
    path = filled(tmp_path)
    key, older = next((k, v) for k, v in rows(path).items() if k.startswith("/v1/secret/"))
    change_all(tmp_path)
    set_row(path, key, older)
    text = refusal(tmp_path)
    assert named(key) in text
    assert "not the one committed last" in text


def test_a_removed_record_that_comes_back_is_found_and_named(tmp_path: Path) -> None:
    path = filled(tmp_path)
    key, value = next((k, v) for k, v in rows(path).items() if k.startswith("/v1/secret-value/"))

    async def remove() -> None:
        store = await opened(tmp_path)
        await store.submit(lambda snap: rules.removed(snap, Kind.SECRET, key.rsplit("/", 1)[1]))
        await store.close()

    asyncio.run(remove())
    sql(path, "INSERT INTO records (key, value) VALUES (?, ?)", key, value)
    text = refusal(tmp_path)
    assert named(key) in text
    assert "come back" in text


def test_several_older_records_are_found(tmp_path: Path) -> None:
    path = filled(tmp_path)
    older = [(k, v) for k, v in rows(path).items() if k.startswith("/v1/secret/")]
    change_all(tmp_path)
    for key, value in older[:3]:
        set_row(path, key, value)
    assert "several records are damaged" in refusal(tmp_path)


def test_an_older_head_is_found(tmp_path: Path) -> None:
    path = filled(tmp_path)
    head = head_of(path)
    change_all(tmp_path)
    sql(path, "UPDATE head SET value = ?", head)
    assert "damaged" in refusal(tmp_path)


@pytest.mark.parametrize("where", [0, 1, 20, 30, 60, 150, -1])
def test_a_flipped_bit_in_head_is_found(tmp_path: Path, where: int) -> None:
    path = filled(tmp_path)
    head = head_of(path)
    altered = bytearray(head)
    altered[where] ^= 1
    sql(path, "UPDATE head SET value = ?", bytes(altered))
    assert "head" in refusal(tmp_path)


STRANGE: list[tuple[str, Callable[[Path], None]]] = [
    ("no head", lambda path: sql(path, "DELETE FROM head")),
    ("a strange key", lambda path: sql(path, "INSERT INTO records VALUES (99, '/v1/secret/../x', x'00')")),
    ("a key twice", lambda path: sql(path, "INSERT INTO records SELECT 99, key, value FROM records LIMIT 1")),
    ("a key of bytes", lambda path: sql(path, "INSERT INTO records VALUES (99, x'ff', x'00')")),
    ("a key that is not UTF-8", lambda path: sql(path, "INSERT INTO records VALUES (99, CAST(x'ff' AS TEXT), x'00')")),
    ("an empty value", lambda path: sql(path, "INSERT INTO records VALUES (99, '/v1/task/a', x'')")),
    ("a value that is a number", lambda path: sql(path, "INSERT INTO records VALUES (99, '/v1/task/a', 7)")),
    ("an empty file", lambda path: path.write_bytes(b"") and None),
    ("another file", lambda path: path.write_bytes(b"x" * 5000) and None),
    ("no file", Path.unlink),
]


@pytest.mark.parametrize("alter", [alter for _, alter in STRANGE], ids=[name for name, _ in STRANGE])
def test_strange_content_is_refused(tmp_path: Path, alter: Callable[[Path], None]) -> None:
    alter(filled(tmp_path))
    assert "restore it from a backup" in refusal(tmp_path)


@pytest.mark.parametrize("text", [b"", b"1 sqlite sqlite-../../x\n", b"2 sqlite sqlite-a\n", b"\xff" * 300])
def test_a_strange_engine_file_is_refused(tmp_path: Path, text: bytes) -> None:
    filled(tmp_path)
    (tmp_path / "engine").write_bytes(text)
    assert "engine is damaged" in refusal(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_file_with_an_altered_byte_is_refused_or_unharmed(tmp_path: Path, where: int, bits: int) -> None:
    """Some bytes of the file mean nothing; no altered one may crash us, hang us, or change what the store says."""
    directory = tmp_path / "altered"
    shutil.rmtree(directory, ignore_errors=True)
    path = filled(directory)
    altered = bytearray(path.read_bytes())
    altered[where % len(altered)] ^= bits
    path.write_bytes(altered)

    async def run() -> None:
        try:
            store = await opened(directory)
        except VaultError:
            return
        try:
            assert {secret.spec.name for secret in store.committed.secrets.values()} == VALUES.keys()
            for secret in store.committed.secrets.values():
                # A page that leads to a value may be altered so that only this look-up meets it.
                with suppress(StoreDamaged):
                    assert (await store.value(Kind.SECRET, secret.id)).reveal() == VALUES[secret.spec.name]
        finally:
            await store.close()

    asyncio.run(run())


def test_a_value_altered_while_the_store_runs_is_not_given_out(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await store.submit(lambda snap: new_secret("password", b"old"))
        (secret_id,) = store.committed.secrets
        ledger = store._replica.ledger
        key = f"/v1/secret-value/{secret_id}"
        ledger.live[key] = Part(ledger.live[key].at, 1)  # As if the engine returned other bytes.
        with pytest.raises(StoreDamaged, match=f"secret-value/{secret_id}"):
            await store.value(Kind.SECRET, secret_id)
        await store.close()

    asyncio.run(run())


def change_all(directory: Path) -> None:
    """Write every secret anew."""

    async def run() -> None:
        store = await opened(directory)
        await store.submit(lambda snap: [Put(secret) for secret in snap.secrets.values()])
        await store.close()

    asyncio.run(run())
