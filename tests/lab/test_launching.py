"""Starting a process that outlives the command, whatever comes between."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from vault.lab.launching import launch
from vault.lab.processes import end_all, recorded


class Ended(Exception):
    """The command was asked to end."""


@pytest.fixture
def asked_to_end() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_command_that_is_ended_while_it_starts_a_process_ends_once_the_process_is_to_be_found(
    tmp_path: Path, asked_to_end: None
) -> None:
    cgroup, pid_file, log = tmp_path / "cgroup.procs", tmp_path / "pid", tmp_path / "log"
    os.mkfifo(cgroup)  # Whoever enters it waits until somebody reads.
    entered: list[str] = []

    def end_and_let_in() -> None:
        while not log.exists():
            os.sched_yield()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        entered.append(cgroup.read_text())

    other = threading.Thread(target=end_and_let_in)
    other.start()
    with pytest.raises(Ended):
        launch(["sleep", "60"], pid_file=pid_file, cgroup=cgroup, log=log, environment={})
    other.join()
    assert pid_file.read_text().split()[0] == entered[0].strip()
    end_all(lambda: (pid for pid in map(int, entered) if recorded(pid_file)))


def test_a_process_takes_the_signals_that_were_held_back_for_its_start(tmp_path: Path) -> None:
    pid_file, log = tmp_path / "pid", tmp_path / "log"
    words = ["sh", "-c", "grep SigBlk /proc/self/status; exec sleep 60"]
    started = launch(words, pid_file=pid_file, cgroup=tmp_path / "none", log=log, environment=dict(os.environ))
    try:
        while "SigBlk" not in log.read_text():
            os.sched_yield()
        assert int(log.read_text().split()[1], 16) == 0
    finally:
        end_all(lambda: [started.pid] if recorded(pid_file) else [])
