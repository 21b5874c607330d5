"""The search for secrets finds what is planted, in every place and shape, and nothing where nothing is."""

import base64
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.search.needles import Needles, forms
from tests.cluster.search.node import Places, held
from tests.cluster.search.processes import family
from tests.e2e.node import WAITS_FOR_TERM, Node

VALUE = secrets.token_hex(16).encode()


def places(root: Path, *pids: int) -> Places:
    return Places(name="n", roots=(root,), pids=pids)


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(3))
def test_base64_of_a_longer_text_is_found_wherever_the_value_begins(before: int, after: int) -> None:
    text = base64.b64encode(secrets.token_bytes(before) + VALUE + secrets.token_bytes(after))
    assert Needles({"v": VALUE}).within("here", [text])


@pytest.mark.parametrize("name", forms(bytes(range(200, 232))))
def test_each_shape_is_found_across_pieces_and_has_a_name(name: str) -> None:
    value = bytes(range(200, 232))
    text = b"x" * 50 + forms(value)[name] + b"y" * 50
    needles = Needles({"v": value, "other": VALUE})
    for size in (1, 7, 64, 1000):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert name in [hit.form for hit in needles.within("here", pieces)]
    assert needles.within("here", [text.replace(forms(value)[name][4:12], b"")]) == []


def test_files_names_and_links_are_searched(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "plain").write_bytes(b"x" * (4 << 20) + VALUE)
    (tmp_path / f"name-{VALUE.decode()}").touch()
    (tmp_path / "link").symlink_to(f"/nowhere/{VALUE.decode()}")
    os.mkfifo(tmp_path / "pipe")
    found = held(places(tmp_path), {"v": VALUE})
    assert {hit.where for hit in found} == {
        f"{tmp_path}/a/plain", f"names in {tmp_path}", f"{tmp_path}/link",
    }  # fmt: skip
    assert held(places(tmp_path), {"v": secrets.token_bytes(16)}) == []


BEFORE = "import sys, os, time"
AFTER = "print('ready', flush=True); sys.stdin.read()"


def test_values_between_holes_and_zeros_are_found(tmp_path: Path) -> None:
    """Disks and logs are mostly zeros and holes; what ends with zeros goes on into them."""
    wide = VALUE.decode().encode("utf-16-le")
    places_of = [0, 3 << 20, (8 << 20) - 17, (40 << 20) - len(wide)]
    for number, at in enumerate(places_of):
        with (tmp_path / f"f{number}").open("wb") as file:
            file.truncate(64 << 20)
            file.seek(at)
            file.write(wide)
            file.seek(50 << 20)
            file.write(bytes(5 << 20))
    (tmp_path / "holes").touch()
    os.truncate(tmp_path / "holes", 1 << 40)
    found = held(places(tmp_path), {"v": VALUE})
    assert [hit.where for hit in found if hit.form == "UTF-16"] == [f"{tmp_path}/f{number}" for number in range(4)]


