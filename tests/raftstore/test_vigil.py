"""When a manager takes over from one that is silent."""

import pytest

from vault.raftstore.clock import Clock
from vault.raftstore.head import Epoch
from vault.raftstore.vigil import (
    BESIDE_S,
    DEAF_S,
    ELSEWHERE_S,
    HAND_OVER_S,
    SETTLED_S,
    VACANT_S,
    Pulse,
    Vigil,
    read_pulse,
)

OLD, FIRST, SECOND = Epoch(5, 0), Epoch(5, 1), Epoch(5, 2)
STEP_S = 0.1


def beat(epoch: Epoch = FIRST, node_id: str = "a") -> bytes:
    return Pulse(epoch, node_id).encode()


def due_after(vigil: Vigil, since: float, *, beside: bool) -> float:
    """Look every 0.1 s; return when it is due, in seconds."""
    for tick in range(200):
        if vigil.is_due(since + tick * STEP_S, beside=beside):
            return tick * STEP_S
    return float("inf")


@pytest.mark.parametrize(("beside", "limit_s"), [(True, BESIDE_S), (False, ELSEWHERE_S)])
def test_silence_is_due_sooner_beside_the_engines_leader(beside: bool, limit_s: float) -> None:
    vigil = Vigil(FIRST, 100.0)
    vigil.hear(beat(), 100.0)
    assert due_after(vigil, 100.0, beside=beside) == pytest.approx(limit_s, abs=STEP_S)


def test_a_leader_that_beats_is_never_replaced() -> None:
    vigil = Vigil(FIRST, 0.0)
    for tick in range(100):
        if tick % 8 == 0:
            vigil.hear(beat(), tick * STEP_S)
        assert not vigil.is_due(tick * STEP_S, beside=True)
        assert vigil.leader(tick * STEP_S) == "a"


def test_a_member_that_has_just_become_the_engines_leader_gives_the_beat_a_moment_to_get_through() -> None:
    vigil = Vigil(FIRST, 0.0)
    for tick in range(20):
        assert not vigil.is_due(tick * STEP_S, beside=False)
    assert not vigil.is_due(2.0, beside=True)
    assert not vigil.is_due(2.0 + SETTLED_S - 0.05, beside=True)
    assert vigil.is_due(2.0 + SETTLED_S + 0.05, beside=True)


def test_beats_of_an_older_epoch_and_other_bytes_count_for_nothing() -> None:
    vigil = Vigil(OLD, 0.0)
    vigil.see(SECOND, 0.0)
    for tick in range(40):
        vigil.hear(beat(FIRST, "old"), tick * STEP_S)
        vigil.hear(b"", tick * STEP_S)
        vigil.hear(b"\xff" * 41, tick * STEP_S)
        assert vigil.leader(tick * STEP_S) == ""
        if vigil.is_due(tick * STEP_S, beside=False):
            break
    assert tick * STEP_S == pytest.approx(ELSEWHERE_S, abs=STEP_S)


def test_a_new_epoch_is_a_sign_of_life_and_nobodys_name_until_its_beat() -> None:
    vigil = Vigil(FIRST, 0.0)
    vigil.hear(beat(), 0.0)
    vigil.see(SECOND, 2.0)
    assert vigil.leader(2.0) == ""
    assert due_after(vigil, 2.0, beside=False) == pytest.approx(ELSEWHERE_S, abs=STEP_S)
    vigil.hear(beat(SECOND, "b"), 5.0)
    assert vigil.leader(5.0) == "b"
    assert vigil.leader(5.0 + ELSEWHERE_S + 0.1) == ""


def test_a_place_that_was_given_up_is_taken_at_once_beside_and_soon_elsewhere() -> None:
    for beside, limit_s in ((True, 0.0), (False, VACANT_S)):
        vigil = Vigil(FIRST, 0.0)
        vigil.hear(beat(), 0.0)
        vigil.hear(beat(node_id=""), 0.1)
        assert vigil.leader(0.1) == ""
        assert due_after(vigil, 0.1, beside=beside) == pytest.approx(limit_s, abs=STEP_S)


def test_who_was_stopped_itself_listens_anew() -> None:
    vigil = Vigil(FIRST, 0.0)
    assert not vigil.is_due(0.1, beside=False)
    late = 0.1 + DEAF_S + 60
    assert not vigil.is_due(late, beside=False)
    assert due_after(vigil, late, beside=False) == pytest.approx(ELSEWHERE_S, abs=STEP_S)


def test_the_engines_lead_is_handed_to_a_healthy_leader_elsewhere_after_a_while_and_not_all_the_time() -> None:
    vigil = Vigil(FIRST, 0.0)
    handed = []
    for tick in range(120):
        now = tick * STEP_S
        vigil.hear(beat(), now)
        assert not vigil.is_due(now, beside=True)
        if name := vigil.to_hand_to(now):
            handed.append((name, now))
    assert [name for name, _ in handed] == ["a", "a"]
    assert handed[0][1] == pytest.approx(HAND_OVER_S, abs=STEP_S)


def test_a_pulse_is_read_as_it_was_written_and_fits_a_beat() -> None:
    pulse = Pulse(Epoch(2**64 - 1, 2**64 - 1), "n" * 25)
    assert read_pulse(pulse.encode()) == pulse
    assert len(pulse.encode()) <= 64
    for payload in (b"", bytes(15), bytes(65), bytes(16) + "ä".encode()):
        assert read_pulse(payload) is None


def test_the_clusters_time_never_goes_back_and_passes_while_this_clock_is_behind() -> None:
    wall, monotonic = [1000.0], [5.0]
    clock = Clock(lambda: wall[0], lambda: monotonic[0])
    assert clock.now_s() == 1000.0
    clock.saw(4600.0)  # Another leader's clock is an hour ahead.
    assert clock.now_s() == 4600.0
    wall[0], monotonic[0] = 1010.0, 15.0
    assert clock.now_s() == 4610.0
    clock.saw(4000.0)
    assert clock.now_s() == 4610.0
    wall[0], monotonic[0] = 5000.0, 16.0
    assert clock.now_s() == 5000.0
    wall[0], monotonic[0] = 900.0, 17.0  # Somebody sets this clock back.
    assert clock.now_s() == 5001.0
