"""When a node counts as silent."""

import pytest

from vault.dispatcher.liveness import Liveness, grace_at_take_over
from vault.rpc.patience import TICK_S


class Watch:
    """A watch over nodes, and its clock."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.liveness = Liveness(now_s=self.now_s)

    def run(self, seconds: float, *, beats: tuple[str, ...] = (), period_s: float = 1.0) -> dict[str, float]:
        """Tick for a time; return when each silent node was found.  `beats` are heard at every tick."""
        found, start_s = {}, self.now_s
        while self.now_s - start_s < seconds:
            for node_id in beats:
                self.liveness.heard(node_id, period_s=period_s)
            self.now_s += TICK_S
            found |= dict.fromkeys(self.liveness.silent(self.now_s), self.now_s - start_s)
        return found


@pytest.mark.parametrize("period_s", [1.0, 5.0])
def test_a_node_is_silent_after_three_heartbeats_and_not_much_later(period_s: float) -> None:
    watch = Watch()
    watch.liveness.heard("a", period_s=period_s)
    found = watch.run(30)
    assert 3 * period_s < found["a"] <= 3 * period_s + 3 * TICK_S


def test_a_node_that_is_heard_is_never_silent() -> None:
    assert Watch().run(1000, beats=("a",)) == {}


def test_a_silent_node_is_named_once() -> None:
    watch = Watch()
    watch.liveness.heard("a", period_s=1)
    assert len([watch.run(5), watch.run(50)][1]) == 0
    assert "a" not in watch.liveness


def test_a_pause_of_this_process_gives_everybody_all_of_their_time_again() -> None:
    watch = Watch()
    watch.liveness.heard("a", period_s=1)
    assert watch.run(2.9) == {}
    watch.now_s += 60  # Stopped by a signal, say.
    assert watch.liveness.silent(watch.now_s) == ()
    assert watch.run(3) == {}
    assert list(watch.run(1)) == ["a"]


def test_short_lags_that_add_up_do_not_count_as_silence() -> None:
    """With a loop that is 0.9 s late every time, 10 s of wall clock are 3 s of listening."""
    watch = Watch()
    watch.liveness.heard("a", period_s=1)
    for _ in range(8):
        watch.now_s += 0.9 + TICK_S
        assert watch.liveness.silent(watch.now_s) == ()


def test_what_arrived_while_a_node_was_suspected_saves_it() -> None:
    watch = Watch()
    watch.liveness.heard("a", period_s=1)
    assert watch.run(3.25) == {}  # Its time has passed, and one more tick is given.
    watch.liveness.heard("a", period_s=1)
    assert watch.run(3) == {}


def test_a_new_leader_waits_longer_and_at_least_ten_seconds() -> None:
    assert grace_at_take_over(5) == 30
    assert grace_at_take_over(1) == 10
    watch = Watch()
    watch.liveness.expect("a", within_s=grace_at_take_over(1))
    assert watch.run(10) == {}
    assert list(watch.run(1)) == ["a"]


def test_a_forgotten_node_is_not_expected() -> None:
    watch = Watch()
    watch.liveness.heard("a", period_s=1)
    watch.liveness.forget("a")
    assert watch.run(30) == {}
