"""Delayed packets: the line itself, and what a slow node's neighbours see."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.lab.cgroups import entry
from vault.lab.cuts import relay_port
from vault.lab.delay import DelayLine
from vault.lab.lab import Lab
from vault.lab.processes import recorded, send, wait_gone
from vault.lab.slowing import discipline
from vault.lab.state import Slow
from vault.lab.status import slowness, status

QUOTAS = ("cpu.max", "cpu.cfs_quota_us")  # With cgroup v2, and v1.
ANSWER = """
import socket
s = socket.socket(2, 2)
s.bind(("", 4002))
while True:
    data, sender = s.recvfrom(2000)
    s.sendto(data, sender)
"""
ASK = """
import socket, sys, time
s = socket.socket(2, 2)
s.settimeout(float(sys.argv[2]))
began = time.monotonic()
for n in range(20):
    s.sendto(b"%d" % n, (sys.argv[1], 4002))
answers = []
try:
    for n in range(20):
        answers.append(s.recv(2000).decode())
        if n == 0:
            print(time.monotonic() - began)
except TimeoutError:
    print("lost")
print(" ".join(answers))
"""


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=40), st.integers(1, 30))
def test_frames_leave_in_the_order_they_came_and_none_before_its_time(steps: list[tuple[int, int]], delay: int) -> None:
    """Steps are (pause, frames that enter); after each the line is emptied of what is due."""
    line, now, number = DelayLine(delay), 0, 0
    entered: dict[bytes, int] = {}
    left: list[bytes] = []
    for pause, count in [*steps, (delay, 0)]:
        now += pause
        for frame in line.leave(now):
            assert now - entered[frame] >= delay
            left.append(frame)
        next_s = line.next_s()
        assert next_s is None or next_s > now
        for _ in range(count):
            number += 1
            frame = b"%d" % number
            entered[frame] = now
            assert line.enter(frame, now)
    left += line.leave(now + delay)
    assert left == list(entered)
    assert line.next_s() is None


def test_a_full_line_loses_what_comes_until_something_has_left() -> None:
    line = DelayLine(1.0, limit_bytes=10)
    assert line.enter(b"123456", 0.0)
    assert not line.enter(b"12345", 0.0)
    assert line.enter(b"1234", 0.0)
    assert line.leave(1.0) == [b"123456", b"1234"]
    assert line.enter(b"1234567890", 1.0)


def test_a_rate_is_kept_by_tbf_and_by_netem_where_that_delays_anyway() -> None:
    assert discipline(Slow(), netem=True) == ()
    assert discipline(Slow(delay_s=0.05), netem=False) == ()
    assert discipline(Slow(rate_bits=8_000_000), netem=False)[:5] == ("tbf", "rate", "8000000bit", "burst", "20000b")
    assert discipline(Slow(rate_bits=1_000), netem=False)[4] == "6056b"  # A whole frame passes, however slow.
    assert discipline(Slow(delay_s=0.05, rate_bits=1_000), netem=True) == (
        "netem", "limit", "10000", "delay", "50000us", "rate", "1000bit",
    )  # fmt: skip


def test_status_says_how_slow_a_node_is() -> None:
    assert slowness(Slow(delay_s=0.0505, rate_bits=512_000, cpus=0.1)) == ["delay 50.5ms", "rate 512kbit", "cpu 0.1"]
    assert slowness(Slow()) == []


@pytest.fixture(scope="module")
def answering(pair: Lab) -> Iterator[None]:
    """The worker sends datagrams back."""
    command = ["nsenter", f"--net={pair.node('worker1').place.net}", sys.executable, "-c", ANSWER]
    with subprocess.Popen(command) as server:
        until_whole(pair)
        yield
        server.kill()


def ask(lab: Lab, wait_s: float = 2.0) -> tuple[float | None, list[str]]:
    """Return how long the first answer took, and what came back."""
    first, _, rest = lab.node("manager1").run(sys.executable, "-c", ASK, "10.77.2.1", str(wait_s)).out.partition("\n")
    return (None if first == "lost" else float(first)), rest.split()


def until_whole(lab: Lab) -> float:
    """Return how long an answer takes once all come back."""
    deadline = time.monotonic() + 10
    while True:
        took, answers = ask(lab, 0.2)
        if took is not None and len(answers) == 20:
            return took
        assert time.monotonic() < deadline


@pytest.mark.machine
def test_a_delayed_node_is_late_both_ways_in_order_until_healed(pair: Lab, answering: None) -> None:
    pair.slow("manager1", delay_s=0.05)
    took, answers = ask(pair)
    assert answers == [str(n) for n in range(20)]
    assert took is not None
    assert 0.1 <= took < 0.5
    assert status(pair)[0].states == ("delay 50ms",)
    place = pair.node("manager1").place
    relay = recorded(place.relay_pid)
    assert relay is not None
    pair.heal("manager1")
    assert recorded(place.relay_pid) is None
    assert wait_gone(relay, 0)
    assert until_whole(pair) < 0.05
    assert place.relay_log.read_text() == ""
    ports = pair.node("manager1").run("nsenter", f"--net={place.site.switch}", "ip", "link", "show").out
    assert relay_port("manager1") not in ports


@pytest.mark.machine
def test_a_delayed_node_can_be_cut_and_its_delay_changed(pair: Lab, answering: None) -> None:
    pair.slow("worker1", delay_s=0.5)
    pair.slow("worker1", delay_s=0.01)
    assert 0.02 <= until_whole(pair) < 0.2
    pair.cut("worker1")
    assert ask(pair, 0.2) == (None, [])
    pair.heal()
    until_whole(pair)


@pytest.mark.machine
def test_heal_connects_a_node_again_whose_relay_was_killed(pair: Lab, answering: None) -> None:
    pair.slow("manager1", delay_s=0.01)
    relay = recorded(pair.node("manager1").place.relay_pid)
    assert relay is not None
    send([relay], signal.SIGKILL)
    assert wait_gone(relay, 5)
    assert ask(pair, 0.2) == (None, [])
    pair.heal("manager1")
    until_whole(pair)


@pytest.mark.machine
def test_a_rate_holds_back_what_is_sent_at_once(pair: Lab, answering: None) -> None:
    """Fifteen frames at 200 kbit/s wait for one another, once the first burst is through."""
    script = """
import socket, sys, time
s = socket.socket(2, 2)
s.settimeout(5)
began = time.monotonic()
for n in range(15):
    s.sendto(b"x" * 1000, (sys.argv[1], 4002))
for n in range(15):
    s.recv(2000)
print(time.monotonic() - began)
"""
    pair.slow("manager1", rate_bits=200_000)
    took = float(pair.node("manager1").run(sys.executable, "-c", script, "10.77.2.1").out)
    pair.slow("manager1", rate_bits=0)
    # 15.6 kB with headers, of which 6 kB are the burst, at 25 kB/s.
    assert 0.3 < took < 3
    assert "tbf" not in pair.node("manager1").run("tc", "qdisc", "show", "dev", "eth0").out


@pytest.mark.machine
def test_processor_time_is_limited_for_vaultd_and_not_for_commands(pair: Lab) -> None:
    processes = entry(pair.node("worker1").place)
    quota = next(path for name in QUOTAS if (path := processes.with_name(name)).exists())
    unlimited = quota.read_text()
    pair.slow("worker1", cpus=0.25)
    assert quota.read_text().split()[0] == "25000"
    assert pair.node("worker1").run("sh", "-c", "echo $$").out.strip() not in processes.read_text().split()
    assert str(pair.node("worker1").pid("vaultd")) in processes.read_text().split()
    pair.heal()
    assert quota.read_text() == unlimited
