"""Logs: the file format, and reading, following and rotating the files of real containers."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.executor.conftest import Body, Node
from vault.agent.executors.oci import logtail
from vault.agent.executors.oci.logfiles import older_files, rotate
from vault.agent.executors.oci.logtail import Tailer
from vault.agent.executors.oci.paths import Roots
from vault.agent.logs import LINE_MAX_BYTES, Assembler, LogLine, LogQuery, parse_line
from vault.model.ids import TaskID
from vault.model.secret import Driver

OnNode = Callable[[Body], None]
STAMP = b"2026-11-22T22:26:25.123456789+00:00"


def line(text: str, stream: str = "stdout", tag: str = "F", second: int = 25) -> bytes:
    return f"2026-11-22T22:26:{second:02d}.000000001+00:00 {stream} {tag} {text}\n".encode()


def read(log: Path, **query: object) -> list[str]:
    asked = LogQuery(**query)  # type: ignore[arg-type]
    tailer = Tailer(log, asked)
    try:
        lines = [*([] if asked.tail is None else tailer.last(asked.tail)), *rest_of(tailer), *tailer.flush()]
        return [each.data.decode() for each in lines]
    finally:
        tailer.close()


def rest_of(tailer: Tailer) -> list[LogLine]:
    seen: list[LogLine] = []
    while (lines := tailer.read()) is not None:
        seen += lines
    return seen


def test_a_line_gives_its_stream_and_its_time_to_the_nanosecond() -> None:
    found = parse_line(STAMP + b" stderr F with  two blanks ")
    assert found is not None
    assert (found.stream, found.partial, found.data) == ("stderr", False, b"with  two blanks ")
    assert found.at_ns == 1795386385_123456789
    whole = Assembler().feed(found)
    assert whole is not None
    assert whole.timestamp == "2026-11-22T22:26:25.123456789Z"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        STAMP + b" stdout F",
        STAMP + b" stdin F x",
        STAMP + b" stdout X x",
        b"yesterday stdout F x",
        b"2026-11-22T22:26:25.1+00:00 stdout F x",
        b"2026-11-22T22:26:25.123456789 stdout F x",
    ],
)
def test_a_damaged_line_is_left_out(raw: bytes) -> None:
    assert parse_line(raw) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_are_left_out(raw: bytes) -> None:
    found = parse_line(raw)
    assert found is None or raw.endswith(found.data)


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.booleans(), st.binary(max_size=20)), max_size=30))
def test_pieces_of_lines_join_within_their_stream_and_nothing_is_lost(pieces: list[tuple[str, bool, bytes]]) -> None:
    assembler = Assembler()
    out = {"stdout": b"", "stderr": b""}
    for stream, partial, data in pieces:
        found = parse_line(b" ".join([STAMP, stream.encode(), b"P" if partial else b"F", data]))
        assert found is not None
        whole = assembler.feed(found)
        if whole is not None:
            out[whole.stream] += whole.data
    for rest in assembler.flush():
        out[rest.stream] += rest.data
    for stream, text in out.items():
        assert text == b"".join(data + (b"" if partial else b"\n") for s, partial, data in pieces if s == stream)


def test_a_line_without_end_is_handed_out_in_pieces() -> None:
    assembler = Assembler()
    found = parse_line(STAMP + b" stdout P " + b"x" * (LINE_MAX_BYTES // 2))
    assert found is not None
    assert assembler.feed(found) is None
    piece = assembler.feed(found)
    assert piece is not None
    assert len(piece.data) == LINE_MAX_BYTES


def test_files_are_read_from_the_oldest_on(tmp_path: Path) -> None:
    log = tmp_path / "container.log"
    log.write_bytes(line("new"))
    (tmp_path / "container.log.1").write_bytes(line("old"))
    (tmp_path / "container.log.10").write_bytes(line("oldest"))
    (tmp_path / "container.log.2").write_bytes(line("older"))
    (tmp_path / "container.log.bak").write_bytes(line("not ours"))
    assert read(log) == ["oldest\n", "older\n", "old\n", "new\n"]
    assert read(log, tail=2) == ["old\n", "new\n"]
    assert read(log, tail=0) == []


def test_stream_and_time_choose_before_the_tail_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "container.log"
    log.write_bytes(b"".join(line(f"{n}", "stderr" if n % 2 else "stdout", second=n) for n in range(10)))
    at_ns = 1795386360_000000001
    assert read(log, stdout=False, tail=2) == ["7\n", "9\n"]
    assert read(log, since_ns=at_ns + 3_000_000_000, until_ns=at_ns + 5_000_000_000) == ["3\n", "4\n", "5\n"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from("PF"), st.integers(0, 60)), max_size=60),
    st.integers(0, 12),
    st.booleans(),
    st.integers(1, 5),
    st.sampled_from([50, 200, 1 << 18]),
)
def test_the_tail_is_what_the_end_of_the_whole_would_be(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[tuple[str, str, int]],
    tail: int,
    stderr: bool,
    files: int,
    block_bytes: int,
) -> None:
    """Whatever the sizes of lines, blocks and files, and with text that looks like a line's head."""
    if block_bytes < 1000:
        # A block may begin between two pieces of a line of the other stream; what came before is then cut off.
        pieces = [("stdout", tag, size) for _, tag, size in pieces]
    log = tmp_path_factory.mktemp("log") / "container.log"
    texts = [line(f"{n} {'x stdout F ' * size}", stream, tag) for n, (stream, tag, size) in enumerate(pieces)]
    share = -(-len(texts) // files) or 1
    for number in range(files):
        name = log.name if number == files - 1 else f"{log.name}.{files - 1 - number}"
        (log.parent / name).write_bytes(b"".join(texts[number * share : (number + 1) * share]))
    whole = read(log, stderr=stderr)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logtail, "_CHUNK_BYTES", block_bytes)
        # What is begun and not ended comes last, whenever it began, and comes even when nothing is asked for.
        found = read(log, stderr=stderr, tail=tail)
    assert found == whole[len(whole) - len(found) :]
    assert len(found) == tail or len(found) == len(whole) or len(found) <= 2


