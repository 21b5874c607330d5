"""How the health of a container is shown."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from tests.api.client import Daemon
from tests.api.test_streams import CONTAINER, START
from vault.api.ports import Container, Health, Image, Probe
from vault.api.shown import shown_task
from vault.model.container import ContainerSpec, HealthConfig
from vault.model.service import TaskSpec
from vault.model.task import State, Task, TaskStatus

SECOND = 10**9
PROBE = Probe(begun_at=START, ended_at=START + timedelta(seconds=1), exit_code=7, output="no answer\n")
CHECK = HealthConfig(test=("CMD-SHELL", "curl localhost"), interval=5 * SECOND)


def container(status: str, number: int = 0, **fields: object) -> Container:
    health = Health(status=status, failing_streak=2, probes=(PROBE,))
    changes = {"id": f"{number:064x}", "name": f"web.{number}", "healthcheck": CHECK, "health": health} | fields
    return replace(CONTAINER, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "words"),
    [("starting", "(health: starting)"), ("healthy", "(healthy)"), ("unhealthy", "(unhealthy)")],
)
def test_the_list_says_how_a_running_container_stands(status: str, words: str) -> None:
    daemon = Daemon()
    daemon.node.held = [container(status), container(status, 1, state="exited", finished_at=START)]
    running, ended = daemon.get("/containers/json?all=1").json()
    assert running["Status"] == f"Up Less than a second {words}"
    assert ended["Status"].startswith("Exited (0) ")
    assert "health" not in ended["Status"]


def test_inspect_shows_the_check_and_its_results_in_dockers_shape() -> None:
    daemon = Daemon()
    daemon.node.held = [container("healthy")]
    shown = daemon.get("/containers/web.0/json").json()
    assert shown["Config"]["Healthcheck"] == {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 5 * SECOND}
    (result,) = shown["State"]["Health"].pop("Log")
    assert shown["State"]["Health"] == {"Status": "healthy", "FailingStreak": 2}
    assert (result["ExitCode"], result["Output"]) == (7, "no answer\n")
    assert result["Start"] < result["End"]


def test_a_container_without_a_check_says_nothing_of_health() -> None:
    daemon = Daemon()
    daemon.node.held = [CONTAINER]
    shown = daemon.get("/containers/web.1.t1/json").json()
    assert "Health" not in shown["State"]
    assert "Healthcheck" not in shown["Config"]


def test_what_a_probe_printed_is_in_no_list() -> None:
    daemon = Daemon()
    daemon.node.held = [container("unhealthy")]
    assert b"no answer" not in daemon.get("/containers/json?all=1").body
    assert b"no answer" not in daemon.get("/info").body


def test_containers_are_found_by_their_health() -> None:
    daemon = Daemon()
    daemon.node.held = [*(container(one, n) for n, one in enumerate(("starting", "healthy", "unhealthy"))), CONTAINER]
    found = {
        health: [one["Names"] for one in daemon.filtered("/containers/json", {"health": [health]})]
        for health in ("starting", "healthy", "unhealthy", "none")
    }
    assert found == {"starting": [["/web.0"]], "healthy": [["/web.1"]], "unhealthy": [["/web.2"]],
                     "none": [["/web.1.t1"]]}  # fmt: skip
    answer = daemon.get('/containers/json?filters={"health":["well"]}')
    assert (answer.status, answer.message) == (400, "Invalid filter 'health=well'")


def test_an_image_shows_its_check_and_its_shell_if_it_has_them() -> None:
    image = Image(id="sha256:" + "2" * 64, references=("a:1",), digests=(), created_at=START, size_bytes=1,
                  architecture="x86_64")  # fmt: skip
    daemon = Daemon()
    daemon.node.stored = [replace(image, healthcheck=CHECK, shell=("/bin/ash", "-c"))]
    shown = daemon.get("/images/a:1/json").json()["Config"]
    assert shown["Healthcheck"] == {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 5 * SECOND}
    assert shown["Shell"] == ["/bin/ash", "-c"]
    daemon.node.stored = [image]
    assert not {"Healthcheck", "Shell"} & daemon.get("/images/a:1/json").json()["Config"].keys()


def test_a_task_does_not_show_what_is_ours() -> None:
    task = Task(id="t1", spec=TaskSpec(), status=TaskStatus(state=State.RUNNING, unhealthy=True, err="words"))
    shown = msgspec.json.decode(msgspec.json.encode(shown_task(task, (1, 47))))
    assert shown["Status"]["Err"] == "words"
    assert "Unhealthy" not in str(shown)


@pytest.mark.parametrize(("version", "kept"), [((1, 43), False), ((1, 44), True)])
def test_the_start_interval_is_of_api_1_44(version: tuple[int, int], kept: bool) -> None:
    check = HealthConfig(test=("CMD", "x"), start_interval=SECOND)
    task = Task(id="t1", spec=TaskSpec(container_spec=ContainerSpec(image="a", healthcheck=check)))
    shown = msgspec.json.decode(msgspec.json.encode(shown_task(task, version)))
    assert ("StartInterval" in shown["Spec"]["ContainerSpec"]["Healthcheck"]) is kept
