"""`vault node drain`, and the wait until a node's tasks run elsewhere."""

from typing import Any

import pytest

from tests.cli.conftest import FakeDaemon, Vault
from vault.cli import draining
from vault.cli.draining import HOPELESS_S, Verdict
from vault.cli.errors import CommandError

REASON = "no suitable node (insufficient resources on 1 node)"


def task(name: str, state: str, **more: object) -> dict[str, Any]:
    return {"ID": f"id-{name}", "Name": name, "ServiceID": "s", "State": state, **more}


def found(
    leaving: tuple[dict[str, Any], ...] = (), awaited: tuple[dict[str, Any], ...] = (), availability: str = "drain"
) -> dict[str, Any]:
    return {"Availability": availability, "Leaving": list(leaving), "Awaited": list(awaited)}


RUNS = task("web.1", "running")
COMES = task("web.1", "preparing", NodeID="n2")
WAITS = task("web.2", "pending", Reason=REASON, Hopeless=True)


@pytest.fixture
def swarm(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    monkeypatch.setattr(draining, "LOOK_S", 0)
    spec = {"Labels": {"a": "b"}, "Role": "worker", "Availability": "active"}
    daemon.on("GET", "/nodes/w1", {"ID": "w1id", "Version": {"Index": 7}, "Spec": spec})
    daemon.on("POST", "/nodes/w1id/update", None)
    daemon.on("GET", "/vault/v1/nodes/w1id/drain", found())
    return daemon


def test_drain_changes_the_availability_and_nothing_else(swarm: FakeDaemon, vault: Vault) -> None:
    result = vault("node", "drain", "w1")
    assert (result.code, result.out, result.err) == (0, "w1\n", "")
    (request,) = swarm.asked("POST", "/nodes/w1id/update")
    assert request.body == {"Labels": {"a": "b"}, "Role": "worker", "Availability": "drain"}
    assert request.query == {"version": "7"}
    assert not swarm.asked("GET", "/vault/v1/nodes/w1id/drain")


def test_a_change_that_somebody_else_overtook_is_made_again(swarm: FakeDaemon, vault: Vault) -> None:
    refused = (500, {"message": "rpc error: code = Unknown desc = update out of sequence"})
    swarm.on("POST", "/nodes/w1id/update", lambda _: refused, None)
    assert vault("node", "drain", "w1").code == 0
    assert len(swarm.asked("POST", "/nodes/w1id/update")) == 2


@pytest.mark.parametrize("words", [("drain", "--wait", "w1"), ("update", "--availability", "drain", "--wait", "w1")])
def test_the_wait_ends_when_all_of_it_runs_elsewhere(swarm: FakeDaemon, vault: Vault, words: tuple[str, ...]) -> None:
    looks = [found((RUNS,)), found((RUNS,), (COMES,)), found((RUNS,), (COMES,)), found((), (COMES,)), found()]
    swarm.on("GET", "/vault/v1/nodes/w1id/drain", *looks)
    result = vault("node", *words)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "w1",
        "w1: 1 task there, 0 tasks yet to run elsewhere",
        "w1: 1 task there, 1 task yet to run elsewhere",
        "w1: 0 tasks there, 1 task yet to run elsewhere",
        "w1: 0 tasks there, 0 tasks yet to run elsewhere",
    ]


def test_a_task_without_another_place_ends_the_wait_with_its_reason(
    swarm: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "HOPELESS_S", 0)
    swarm.on(
        "GET", "/vault/v1/nodes/w1id/drain", found((RUNS,), (WAITS,)), found((), (COMES, WAITS)), found((), (WAITS,))
    )
    result = vault("node", "drain", "-q", "--wait", "w1")
    assert (result.code, result.out) == (1, "w1\n")
    assert result.err == (
        f"node w1: no task runs there any more, but not all of them run elsewhere:\n  web.2 is pending: {REASON}\n"
    )


def test_the_wait_has_a_limit(swarm: FakeDaemon, vault: Vault) -> None:
    swarm.on("GET", "/vault/v1/nodes/w1id/drain", found((RUNS,), (COMES, WAITS)))
    result = vault("node", "drain", "-q", "--wait", "--timeout", "1ms", "w1")
    assert result.code == 1
    assert result.err == (
        "node w1: not drained within 1ms:\n"
        "  web.1 is running there\n"
        "  web.1 is preparing on n2\n"
        f"  web.2 is pending: {REASON}\n"
    )


def test_a_node_that_is_put_to_use_again_ends_the_wait(swarm: FakeDaemon, vault: Vault) -> None:
    swarm.on("GET", "/vault/v1/nodes/w1id/drain", found((RUNS,)), found((RUNS,), availability="active"))
    result = vault("node", "drain", "-q", "--wait", "w1")
    assert (result.code, result.err) == (
        1,
        "node w1 is not being drained any more: its availability is active\n",
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("drain", "--timeout", "1s", "w1"), "--timeout says how long to wait: it goes with --wait\n"),
        (("drain", "--wait", "--timeout", "-1s", "w1"), "--timeout must not be negative\n"),
        (("update", "--wait", "w1"), "--wait goes with --availability drain\n"),
        (("update", "--availability", "pause", "--wait", "w1"), "--wait goes with --availability drain\n"),
        (("update", "--timeout", "1s", "w1"), "--timeout says how long to wait: it goes with --wait\n"),
    ],
)
def test_options_that_do_not_go_together_change_nothing(
    swarm: FakeDaemon, vault: Vault, words: tuple[str, ...], error: str
) -> None:
    result = vault("node", *words)
    assert (result.code, result.err) == (1, error)
    assert not swarm.asked("POST", "/nodes/w1id/update")


def test_hope_is_given_up_only_when_there_was_none_for_a_while() -> None:
    verdict = Verdict("w1", 0, 0.0)
    hopeless = found((), (WAITS,))
    assert not verdict.judge(hopeless, 10.0)
    assert not verdict.judge(found((), (COMES, WAITS)), 11.0)
    assert not verdict.judge(hopeless, 12.0)
    assert not verdict.judge(hopeless, 12.0 + HOPELESS_S - 0.1)
    with pytest.raises(CommandError, match="but not all of them run elsewhere"):
        verdict.judge(hopeless, 12.0 + HOPELESS_S)
