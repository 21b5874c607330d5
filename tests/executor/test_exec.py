"""Commands run in real containers, with and without a terminal."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executor.conftest import Body, Node, finish, secret
from vault.agent.executors.port import Channel, ContainerNotRunning, ExecSession, ExecSpec
from vault.model.container import ContainerSpec
from vault.model.errors import BadRequest

pytestmark = pytest.mark.machine
OnNode = Callable[[Body], None]
IDLE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")


async def read_until(session: ExecSession, wanted: bytes) -> bytes:
    """Read a terminal until it shows something."""
    seen = b""
    async for _, data in session.output():
        seen += data
        if wanted in seen:
            return seen
    raise AssertionError(f"{wanted!r} never came: {seen!r}")


def test_a_command_has_its_own_streams_and_exit_code(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        assert await node.exec(task, "sh", "-c", "echo out; echo err >&2; exit 5") == (5, "out\n", "err\n")

    on_node(body)


def test_a_large_input_arrives_whole_and_its_end_is_seen(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        assert await node.exec(task, "wc", "-c", stdin=b"x" * 2_000_000) == (0, "2000000\n", "")

    on_node(body)


def test_a_large_output_arrives_whole_however_slowly_it_is_read(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        code, out, err = await node.exec(task, "sh", "-c", "dd if=/dev/zero bs=1000 count=3000 2>/dev/null; echo e >&2")
        assert (code, len(out), err) == (0, 3_000_000, "e\n")

    on_node(body)


def test_a_command_sees_the_environment_of_the_container_and_its_own(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE, spec=ContainerSpec(env=("A=1", "B=2")))
        code, out, _ = await node.exec(task, "sh", "-c", "echo $A $B $PATH $HOME", env=("B=3",))
        assert (code, out) == (0, "1 3 /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root\n")

    on_node(body)


def test_a_command_runs_as_the_user_and_in_the_directory_asked_for(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        code, out, _ = await node.exec(task, "sh", "-c", "id; pwd; echo $HOME", user="app", working_dir="/tmp")
        assert code == 0
        assert out == "uid=1000(app) gid=1001(app) groups=1001(app),2002(extra)\n/tmp\n/home/app\n"
        with pytest.raises(BadRequest, match="unable to find user nobody2: no matching entries in passwd file"):
            await node.exec(task, "id", user="nobody2")

    on_node(body)


def test_a_command_that_does_not_exist_gives_127_and_says_so(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        code, out, err = await node.exec(task, "nosuch")
        assert (code, out) == (127, "")
        assert err == (
            "OCI runtime exec failed: exec failed: unable to start container process: "
            'exec: "nosuch": executable file not found in $PATH\n'
        )
        assert (await node.exec(task, "/no/such", tty=True))[0] == 127

    on_node(body)


def test_a_file_that_cannot_be_run_gives_126(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        code, _, err = await node.exec(task, "/etc/passwd")
        assert code == 126
        assert "permission denied" in err.lower()

    on_node(body)


def test_a_terminal_is_one_has_the_size_asked_for_and_can_be_resized(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        session = await node.executor.exec(task, ExecSpec(args=("sh",), tty=True, stdin=True, rows=33, columns=111))
        await session.write(b"tty; stty size; echo $TERM\n")
        assert b"33 111\r\n" in await read_until(session, b"xterm\r\n")
        session.resize(40, 120)
        await session.write(b"stty size\n")
        await read_until(session, b"40 120\r\n")
        await session.write(b"exit 3\n")
        code, _, _ = await finish(session)
        assert code == 3

    on_node(body)


def test_what_is_typed_at_a_terminal_interrupts_the_command(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        session = await node.executor.exec(
            task, ExecSpec(args=("sh", "-c", "echo on; sleep 100"), tty=True, stdin=True)
        )
        await read_until(session, b"on\r\n")
        await session.write(b"\x03")
        assert await asyncio.wait_for(session.wait(), 10) == 130
        session.close()

    on_node(body)


def test_a_closed_terminal_hangs_up_its_command(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        session = await node.executor.exec(task, ExecSpec(args=("sh", "-c", "echo on; sleep 100"), tty=True))
        await read_until(session, b"on")
        session.close()
        assert await asyncio.wait_for(session.wait(), 10) == 129

    on_node(body)


def test_a_signal_reaches_the_command_and_not_the_container(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        session = await node.executor.exec(task, ExecSpec(args=("sh", "-c", "echo on; exec sleep 100")))
        await read_until(session, b"on\n")
        session.signal("INT")
        code, _, _ = await finish(session)
        assert code == 130
        assert (await node.exec(task, "true"))[0] == 0

    on_node(body)


def test_a_child_that_keeps_the_streams_open_does_not_hold_the_caller(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        code, out, _ = await asyncio.wait_for(node.exec(task, "sh", "-c", "sleep 60 & echo done"), 10)
        assert (code, out) == (0, "done\n")

    on_node(body)


def test_no_command_runs_in_a_container_that_has_ended(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run("true")
        await node.executor.wait(task)
        with pytest.raises(ContainerNotRunning, match="is not running"):
            await node.exec(task, "true")

    on_node(body)


def test_a_container_that_ends_takes_its_commands_with_it(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        session = await node.executor.exec(task, ExecSpec(args=("sh", "-c", "echo on; sleep 100")))
        await read_until(session, b"on\n")
        await node.executor.remove(task)
        assert await asyncio.wait_for(session.wait(), 10) == 137
        session.close()

    on_node(body)


def test_a_secret_is_read_byte_for_byte_through_exec(on_node: OnNode) -> None:
    async def body(node: Node) -> None:
        every_byte = bytes(range(256)) * 1000
        task = await node.run(
            *IDLE, spec=ContainerSpec(secrets=(secret("k", "deep/key.bin"),)), secrets={"k": every_byte}
        )
        session = await node.executor.exec(task, ExecSpec(args=("cat", "/run/secrets/deep/key.bin")))
        parts = [data async for channel, data in session.output() if channel is Channel.OUT]
        assert b"".join(parts) == every_byte
        session.close()

    on_node(body)


def test_a_long_command_keeps_no_mount_of_any_task_alive(on_node: OnNode) -> None:
    """Else the secrets of a task that has gone would stay in memory as long as somebody's shell is open."""

    async def body(node: Node) -> None:
        task = await node.run(*IDLE)
        other = await node.run(*IDLE, spec=ContainerSpec(secrets=(secret("k", "db"),)), secrets={"k": b"x"})
        session = await node.executor.exec(task, ExecSpec(args=("sh", "-c", "echo on; sleep 100")))
        await read_until(session, b"on\n")
        seen = Path(f"/proc/{session._begun.process.pid}/mountinfo").read_text()  # type: ignore[attr-defined]
        assert str(node.base / "run/tasks") not in seen or node.executor._runtime.needs_namespace is False
        await node.executor.remove(other)
        session.close()

    on_node(body)
