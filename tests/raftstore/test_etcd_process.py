"""The etcd program beside vaultd: whether it may be started, how, and what happens to its processes."""

import asyncio
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.raftstore.peers import Peers
from vault.model.errors import NoLeader, StoreDamaged, Unavailable
from vault.raftstore.engine import Commit, EngineStopped, MemberRemoved, Write
from vault.raftstore.engines import etcd_traces
from vault.raftstore.engines.etcd import EtcdEngine
from vault.raftstore.engines.etcd_binary import EtcdMissing, EtcdUnfit, find, fit_version
from vault.raftstore.engines.etcd_process import GARBAGE_PERCENT, start_etcd
from vault.raftstore.engines.etcd_settings import flags

PRINTED = "etcd Version: {}\nGit SHA: Not provided\nGo Version: go1.19.8\nGo OS/Arch: linux/amd64\n"


@pytest.mark.parametrize(
    "version", ["3.4.0", "3.4.23", "3.4.99", "3.5.6", "3.5.24", "3.6.0", "3.6.9", "4.0.0", "3.5.16-rc.0"]
)
def test_versions_that_keep_their_word_are_taken(version: str) -> None:
    number = tuple(int(part) for part in version.partition("-")[0].split("."))
    assert fit_version(PRINTED.format(version)) == number


@pytest.mark.parametrize(
    ("version", "why"),
    [("3.3.27", "is too old"), ("2.3.8", "is too old"), ("", "cannot be trusted"), ("latest", "cannot be trusted")]
    + [(f"3.5.{n}", "may lose records") for n in range(6)],
)
def test_versions_that_do_not_are_refused(version: str, why: str) -> None:
    with pytest.raises(EtcdUnfit, match=why):
        fit_version(PRINTED.format(version))


def test_without_the_program_nothing_is_started_and_the_package_is_named(tmp_path: Path) -> None:
    settings = dataclasses.replace(Peers(tmp_path).settings(1), binary=tmp_path / "etcd")
    with pytest.raises(EtcdMissing, match="install Debian's `etcd-server`"):
        asyncio.run(start_etcd(settings))
    assert list(settings.directory.iterdir()) == []


def test_a_program_of_an_unfit_version_is_asked_for_nothing_else(tmp_path: Path) -> None:
    program = tmp_path / "etcd"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\nprintf "etcd Version: 3.5.2\\n"\n')
    program.chmod(0o755)
    settings = dataclasses.replace(Peers(tmp_path).settings(1), binary=program)
    with pytest.raises(EtcdUnfit, match="may lose records"):
        asyncio.run(start_etcd(settings))
    assert (tmp_path / "asked").read_text() == "--version\n"
    assert list(settings.directory.iterdir()) == []


def test_a_program_that_is_found_says_its_version() -> None:
    assert find().version >= (3, 4, 0)


def test_the_flag_that_3_6_renamed_follows_the_version(tmp_path: Path) -> None:
    settings = Peers(tmp_path).settings(1)
    for version, flag in {
        (3, 4, 23): "--experimental-peer-skip-client-san-verification=true",
        (3, 5, 9): "--experimental-peer-skip-client-san-verification=true",
        (3, 6, 0): "--peer-skip-client-san-verification=true",
    }.items():
        assert flag in flags(settings, version, key_path="/proc/self/fd/9", force_new=False)


def test_a_key_is_in_no_file_and_no_command_line(tmp_path: Path) -> None:
    async def run() -> None:
        peers = Peers(tmp_path)
        settings = peers.settings(1)
        await peers.start(settings)
        secret = settings.peer_key.reveal().splitlines()[1]
        pid = (settings.directory / etcd_traces.PROCESS_FILE).read_text().split()[0]
        assert secret not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert Path(f"/proc/{pid}/environ").read_bytes() == f"GOGC={GARBAGE_PERCENT}\0".encode()
        files = [path for path in settings.directory.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if secret in path.read_bytes()]
        assert settings.directory.stat().st_mode & 0o777 == 0o700
        await peers.close()

    asyncio.run(run())


