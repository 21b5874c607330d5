"""What happens now and then goes at once; what goes on is told at an even pace."""

from hypothesis import given
from hypothesis import strategies as st

from vault.dispatcher.pacing import Allowance


def test_some_go_at_once_after_a_rest_and_the_others_evenly() -> None:
    allowance, now_s, pauses = Allowance(every_s=0.5, burst=3), 100.0, []
    for _ in range(6):
        pauses.append(allowance.pause_s(now_s))
        now_s += pauses[-1]
    assert pauses == [0.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    assert [allowance.pause_s(now_s + 60.0) for _ in range(3)] == [0.0, 0.0, 0.5]


def test_one_at_a_time_without_a_burst() -> None:
    allowance = Allowance(every_s=0.5, burst=1)
    assert [allowance.pause_s(7.0), allowance.pause_s(7.5), allowance.pause_s(9.0)] == [0.5, 0.5, 0.5]


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 6))
def test_in_no_stretch_of_time_is_more_done_than_the_burst_and_one_each_period(gaps: list[int], burst: int) -> None:
    allowance, now, done = Allowance(every_s=100.0, burst=burst), 0.0, []
    for gap in gaps:
        now += gap
        done.append(now)
        now += allowance.pause_s(now)
    for first, begun in enumerate(done):
        for count, at in enumerate(done[first:], 1):
            assert count <= burst + (at - begun) / 100.0 + 1e-6
