"""What a health check asks for, and what results make of a container's health."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.agent.health import Check, Health, HealthStatus, KeptHealth, Result, check_of, judged, wait_s
from vault.model.container import HealthConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MS = 1_000_000
S = 1000 * MS
STARTING, HEALTHY, UNHEALTHY = HealthStatus


def result(code: int) -> Result:
    return Result(begun_at=NOW, ended_at=NOW, exit_code=code, output=str(code))


FRESH = Health()


def after(check: Check, *codes: int, ages_s: tuple[float, ...] = (), begin: Health = FRESH) -> Health:
    """Return the health after results, each at an age of the container; long after its start unless said."""
    for number, code in enumerate(codes):
        begin = judged(check, begin, result(code), age_s=ages_s[number] if ages_s else 1e6)
    return begin


def short(health: Health) -> tuple[HealthStatus, int]:
    return health.status, health.failing_streak


IMAGE = HealthConfig(test=("CMD", "probe"), interval=7 * S, retries=9, start_period=4 * S)


@pytest.mark.parametrize(
    ("spec", "image", "command"),
    [
        (None, None, None),
        (HealthConfig(), None, None),
        (HealthConfig(interval=S), None, None),
        (HealthConfig(test=("NONE",)), IMAGE, None),
        (None, HealthConfig(test=("NONE",)), None),
        (None, IMAGE, ("probe",)),
        (HealthConfig(interval=S), IMAGE, ("probe",)),
        (HealthConfig(test=("CMD", "own", "-x")), IMAGE, ("own", "-x")),
        (HealthConfig(test=("CMD-SHELL", "a | b")), None, ("/bin/sh", "-c", "a | b")),
        (None, HealthConfig(test=("CMD",)), None),
        (None, HealthConfig(test=("CMD-SHELL",)), None),
        (None, HealthConfig(test=("curl", "localhost")), None),  # Nobody can run that; Docker does not either.
    ],
)
def test_the_command_is_the_services_or_else_the_images(
    spec: HealthConfig | None, image: HealthConfig | None, command: tuple[str, ...] | None
) -> None:
    check = check_of(spec, image)
    assert (check.command if check else None) == command


def test_a_line_for_the_shell_goes_to_the_images_own_shell() -> None:
    check = check_of(HealthConfig(test=("CMD-SHELL", "x")), None, ("/bin/ash", "-ec"))
    assert check is not None
    assert check.command == ("/bin/ash", "-ec", "x")


def test_what_is_left_open_is_the_images_and_then_dockers_default() -> None:
    usual = Check(command=("a",), interval_s=30, timeout_s=30, start_period_s=0, start_interval_s=5, retries=3)
    assert check_of(HealthConfig(test=("CMD", "a")), None) == usual
    both = Check(command=("a",), interval_s=7, timeout_s=2, start_period_s=4, start_interval_s=5, retries=9)
    assert check_of(HealthConfig(test=("CMD", "a"), timeout=2 * S), IMAGE) == both


def test_what_an_image_may_say_and_no_clock_can_do_is_bent() -> None:
    strange = HealthConfig(test=("CMD", "a"), interval=1, timeout=-5, start_period=10**30, retries=-1)
    check = check_of(None, strange)
    assert check is not None
    assert (check.interval_s, check.timeout_s, check.retries) == (0.001, 30.0, 3)
    assert check.start_period_s < 1e10


CHECK = Check(command=("c",), retries=3, start_period_s=10, interval_s=30, start_interval_s=2)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((), (STARTING, 0)),
        ((0,), (HEALTHY, 0)),
        ((1, 1), (STARTING, 2)),
        ((1, 1, 1), (UNHEALTHY, 3)),
        ((1, 1, 0), (HEALTHY, 0)),
        ((0, 1, -1), (HEALTHY, 2)),
        ((0, 1, -1, 137), (UNHEALTHY, 3)),
        ((1, 1, 0, 1, 1), (HEALTHY, 2)),
        ((1, 1, 1, 0), (HEALTHY, 0)),  # As Docker; ours stops an unhealthy container before it can recover.
    ],
)
def test_so_many_failures_in_a_row_make_a_container_unhealthy(
    codes: tuple[int, ...], expected: tuple[HealthStatus, int]
) -> None:
    assert short(after(CHECK, *codes)) == expected


def test_failures_in_the_start_period_count_for_nothing_until_the_first_success() -> None:
    assert short(after(CHECK, 1, 1, 1, 1, ages_s=(2, 4, 6, 9.9))) == (STARTING, 0)
    assert short(after(CHECK, 1, 1, 1, 1, ages_s=(2, 10, 12, 14))) == (UNHEALTHY, 3)
    assert short(after(CHECK, 0, 1, 1, 1, ages_s=(2, 4, 6, 8))) == (UNHEALTHY, 3)


def test_the_last_five_results_are_kept() -> None:
    assert [one.exit_code for one in after(CHECK, 1, 0, 2, 0, 3, 0, 4).log] == [2, 0, 3, 0, 4]


def test_the_start_period_has_an_interval_of_its_own_and_its_end_is_not_slept_through() -> None:
    starting, well = Health(), after(CHECK, 0)
    assert [wait_s(CHECK, starting, age_s=age) for age in (0, 7, 9, 9.5, 10, 99)] == [2, 2, 1, 0.5, 30, 30]
    assert wait_s(CHECK, well, age_s=0) == 30


checks = st.builds(
    Check,
    command=st.just(("c",)),
    interval_s=st.floats(0.001, 100),
    timeout_s=st.floats(0.001, 100),
    start_period_s=st.floats(0, 100),
    start_interval_s=st.floats(0.001, 100),
    retries=st.integers(1, 6),
)
histories = st.lists(st.tuples(st.floats(0, 120), st.sampled_from((0, 0, 1, -1, 137))), max_size=40)


@given(checks, histories)
def test_health_says_what_the_results_say(check: Check, history: list[tuple[float, int]]) -> None:
    """Told again in other words: only failures since the last success, and after the start period or it, count."""
    health = Health()
    counted, ever_well = 0, False
    for age_s, code in sorted(history, key=lambda one: one[0]):
        given_up = health.status is UNHEALTHY
        health = judged(check, health, result(code), age_s=age_s)
        ever_well = ever_well or code == 0
        counted = 0 if code == 0 else counted + (ever_well or given_up or age_s >= check.start_period_s)
        assert health.failing_streak == counted
        assert (health.status is UNHEALTHY) == (counted >= check.retries)
        assert health.status is not HEALTHY or ever_well
        assert len(health.log) <= 5
        assert health.log[-1].exit_code == code


@given(checks, histories, st.integers(0, 40))
def test_a_new_vaultd_that_knows_only_status_and_streak_comes_to_the_same(
    check: Check, history: list[tuple[float, int]], cut: int
) -> None:
    codes, ages_s = tuple(code for _, code in history), tuple(age for age, _ in history)
    through = after(check, *codes, ages_s=ages_s)
    before = after(check, *codes[:cut], ages_s=ages_s[:cut])
    kept = KeptHealth(check=check, status=before.status, failing_streak=before.failing_streak)
    begin = Health(status=kept.status, failing_streak=kept.failing_streak)
    assert short(after(check, *codes[cut:], ages_s=ages_s[cut:], begin=begin)) == short(through)


@given(checks, st.floats(0, 1000), st.sampled_from(HealthStatus))
def test_there_is_always_a_next_probe_and_never_at_once(check: Check, age_s: float, status: HealthStatus) -> None:
    assert 0.001 <= wait_s(check, Health(status=status), age_s=age_s) <= 100
