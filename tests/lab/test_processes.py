"""Processes: told apart from later ones with their pid, and ended until none is left."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from vault.agent.executors.oci.record import Process, identify
from vault.lab import processes
from vault.lab.processes import StillRunning, end_all, in_networks, is_stopped, name_of, recorded, send, wait_gone


def sleeper() -> tuple["subprocess.Popen[bytes]", Process]:
    running = subprocess.Popen(["sleep", "1000"])
    process = identify(running.pid)
    assert process is not None
    return running, process


def test_a_record_names_the_process_that_wrote_it_and_no_later_one(tmp_path: Path) -> None:
    record = tmp_path / "pid"
    record.write_text(Path("/proc/self/stat").read_text())
    assert recorded(record) == identify(os.getpid())
    head, bracket, rest = record.read_text().rpartition(")")
    fields = rest.split()
    fields[19] = str(int(fields[19]) - 1)
    record.write_text(f"{head}{bracket} {' '.join(fields)}")
    assert recorded(record) is None


@pytest.mark.parametrize("text", ["", "x", "12", "12 (sleep)", "12 (sleep) S 1"])
def test_a_torn_record_names_nothing(tmp_path: Path, text: str) -> None:
    record = tmp_path / "pid"
    assert recorded(record) is None
    record.write_text(text)
    assert recorded(record) is None


def test_a_signal_is_not_sent_to_another_process_with_the_pid() -> None:
    running, process = sleeper()
    send([Process(pid=process.pid, started=process.started + 1)], signal.SIGKILL)
    assert not wait_gone(process, 0)
    send([process], signal.SIGSTOP)
    while not is_stopped(process):
        assert running.poll() is None
    send([process], signal.SIGKILL)
    assert wait_gone(process, 10)
    assert running.wait() == -signal.SIGKILL
    assert wait_gone(process, 0)
    assert name_of(process.pid) == ""


def test_processes_that_come_while_others_are_ended_are_ended_too() -> None:
    first, second = sleeper(), sleeper()
    rounds = iter([[first[1].pid, os.getpid()], [second[1].pid], []])
    end_all(lambda: next(rounds))
    assert {first[0].wait(), second[0].wait()} == {-signal.SIGKILL}


def test_processes_that_do_not_end_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "END_LIMIT_S", 0.05)
    monkeypatch.setattr(processes, "send", lambda living, number: None)
    running, process = sleeper()
    with pytest.raises(StillRunning, match=str(process.pid)):
        end_all(lambda: [process.pid])
    running.kill()
    running.wait()


def test_processes_are_found_by_their_network() -> None:
    ours = os.stat("/proc/self/ns/net").st_ino
    assert os.getpid() in in_networks([ours])
    assert in_networks([]) == []