@contextmanager
def process(program: str, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Run a Python program that says when it is ready; end it."""
    running = subprocess.Popen(
        [sys.executable, "-c", f"{BEFORE}\n{program}\n{AFTER}", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        yield running.pid
    finally:
        running.kill()
        running.communicate()


# The value is put together inside the process, so that it is in no argument.
HALVES = (VALUE[:16].decode(), VALUE[16:].decode())
JOINED = "''.join(sys.argv[1:])"
PLANTED = {
    "heap": f"kept = {JOINED}.encode() * 1",
    "large": f"kept = bytearray(50_000_000); kept[33_000_000:33_000_032] = {JOINED}.encode()",
    "wide text": f"kept = {JOINED} + chr(0x20ac)",
    "widest text": f"kept = {JOINED} + chr(0x1f600)",
    "hex": f"kept = {JOINED}.encode().hex()",
}


@pytest.mark.machine
@pytest.mark.parametrize("where", PLANTED)
def test_memory_of_a_process_is_searched(tmp_path: Path, where: str) -> None:
    with process(PLANTED[where], *HALVES) as pid:
        found = held(places(tmp_path, pid), {"v": VALUE})
        assert any(hit.where.startswith("memory of ") for hit in found)
        assert held(places(tmp_path, pid), {"v": secrets.token_bytes(16)}) == []


@pytest.mark.machine
def test_a_process_that_is_closed_to_debuggers_is_searched(tmp_path: Path) -> None:
    closed = f"import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n{PLANTED['heap']}"
    with process(closed, *HALVES) as pid:
        assert held(places(tmp_path, pid), {"v": VALUE})


@pytest.mark.machine
def test_children_open_files_and_what_processes_show_are_searched(tmp_path: Path) -> None:
    child = f"file = os.memfd_create('m'); os.write(file, {JOINED}.encode()); time.sleep(0)"
    forks = f"import subprocess\nif os.fork() == 0:\n {child}\n os.close(0); os.close(1); time.sleep(60); os._exit(0)"
    with process(forks, *HALVES, environment={"SOME": VALUE.decode()}) as pid:
        (other,) = set(family([pid])) - {pid}
        found = [hit.where for hit in held(places(tmp_path, pid), {"v": VALUE})]
        assert f"/proc/{pid}/environ" in found
        assert any(f"/proc/{other}/fd" in where and "memfd" in where for where in found)
        os.kill(other, 9)


@pytest.mark.machine
def test_processes_that_left_the_tree_are_known_by_the_directories_they_name(tmp_path: Path) -> None:
    with process("pass", f"--root={tmp_path}/d") as pid:
        assert family([], f"{tmp_path}/") == [pid]
        assert family([], f"{tmp_path}-other/") == []


@pytest.mark.machine
def test_mounts_in_memory_are_searched_through_the_process_that_sees_them(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    command = f"mount -t tmpfs none {tmp_path}/m && printf %s%s $0 $1 >{tmp_path}/m/file && echo ready && read -r end"
    running = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", command, *HALVES],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        (tmp_path / "roots").mkdir()
        roots = tmp_path / "roots"
        assert held(places(roots), {"v": VALUE}) == [], "the mount is to be seen only from inside"
        found = held(places(roots, running.pid), {"v": VALUE})
        assert f"/proc/{running.pid}/root{tmp_path}/m/file" in [hit.where for hit in found]
    finally:
        running.kill()
        running.communicate()


@pytest.mark.machine
@pytest.mark.timeout(180)
def test_a_secret_is_found_on_the_node_whose_task_uses_it_and_on_no_other() -> None:
    """Two swarms of one node each: the search goes through all of a real node, and tells one from the other."""
    with (
        tempfile.TemporaryDirectory(prefix="vs-", dir="/tmp", ignore_cleanup_errors=True) as place,
        tempfile.TemporaryDirectory(prefix="vs-", dir="/tmp", ignore_cleanup_errors=True) as other_place,
    ):
        node, other = Node(Path(place)), Node(Path(other_place))
        try:
            for number, one in enumerate((node, other), 1):
                one.start().vault("swarm", "init", "--advertise-addr", f"127.18.0.{number}")
            node.load("busybox")
            node.vault("secret", "create", "pw", "-", stdin=VALUE)
            node.vault("service", "create", "-q", "--name", "w", "--secret", "pw", "busybox", *WAITS_FOR_TERM)
            assert node.process is not None
            assert other.process is not None
            right = held(places(node.root, node.process.pid), {"v": VALUE})
            assert any("/run/secrets/pw" in hit.where for hit in right), "in the task's own mount"
            assert any(hit.where.startswith("memory of vaultd") for hit in right), "in the agent's memory"
            assert held(places(other.root, other.process.pid), {"v": VALUE}) == []
        finally:
            node.close()
            other.close()
