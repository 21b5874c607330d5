"""`docker logs`, `events`, `exec` and `attach` against vaultd, and what vaultd does not do."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.docker.client import Docker, Said, shape

pytestmark = pytest.mark.machine

TALKS = ("busybox", "sh", "-c", "trap 'exit 0' TERM; echo to-out; echo to-err >&2; sleep 1000000 & wait")
SPOKEN = Said(out="to-out\n", err="to-err\n", code=0)
USE_VAULT = 'exec with streams needs an upgraded connection, which is not offered: use "vault exec"'


@pytest.fixture
def talks(docker: Docker) -> Docker:
    """A service that has printed one line to each stream."""
    docker("service", "create", "-q", "--detach", "--name", "st", *TALKS)
    docker.node.until_running("st", 1)
    docker.node.until(lambda: docker.run("service", "logs", "--raw", "st") == SPOKEN, "it has spoken")
    return docker


@contextmanager
def running(docker: Docker, *words: str) -> Iterator[list[str]]:
    """Run a command that does not end by itself; yield its lines as they come."""
    process = subprocess.Popen([docker.command, *words], env=docker.environment(), stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")))  # type: ignore[union-attr]
    reader.start()
    try:
        yield lines
    finally:
        process.kill()
        process.wait()
        reader.join()


def test_logs_of_services_tasks_and_containers_are_read(talks: Docker) -> None:
    container, task = talks("ps", "-q"), talks("service", "ps", "-q", "st")[:12]
    assert talks.run("service", "logs", "st") == Said(
        out=f"st.1.{task}@vm    | to-out\n", err=f"st.1.{task}@vm    | to-err\n", code=0
    )
    assert talks.run("logs", container) == SPOKEN
    assert talks.run("logs", "--tail", "1", container) == Said(out="", err="to-err\n", code=0)
    assert shape(talks.run("logs", "-t", container).out) == "TIME to-out"
    assert shape(talks.run("service", "logs", "--raw", "-t", task).out) == "TIME to-out"


def test_following_ends_with_the_task_and_at_until(talks: Docker) -> None:
    container = talks("ps", "-q")
    until = f"{time.time() + 0.3:.9f}"  # `0s` would mean the beginning of this second.
    assert talks.run("logs", "-f", "--until", until, container) == SPOKEN
    assert talks.run("logs", "-f", "--until", "2020-01-01", container) == Said(out="", err="", code=0)
    with running(talks, "logs", "-f", container) as lines:
        talks.node.until(lambda: lines == ["to-out\n"], "what was said is shown")
        talks("service", "rm", "st")
        talks.node.until(lambda: talks("ps", "-aq") == "", "the container is gone")


def test_events_tell_what_changes_in_the_swarm(docker: Docker) -> None:
    with running(docker, "events", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}") as lines:

        def begun() -> bool:
            docker("config", "create", "first", "-", stdin=b"x")
            docker("config", "rm", "first")
            return bool(lines)

        docker.node.until(begun, "events are heard")
        docker("secret", "create", "pw", "-", stdin=b"x")
        docker("service", "create", "-q", "--detach", "--name", "w", "--replicas", "0", "--secret", "pw", "busybox")
        docker("service", "update", "-q", "--detach", "--label-add", "a=b", "w")
        docker("service", "rm", "w")
        docker("secret", "rm", "pw")
        docker.node.until(lambda: "secret remove pw\n" in lines, "the last event is heard")
    heard = [line.strip() for line in lines if " first" not in line]
    order = ["secret create pw", "service create w", "service update w", "service remove w", "secret remove pw"]
    assert sorted(order, key=heard.index) == order
    asked = ("--filter", "type=secret", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
    until = f"{time.time():.9f}"  # `0s` would mean the beginning of this second.
    assert docker("events", "--since", "2m", "--until", until, *asked).splitlines()[-2:] == ["create pw", "remove pw"]
    assert docker("events", "--since", until, "--until", until, *asked) == ""


def test_exec_says_to_use_vault_exec_unless_it_is_detached(talks: Docker) -> None:
    container = talks("ps", "-q")
    assert talks.refuses("exec", container, "true").endswith(USE_VAULT)
    assert talks.refuses("exec", "-i", container, "sh").endswith(USE_VAULT)
    talks("exec", "-d", container, "touch", "/tmp/was-here")
    task = talks.node.running("st")[0]
    talks.node.until(
        lambda: talks.node.vault("exec", task, "test", "-e", "/tmp/was-here", code=None).code == 0, "it has run"
    )
    assert "No such container: nosuch" in talks.refuses("exec", "-d", "nosuch", "true")


def test_attach_is_refused_in_the_words_that_the_client_has_for_it(talks: Docker) -> None:
    assert talks.refuses("attach", "--no-stdin", talks("ps", "-q")) == "unable to upgrade to tcp, received 501"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "busybox", "true"), 'containers are made by services only: use "service create"'),
        (("create", "busybox"), 'containers are made by services only: use "service create"'),
        (("volume", "prune", "-f"), "prune is not supported: remove what you mean by name"),
        (("plugin", "ls"), "plugins are not supported"),
        (("tag", "busybox", "b2"), "images are not made or changed here"),
        (("system", "df"), "disk usage is not summed up"),
    ],
)
def test_what_vaultd_does_not_do_is_said_in_one_sentence(docker: Docker, words: tuple[str, ...], told: str) -> None:
    said = docker.refuses(*words, code=125 if words[0] == "run" else 1)
    assert f"Error response from daemon: {told}" in said.splitlines()[0]


@pytest.mark.parametrize("verb", ["stop", "kill", "restart", "pause", "wait"])
def test_a_tasks_container_is_left_to_its_service(talks: Docker, verb: str) -> None:
    assert "a container lives as long as its task" in talks.refuses(verb, talks("ps", "-q"))
    assert talks("ps", "-q")
