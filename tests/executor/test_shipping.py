"""Logs that go to a server: every line, in order, through rotations, trouble and restarts."""

import asyncio
import gzip
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.executor.conftest import Body, Node
from tests.executor.test_logs import line, rest_of
from tests.virtual import run
from vault.agent.executors.oci.logfiles import all_files, rotate
from vault.agent.executors.oci.logtail import Position, Tailer
from vault.agent.executors.oci.paths import Roots, TaskPaths
from vault.agent.executors.oci.shipping import Shipper
from vault.agent.executors.port import Exit, TaskRejected
from vault.agent.logs import LogLine, LogQuery
from vault.model.base import EPOCH
from vault.model.container import ContainerSpec
from vault.model.ids import TaskID
from vault.model.secret import Driver

OnNode = Callable[[Body], None]


def task_paths(base: Path) -> TaskPaths:
    paths = Roots(data=base, run=base).task(TaskID("t" * 25))
    paths.data.mkdir(parents=True)
    return paths


def write(paths: TaskPaths, text: str, second: int = 1) -> None:
    with paths.log.open("ab") as file:
        file.write(line(text, second=second))


STEPS = st.lists(st.sampled_from(["write", "rotate", "compress", "read", "restart"]), max_size=40)


@settings(deadline=None, max_examples=80)
@given(STEPS)
def test_a_reader_that_starts_again_where_it_was_misses_no_line(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Whatever is written, rotated and compressed meanwhile; and it reads nothing twice that it noted."""
    paths = task_paths(tmp_path_factory.mktemp("log"))
    tailer, seen, written = Tailer(paths.log, LogQuery()), [], 0
    for step in [*steps, "restart", "read"]:
        match step:
            case "write":
                write(paths, f"line {written}", second=written % 60)
                written += 1
            case "rotate":
                rotate(paths, max_bytes=1, files=99)
            case "compress":
                rotate(paths, max_bytes=1 << 30, files=99, compress=True)
            case "read":
                seen += [each.data for each in rest_of(tailer)]
            case "restart":
                position = tailer.position
                tailer.close()
                tailer = Tailer(paths.log, LogQuery(), start=position)
    tailer.close()
    assert seen == [f"line {n}\n".encode() for n in range(written)]


def test_rotated_files_are_compressed_at_the_next_look_and_read_all_the_same(tmp_path: Path) -> None:
    paths = task_paths(tmp_path)
    for number in range(3):
        write(paths, str(number))
        assert rotate(paths, max_bytes=1, files=9, compress=True)
    assert [path.name for path in all_files(paths.log)] == [
        "container.log.3.gz",
        "container.log.2.gz",
        "container.log.1",
        "container.log",
    ]
    assert gzip.decompress((paths.data / "container.log.3.gz").read_bytes()) == line("0", second=1)
    tailer = Tailer(paths.log, LogQuery())
    assert [each.data for each in tailer.last(2)] == [b"1\n", b"2\n"]
    tailer.close()


def test_a_damaged_compressed_file_costs_its_own_lines_alone(tmp_path: Path) -> None:
    paths = task_paths(tmp_path)
    (paths.data / "container.log.2.gz").write_bytes(b"\x1f\x8b\x08 no gzip at all")
    whole = gzip.compress(line("kept") + line("lost") * 1000)
    (paths.data / "container.log.1.gz").write_bytes(whole[: len(whole) - 12])
    write(paths, "new", second=9)
    tailer = Tailer(paths.log, LogQuery())
    assert rest_of(tailer)[-1].data == b"new\n"
    assert [each.data for each in Tailer(paths.log, LogQuery()).last(1)] == [b"new\n"]
    tailer.close()


class Server:
    """A target that takes lines unless it is down."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.down = False
        self.refused = 0
        self.closed = False

    async def send(self, lines: Sequence[LogLine]) -> None:
        if self.down:
            self.refused += 1
            raise OSError(111, "Connection refused")
        self.lines += [each.data for each in lines]

    async def close(self) -> None:
        self.closed = True


class Inline:
    """Threads that are none."""

    async def run(self, work: Callable[..., object], *arguments: object) -> object:
        return work(*arguments)


def shipper(paths: TaskPaths, server: Server, ended: "asyncio.Future[Exit]") -> Shipper:
    return Shipper(paths, server, Inline(), ended)  # type: ignore[arg-type]


def test_lines_are_sent_until_the_last_one_after_the_containers_end(tmp_path: Path) -> None:
    paths = task_paths(tmp_path)

    async def story() -> None:
        server, ended = Server(), asyncio.get_running_loop().create_future()
        job = asyncio.ensure_future(shipper(paths, server, ended).run())
        write(paths, "one")
        await asyncio.sleep(1)
        assert server.lines == [b"one\n"]
        write(paths, "two")
        with paths.log.open("ab") as file:
            file.write(line("begun", tag="P"))
        ended.set_result(Exit(code=0, finished_at=EPOCH))
        await job
        assert server.lines == [b"one\n", b"two\n", b"begun"]
        assert server.closed

    run(story())


def test_a_server_that_is_down_is_tried_again_ever_more_slowly_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = task_paths(tmp_path)

    async def story() -> None:
        server, ended = Server(), asyncio.get_running_loop().create_future()
        server.down = True
        write(paths, "one")
        job = asyncio.ensure_future(shipper(paths, server, ended).run())
        await asyncio.sleep(60)
        assert 8 <= server.refused <= 12
        server.down = False
        write(paths, "two")
        await asyncio.sleep(15)
        assert server.lines == [b"one\n", b"two\n"]
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    run(story())
    assert [record.getMessage() for record in caplog.records] == ["log_not_shipped"]


def test_the_next_vaultd_goes_on_where_this_one_stopped(tmp_path: Path) -> None:
    paths = task_paths(tmp_path)

    async def sent(server: Server) -> None:
        job = asyncio.ensure_future(shipper(paths, server, asyncio.get_running_loop().create_future()).run())
        await asyncio.sleep(1)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    async def story() -> None:
        first, second, third = Server(), Server(), Server()
        write(paths, "one")
        await sent(first)
        rotate(paths, max_bytes=1, files=9)
        write(paths, "two")
        await sent(second)
        paths.shipped.write_bytes(b"damaged")
        await sent(third)
        assert (first.lines, second.lines) == ([b"one\n"], [b"two\n"])
        assert third.lines == [b"one\n", b"two\n"]

    run(story())


def test_a_place_in_a_file_that_is_gone_is_the_start_of_what_is_left(tmp_path: Path) -> None:
    paths = task_paths(tmp_path)
    write(paths, "kept")
    tailer = Tailer(paths.log, LogQuery(), start=Position(mark=b"2020-01-01", offset=9))
    assert [each.data for each in rest_of(tailer)] == [b"kept\n"]
    tailer.close()


@pytest.mark.machine
def test_what_a_container_prints_reaches_a_syslog_server_and_readers(on_node: OnNode, tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        taken: asyncio.Queue[bytes] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                taken.put_nowait(data)

        transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        options = {
            "syslog-address": f"udp://127.0.0.1:{port}",
            "syslog-format": "rfc5424micro",
            "tag": "{{.Name}}",
            "env": "TEAM",
        }
        spec = ContainerSpec(env=("TEAM=a",))
        task = await node.run(
            "sh", "-c", "echo out; echo err >&2", spec=spec, log_driver=Driver(name="syslog", options=options)
        )
        got = sorted([await taken.get(), await taken.get()])
        transport.close()
        assert got[0].startswith(b"<27>1 ")
        assert got[0].endswith(b" - err\n")
        assert got[1].startswith(b"<30>1 ")
        assert b" web." in got[1]
        await node.executor.wait(task)
        assert sorted((await node.output(task)).split()) == ["err", "out"]
        details = await node.executor.log_details(task)
        assert details["TEAM"] == "a"
        assert details["tag"].startswith("web.")

    on_node(body)


@pytest.mark.machine
def test_the_driver_none_keeps_nothing(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run("sh", "-c", "echo private", log_driver=Driver(name="none"))
        await node.executor.wait(task)
        assert await node.output(task) == ""
        assert [path for path in log_files(node.base) if b"private" in path.read_bytes()] == []

    on_node(body)


def log_files(base: Path) -> list[Path]:
    """The files of logs, but for what is in a container: that goes away while one looks."""
    found = []
    for directory, below, names in os.walk(base):
        below[:] = [name for name in below if name != "rootfs"]
        found += [Path(directory, name) for name in names if "log" in name]
    return found


@pytest.mark.machine
@pytest.mark.parametrize(
    ("driver", "text"),
    [
        (Driver(name="gelf"), "logger: no log driver named 'gelf' is registered"),
        (Driver(name="json-file", options={"x": "y"}), "unknown log opt 'x' for json-file log driver"),
        (
            Driver(name="local", options={"tag": "{{.Nope}}"}),
            'template: expansion:1:2: executing "expansion" at <.Nope>: '
            "can't evaluate field Nope in type *logger.Info",
        ),
        (
            Driver(name="syslog", options={"syslog-address": "unix:///nosuch/log"}),
            "failed to initialize logging driver: stat /nosuch/log: no such file or directory",
        ),
    ],
)
def test_a_task_whose_log_this_node_cannot_keep_is_rejected(on_node: OnNode, driver: Driver, text: str) -> None:
    async def body(node: Node) -> None:
        with pytest.raises(TaskRejected) as refusal:
            await node.run("true", log_driver=driver)
        assert refusal.value.message == text

    on_node(body)