def test_what_an_earlier_vaultd_left_running_is_ended(tmp_path: Path) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    etcd_traces.write_down(tmp_path, left.pid)
    etcd_traces.end_former(tmp_path)
    assert left.wait() == -signal.SIGTERM
    etcd_traces.end_former(tmp_path)  # It is gone: nothing to do.


def test_another_process_that_has_the_number_now_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (tmp_path / etcd_traces.PROCESS_FILE).write_text(f"{other.pid} 12345\n")
        etcd_traces.end_former(tmp_path)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("text", ["", "x y\n", "1\n", "99999999 5\n", "\0"])
def test_a_note_of_a_process_that_says_nothing_does_no_harm(tmp_path: Path, text: str) -> None:
    (tmp_path / etcd_traces.PROCESS_FILE).write_text(text)
    etcd_traces.end_former(tmp_path)


def test_a_member_dies_with_the_vaultd_that_started_it(tmp_path: Path) -> None:
    code = f"""
import asyncio
from pathlib import Path
from tests.raftstore.peers import Peers
async def run():
    peers = Peers(Path({str(tmp_path)!r}))
    await peers.first()
    print((peers.root / "1" / "etcd-move1" / "process").read_text(), flush=True)
    await asyncio.sleep(60)
asyncio.run(run())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    process = os.pidfd_open(int(parent.stdout.readline().split()[0]))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert ended_within(process, 10)
    os.close(process)


def ended_within(process: int, limit_s: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(limit_s * 1000))


def test_a_member_that_has_served_and_lost_its_data_does_not_begin_anew(tmp_path: Path) -> None:
    async def run() -> None:
        peers = Peers(tmp_path)
        settings = peers.settings(1)
        await (await peers.start(settings)).close()
        (settings.directory / "data").rename(tmp_path / "elsewhere")
        with pytest.raises(StoreDamaged, match="join anew"):
            await start_etcd(settings)

    asyncio.run(run())


async def refusal_of(engine: EtcdEngine) -> StoreDamaged | EngineStopped:
    """Ask until the engine says more than that nobody answers now."""
    while True:
        try:
            await engine.head()
        except NoLeader:
            continue
        except (StoreDamaged, EngineStopped) as error:
            return error


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_member_whose_data_is_damaged_is_given_up_and_named(tmp_path: Path, damage: str) -> None:
    async def run() -> None:
        peers = Peers(tmp_path)
        settings = peers.settings(1)
        engine = await peers.start(settings)
        writes = [Write(f"/v1/task/{number}", bytes(2000)) for number in range(100)]
        await engine.commit(lambda: Commit(expected=None, head=b"1", writes=writes))
        await engine.close()
        database = settings.directory / "data" / "member" / "snap" / "db"
        if damage == "flipped":
            content = bytearray(database.read_bytes())
            content[300::512] = bytes(byte ^ 1 for byte in content[300::512])
            database.write_bytes(content)
        else:
            os.truncate(database, database.stat().st_size // 2)
        engine = await start_etcd(settings)
        assert "damaged" in (await refusal_of(engine)).message
        await engine.close()

    asyncio.run(run())


def test_a_member_that_crashes_while_it_leaves_is_known_to_be_removed(tmp_path: Path) -> None:
    """etcd 3.4 does, when it is asked something at that moment."""
    removed = {"level": "warn", "msg": "server error", "error": "the member has been permanently removed"}
    crash = {"level": "panic", "msg": "failed to find local ID in cluster members"}
    said = tmp_path / "said"
    said.write_text(f"{json.dumps(removed)}\n{json.dumps(crash)}\npanic: failed to find local ID\n")
    program = tmp_path / "etcd"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec printf "etcd Version: 3.4.23\\n"\ncat {said} >&2\nexit 2\n'
    )
    program.chmod(0o755)

    async def run() -> None:
        engine = await start_etcd(dataclasses.replace(Peers(tmp_path).settings(1), binary=program))
        async with asyncio.timeout(20):
            assert isinstance(await refusal_of(engine), MemberRemoved)
        await engine.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("words", "damaged"),
    [
        ("tocommit(1769) is out of range [lastIndex(4)]. Was the raft log corrupted, truncated, or lost?", True),
        ("walpb: crc mismatch", True),
        ("panic: failed to recover v3 backend from snapshot", True),
        ("unexpected fault address 0x7fc6c000a000", True),
        ("listen tcp 127.0.0.1:2380: bind: address already in use", False),
        ("write data/member/wal/0.wal: no space left on device", False),
        ("", False),
    ],
)
def test_damage_is_told_from_what_another_start_may_mend(words: str, *, damaged: bool) -> None:
    assert etcd_traces.tells_of_damage(words) is damaged


def test_a_member_alone_forgets_the_others_when_told_to_and_is_found_at_its_new_address(tmp_path: Path) -> None:
    async def run() -> None:
        peers = Peers(tmp_path)
        first, _ = await peers.together(2)
        await first.commit(lambda: Commit(expected=None, head=b"1", writes=[Write("/v1/task/a", b"1")]))
        await peers.close()
        elsewhere = f"127.11.0.9:{peers.port}"
        settings = dataclasses.replace(peers.settings(1), peer_address=elsewhere, force_new=True)
        alone = await peers.start(settings)
        assert await alone.get("/v1/task/a") == b"1"
        members = await alone.members()
        assert [(member.name, member.peer_url) for member in members] == [("node1", f"https://{elsewhere}")]
        await peers.close()

    asyncio.run(run())


def test_a_new_certificate_is_taken_by_starting_again(tmp_path: Path) -> None:
    async def run() -> None:
        peers = Peers(tmp_path)
        settings = peers.settings(1)
        engine = await peers.start(settings)
        await engine.commit(lambda: Commit(expected=None, head=b"1", writes=[]))
        renewed = peers.settings(1)
        note = settings.directory / etcd_traces.PROCESS_FILE
        before = note.read_text()
        await engine.renew_peer(renewed.peer_cert_pem, renewed.peer_key)
        assert await engine.head() == b"1"
        assert note.read_text() != before
        assert (settings.directory / "peer.pem").read_bytes() == renewed.peer_cert_pem
        await peers.close()

    asyncio.run(run())


def test_a_member_that_cannot_listen_is_tried_again_and_the_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vault.raftstore.engines.etcd_process.START_WAIT_S", 1.0)
    monkeypatch.setattr("vault.raftstore.engines.etcd.READ_LIMIT_S", 0.2)

    async def run() -> None:
        peers = Peers(tmp_path)
        settings = dataclasses.replace(peers.settings(1), peer_address="192.0.2.1:2380")  # Nobody's: RFC 5737.
        engine = await peers.start(settings)
        with pytest.raises(Unavailable):
            await engine.head()
        await peers.close()

    asyncio.run(run())
    assert any(
        "cannot assign requested address" in record.last_words
        for record in caplog.records
        if hasattr(record, "last_words")
    )


def test_a_log_that_is_too_long_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_traces, "MAX_LOG_BYTES", 100)
    log = etcd_traces.open_log(tmp_path)
    os.write(log, b"a" * 200)
    etcd_traces.bound_log(tmp_path)
    os.write(log, b"b" * 50)
    etcd_traces.bound_log(tmp_path)
    os.close(log)
    assert (tmp_path / "log").read_bytes() == b"b" * 50
    assert (tmp_path / "log.1").read_bytes().endswith(b"a" * 200)


def test_last_words_give_the_reason_where_the_crash_after_them_does_not(tmp_path: Path) -> None:
    said = {"level": "panic", "msg": "failed to open database", "error": "invalid database"}
    (tmp_path / "log").write_text(f"{json.dumps(said)}\npanic: failed to open database\n\ngoroutine 1 [running]:\n")
    assert etcd_traces.last_words(tmp_path) == "failed to open database: invalid database"


def test_last_words_are_the_last_serious_ones_of_this_life(tmp_path: Path) -> None:
    for lines in (
        '{"level":"fatal","msg":"before"}\n',
        '{"level":"error","msg":"bad","error":"it broke"}\n{"level":"warn","msg":"x"}\nrubbish\n',
    ):
        log = etcd_traces.open_log(tmp_path)
        os.write(log, lines.encode())
        os.close(log)
    assert etcd_traces.last_words(tmp_path) == "bad: it broke"
