"""What a command that changes services says when somebody else does so too, or when the change comes to nothing."""

from typing import Any

import pytest

from tests.cli.conftest import FakeDaemon, Request, Vault
from tests.cli.test_service import WEB, sent, service, swarm
from vault.cli import overtaken
from vault.cli.client import Client
from vault.cli.errors import CommandError
from vault.cli.services.progress import wait_for_each

__all__ = ["swarm"]
CONFLICT = "rpc error: code = Unknown desc = update out of sequence"
UPDATE = f"/services/{WEB}/update"
BAD_TASK = "ph8wnynwjfq80c5i0s7tm9jwl"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries and looks are for real daemons."""
    monkeypatch.setattr(overtaken, "PAUSE_S", 0.0)
    monkeypatch.setattr("vault.cli.services.progress.SHORTEST_S", 0.0)


def at(index: int, *, image: str = "busybox:latest", replicas: int = 1) -> dict[str, Any]:
    """Return the service as of a version, with what somebody may have changed."""
    found = service(Version={"Index": index})
    task = found["Spec"]["TaskTemplate"]
    changed = {**task, "ContainerSpec": {**task["ContainerSpec"], "Image": image}}
    found["Spec"] = {**found["Spec"], "TaskTemplate": changed, "Mode": {"Replicated": {"Replicas": replicas}}}
    return found


def taken_at(daemon: FakeDaemon, index: int) -> None:
    """Let the daemon take a change only of that version."""

    def reply(request: Request) -> Any:
        return (200, {"Warnings": None}) if request.query["version"] == str(index) else (500, {"message": CONFLICT})

    daemon.on("POST", UPDATE, reply)


def test_an_update_that_another_overtook_is_made_again_of_the_newer_spec(swarm: FakeDaemon, vault: Vault) -> None:
    swarm.on("GET", "/services/web", at(34), at(35, image="busybox:v2"))
    taken_at(swarm, 35)
    result = vault("service", "update", "-d", "--env-add", "A=1", "--replicas", "3", "web")
    assert (result.code, result.out) == (0, "web\n")
    assert sent(swarm)["TaskTemplate"]["ContainerSpec"]["Image"] == "busybox:v2"
    assert sent(swarm)["TaskTemplate"]["ContainerSpec"]["Env"] == ["A=1"]
    assert sent(swarm)["Mode"] == {"Replicated": {"Replicas": 3}}


def test_scaling_leaves_what_somebody_changed_meanwhile(swarm: FakeDaemon, vault: Vault) -> None:
    swarm.on("GET", "/services/web", at(34), at(35, image="busybox:v2"))
    taken_at(swarm, 35)
    assert vault("service", "scale", "-d", "web=7").out == "web scaled to 7\n"
    assert sent(swarm) == at(35, image="busybox:v2", replicas=7)["Spec"]


def test_tries_have_an_end(swarm: FakeDaemon, vault: Vault) -> None:
    taken_at(swarm, 99)
    result = vault("service", "update", "-d", "--force", "web")
    assert (result.code, result.err) == (1, f"Error response from daemon: {CONFLICT}\n")
    assert len(swarm.asked("POST", UPDATE)) == overtaken.TRIES


@pytest.mark.parametrize("words", [("service", "rollback"), ("service", "update", "--rollback")])
def test_going_back_is_tried_once_since_it_would_be_to_another_spec_then(
    swarm: FakeDaemon, vault: Vault, words: tuple[str, ...]
) -> None:
    swarm.on("GET", "/services/web", at(34), at(35))
    taken_at(swarm, 35)
    assert vault(*words, "-d", "web").err == f"Error response from daemon: {CONFLICT}\n"
    assert len(swarm.asked("POST", UPDATE)) == 1


def test_a_paused_update_ends_with_1_and_the_words_of_the_task_to_blame(swarm: FakeDaemon, vault: Vault) -> None:
    message = f"update paused due to failure or early termination of task {BAD_TASK}"
    paused = at(36, image="bad") | {
        "PreviousSpec": at(34)["Spec"],
        "UpdateStatus": {"State": "paused", "Message": message},
    }
    swarm.on("GET", "/services/web", at(34), paused)
    swarm.on("GET", f"/tasks/{BAD_TASK}", {"ID": BAD_TASK, "Status": {"Err": "task: non-zero exit (7)"}})
    result = vault("service", "update", "--image", "bad", "web")
    assert (result.code, result.err) == (
        1,
        f"service update paused: {message} (task: non-zero exit (7)): see `vault service ps web`, "
        "then update the service again or take it back with `vault service rollback web`\n",
    )


def test_of_several_services_the_last_is_seen_to_fail_while_the_first_is_waited_for(daemon: FakeDaemon) -> None:
    def found(name: str, image: str = "v2", **changes: Any) -> dict[str, Any]:
        one = at(1, image=image)
        one["Spec"]["UpdateConfig"] = {"Monitor": 1}
        return one | {"ID": name} | changes

    def task(slot: int) -> dict[str, Any]:
        return {"ID": f"t{slot}", "Slot": slot, "DesiredState": "running", "Status": {"State": "running"}}

    old = {"UpdateStatus": {"State": "rollback_completed", "StartedAt": "2026-01-01T00:00:00Z"}}
    new = {"UpdateStatus": {"State": "rollback_completed", "StartedAt": "2026-01-02T00:00:00Z"}}
    daemon.on("GET", "/services/a", found("a", **old))
    daemon.on("GET", "/services/b", found("b", **old), found("b", "v1", **new))
    daemon.on("GET", "/tasks", [task(1)])
    daemon.on("GET", "/nodes", [])
    with pytest.raises(CommandError) as caught:
        wait_for_each(Client(f"unix://{daemon.socket}"), ["a", "b"], quiet=True)
    assert str(caught.value) == (
        "b: service update rolled back: its tasks failed: the former spec is in force again: "
        "mend the cause, then update the service again"
    )
