"""The table of what decisions about large services cost."""

from bench.control_report import Figures, shown


def test_a_decision_that_held_the_loop_for_too_long_is_marked() -> None:
    short = Figures(decisions=1200, total_s=3.456, longest_s=0.0199)
    long = Figures(decisions=3, total_s=0.1, longest_s=0.0201)
    lines = shown([(1000, 30_000, 1, "created", short), (1000, 30_000, 1, "removed", long)]).splitlines()
    assert lines[2:] == [
        "| 1,000 | 30,000 | 1 | created | 1,200 | 3.46 s | 19.9 ms | yes |",
        "| 1,000 | 30,000 | 1 | removed | 3 | 0.10 s | 20.1 ms | **no** |",
    ]
