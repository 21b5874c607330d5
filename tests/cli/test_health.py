"""The --health options, as `docker service create` and `update` take them."""

from typing import Any

import pytest

from vault.cli.errors import CommandError
from vault.cli.values.health import changed_healthcheck, new_healthcheck
from vault.cli.values.kinds import TIME

S = 1_000_000_000
NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "health_cmd",
        "health_interval",
        "health_timeout",
        "health_retries",
        "health_start_period",
        "health_start_interval",
    )
) | {"no_healthcheck": False}


def given(**options: Any) -> dict[str, Any]:
    return NOTHING | options


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({}, None),
        ({"health_cmd": "curl -f localhost || exit 1"}, {"Test": ["CMD-SHELL", "curl -f localhost || exit 1"]}),
        ({"health_interval": 5 * S}, {"Interval": 5 * S}),  # The image's command, at our pace.
        (
            {"health_cmd": "x", "health_timeout": S, "health_retries": 2, "health_start_period": 3 * S,
             "health_start_interval": 4 * S},
            {"Test": ["CMD-SHELL", "x"], "Timeout": S, "Retries": 2, "StartPeriod": 3 * S, "StartInterval": 4 * S},
        ),
        ({"no_healthcheck": True}, {"Test": ["NONE"]}),
    ],
)  # fmt: skip
def test_a_new_service_has_the_check_that_was_asked_for(options: dict[str, Any], check: object) -> None:
    assert new_healthcheck(given(**options)) == check


BEFORE = {"Test": ["CMD", "own"], "Interval": S, "Retries": 5}


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({}, BEFORE),
        ({"health_interval": 2 * S}, BEFORE | {"Interval": 2 * S}),
        ({"health_interval": 0, "health_retries": 0}, {"Test": ["CMD", "own"]}),
        ({"health_cmd": "new"}, BEFORE | {"Test": ["CMD-SHELL", "new"]}),
        ({"health_cmd": ""}, {"Interval": S, "Retries": 5}),
        ({"no_healthcheck": True}, {"Test": ["NONE"]}),
    ],
)
def test_an_update_changes_what_was_given_and_keeps_the_rest(options: dict[str, Any], check: object) -> None:
    assert changed_healthcheck(BEFORE, given(**options)) == check


def test_an_update_turns_a_disabled_check_on_again() -> None:
    assert changed_healthcheck({"Test": ["NONE"]}, given(health_interval=S)) == {"Interval": S}
    assert changed_healthcheck({"Test": ["NONE"]}, given()) == {"Test": ["NONE"]}


@pytest.mark.parametrize("options", [{"health_cmd": "x"}, {"health_retries": 1}, {"health_start_interval": S}])
def test_no_check_and_a_check_cannot_be_asked_for_together(options: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match=r"^--no-healthcheck conflicts with --health-\* options$"):
        new_healthcheck(given(no_healthcheck=True, **options))


def test_a_duration_is_not_negative() -> None:
    assert TIME.read("1m") == 60 * S
    with pytest.raises(ValueError, match="duration cannot be negative"):
        TIME.read("-1s")
