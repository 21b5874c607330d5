"""`vault swarm data-key`: what it says of the newest data key, and how it watches a rotation."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cli.conftest import FakeDaemon, Vault
from vault.cli.commands import swarm_data_key

PATH = "/vault/v1/swarm/data-key"
NOW_S = 1_795_378_704.0


def key(term: int = 3, *, older: int = 0, keys: int = 0, age_s: float = 300) -> dict[str, Any]:
    made = datetime.fromtimestamp(NOW_S - age_s, UTC).isoformat().replace("+00:00", "Z")
    return {"Term": term, "CreatedAt": made, "Records": 120, "OlderRecords": older, "OlderKeys": keys}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still, and no pauses."""
    monkeypatch.setattr(time, "time", lambda: NOW_S)
    monkeypatch.setattr(swarm_data_key, "POLL_S", 0)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (key(), "Data key 3, made 5 minutes ago: all 120 records are sealed under it.\n"),
        (
            key(keys=1, age_s=0),
            "Data key 3, made Less than a second ago: all 120 records are sealed under it, "
            "and the older keys are about to be forgotten.\n",
        ),
        (
            key(older=17, keys=2, age_s=86_400 * 20),
            "Data key 3, made 2 weeks ago: 17 of 120 records are still sealed under older keys.\n"
            "They are sealed anew in the background, and the older keys are forgotten then.\n",
        ),
    ],
)
def test_the_key_is_shown_by_number_and_age_and_nothing_is_rotated(
    daemon: FakeDaemon, vault: Vault, found: dict[str, Any], said: str
) -> None:
    daemon.on("GET", PATH, found)
    result = vault("swarm", "data-key")
    assert (result.code, result.out, result.err) == (0, said, "")
    assert vault("swarm", "data-key", "--quiet").out == "3\n"
    assert {request.method for request in daemon.requests} == {"GET"}


def test_a_rotation_is_watched_until_older_keys_are_forgotten(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("POST", f"{PATH}/rotate", key(4, older=120, keys=1, age_s=0))
    daemon.on("GET", PATH, key(4, older=20, keys=1), key(4, older=20, keys=1), key(4, keys=1), key(4))
    result = vault("swarm", "data-key", "--rotate")
    assert result.code == 0
    assert result.out.splitlines() == [
        "Successfully rotated data key: the newest is number 4 now.",
        "",
        "sealed under data key 4: 0/120 records",
        "sealed under data key 4: 100/120 records",
        "sealed under data key 4: 120/120 records",
        "Data key 4, made 5 minutes ago: all 120 records are sealed under it.",
    ]
    assert len(daemon.asked("POST", f"{PATH}/rotate")) == 1
    assert len(daemon.asked("GET", PATH)) == 4


def test_detached_a_rotation_says_what_happens_next_and_ends(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("POST", f"{PATH}/rotate", key(4, older=120, keys=1, age_s=0))
    assert vault("swarm", "data-key", "--rotate", "--detach").out == (
        "Successfully rotated data key: the newest is number 4 now.\n\n"
        "Data key 4, made Less than a second ago: 120 of 120 records are still sealed under older keys.\n"
        "They are sealed anew in the background, and the older keys are forgotten then.\n"
    )
    assert vault("swarm", "data-key", "--rotate", "-d", "-q").out == "4\n"
    assert daemon.asked("GET", PATH) == []


def test_a_quiet_rotation_waits_too(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("POST", f"{PATH}/rotate", key(4, older=120, keys=1))
    daemon.on("GET", PATH, key(4, older=20, keys=1), key(4))
    assert vault("swarm", "data-key", "--rotate", "-q").out == "4\n"
    assert len(daemon.asked("GET", PATH)) == 2


def test_a_watch_that_is_broken_off_says_that_it_goes_on(
    daemon: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    daemon.on("POST", f"{PATH}/rotate", key(4, older=120, keys=1))
    result = vault("swarm", "data-key", "--rotate")
    assert result.code != 0
    assert result.out.endswith("0/120 records\nOperation continuing in background.\n")


def test_a_refusal_is_passed_on(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.refuse("POST", f"{PATH}/rotate", 409, "the swarm keeps 4096 data keys already")
    result = vault("swarm", "data-key", "--rotate")
    assert (result.code, result.out) == (1, "")
    assert result.err == "Error response from daemon: the swarm keeps 4096 data keys already\n"
