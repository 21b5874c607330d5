"""What tests count traffic with notices what is lost."""

import time

import pytest

from tests.network.hosts import scratch_host, sh
from tests.network.traffic import Datagrams, Talk

pytestmark = pytest.mark.machine
HOOK = "type filter hook input priority 0;"


def test_traffic_that_is_dropped_for_a_moment_is_counted_as_lost() -> None:
    with scratch_host():
        with open("/proc/thread-self/ns/net", "rb") as here:
            own = here.fileno()
            with Datagrams.between(own, own, "127.0.0.1", 5000) as stream, Talk(own, own, "127.0.0.1", 5001) as talk:
                _until(lambda: stream.sent > 50 and talk.answered > 2)
                sh(f"nft 'table ip wall {{ chain a {{ {HOOK} udp dport 5000 drop; }}; }}'")
                at = stream.sent
                _until(lambda: stream.sent > at + 50)
                sh("nft delete table ip wall")
                at = stream.sent
                _until(lambda: stream.sent > at + 50)
        assert 40 < stream.lost < stream.sent
        assert stream.longest_gap_s > 0.04
        assert talk.broken == ""


def test_a_connection_that_is_reset_is_told_of() -> None:
    with (
        scratch_host(),
        open("/proc/thread-self/ns/net", "rb") as here,
        Talk(here.fileno(), here.fileno(), "127.0.0.1", 5001) as talk,
    ):
        _until(lambda: talk.answered > 2)
        sh(f"nft 'table ip wall {{ chain a {{ {HOOK} tcp dport 5001 reject with tcp reset; }}; }}'")
        _until(lambda: bool(talk.broken))


def _until(true: object, limit_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