def test_a_tail_of_a_large_log_reads_little_of_it(tmp_path: Path) -> None:
    log = tmp_path / "container.log"
    log.write_bytes(b"".join(line(f"{n:06d}") for n in range(60_000)))
    tailer = Tailer(log, LogQuery(tail=5))
    assert [each.data for each in tailer.last(5)] == [f"{n:06d}\n".encode() for n in range(59_995, 60_000)]
    tailer._skip_to_last(5)
    assert tailer._file is not None
    assert tailer._file.tell() > log.stat().st_size - (1 << 19)
    tailer.close()


def test_a_reader_goes_on_in_the_new_file_after_a_rotation(tmp_path: Path) -> None:
    paths = Roots(data=tmp_path, run=tmp_path).task(TaskID("t" * 25))
    paths.data.mkdir(parents=True)
    paths.log.write_bytes(line("a"))
    tailer = Tailer(paths.log, LogQuery())
    assert [each.data for each in rest_of(tailer)] == [b"a\n"]
    with paths.log.open("ab") as file:
        file.write(line("b"))
    assert rotate(paths, max_bytes=1, files=3)
    paths.log.write_bytes(line("c"))
    assert [each.data for each in rest_of(tailer)] == [b"b\n", b"c\n"]
    tailer.close()


def test_a_reader_that_was_slow_misses_no_file_that_is_still_there(tmp_path: Path) -> None:
    paths = Roots(data=tmp_path, run=tmp_path).task(TaskID("t" * 25))
    paths.data.mkdir(parents=True)
    paths.log.write_bytes(line("a"))
    tailer = Tailer(paths.log, LogQuery())
    assert [each.data for each in rest_of(tailer)] == [b"a\n"]
    for text in ("b", "c", "d"):
        rotate(paths, max_bytes=1, files=9)
        paths.log.write_bytes(line(text))
    assert [each.data for each in rest_of(tailer)] == [b"b\n", b"c\n", b"d\n"]
    tailer.close()


def test_no_more_files_are_kept_than_asked_for(tmp_path: Path) -> None:
    paths = Roots(data=tmp_path, run=tmp_path).task(TaskID("t" * 25))
    paths.data.mkdir(parents=True)
    for number in range(6):
        paths.log.write_bytes(line(str(number)))
        assert rotate(paths, max_bytes=1, files=3)
        assert not rotate(paths, max_bytes=1, files=3)
    assert [path.read_bytes() for path in older_files(paths.log)] == [line("5"), line("4")]


@pytest.mark.machine
def test_following_sees_lines_as_they_come_and_ends_with_the_container(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run("sh", "-c", "echo one; while [ ! -e /go ]; do sleep 0.02; done; echo two; printf three")
        seen = []
        async for each in node.executor.logs(task, LogQuery(follow=True)):
            seen.append(each.data)
            if seen == [b"one\n"]:
                await node.exec(task, "touch", "/go")
        assert seen == [b"one\n", b"two\n", b"three"]

    on_node(body)


@pytest.mark.machine
def test_without_follow_a_running_containers_log_ends(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run("sh", "-c", "echo one; sleep 100")
        seen = [each.data async for each in node.executor.logs(task, LogQuery())]
        assert seen in ([], [b"one\n"])

    on_node(body)


@pytest.mark.machine
def test_a_long_line_and_every_byte_come_back_as_they_were(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(
            "sh", "-c", "dd if=/dev/zero bs=1000 count=100 2>/dev/null; printf '\\377\\r\\n'; printf end"
        )
        lines = [each.data async for each in node.executor.logs(task, LogQuery(follow=True))]
        assert lines == [b"\0" * 100_000 + b"\xff\r\n", b"end"]

    on_node(body)


@pytest.mark.machine
def test_rotation_loses_no_line_and_bounds_the_disk(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        options = Driver(name="json-file", options={"max-size": "16k", "max-file": "100"})
        script = "i=0; while [ $i -lt 3000 ]; do echo line-$i; i=$((i+1)); [ $((i % 200)) = 0 ] && sleep 0.02; done"
        task = await node.run("sh", "-c", script, log_driver=options)
        live = node.executor._live[task]
        rotations = 0
        while not live.ended.done():
            rotations += await asyncio.to_thread(node.executor._logs.rotate, task)
        lines = (await node.output(task)).split()
        assert lines == [f"line-{n}" for n in range(3000)]
        assert rotations >= 1

    on_node(body)
