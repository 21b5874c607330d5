"""`docker service` and `docker ps` against vaultd: made, updated, scaled, rolled back, paused, removed."""

import json
import re

import pytest

from tests.docker.client import NOT_ON_A_REGISTRY, Docker, shape

pytestmark = pytest.mark.machine

WAITS = ("busybox", "sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait")
QUICK = ("--update-monitor", "100ms", "--rollback-monitor", "100ms", "--restart-delay", "100ms")
PRETTY = """\
ID:\t\tID
Name:\t\tweb2
Labels:
 l=1
Service Mode:\tReplicated
 Replicas:\t2
Placement:
UpdateConfig:
 Parallelism:\t1
 On failure:\tpause
 Monitoring Period: 5s
 Max failure ratio: 0
 Update order:  stop-first
RollbackConfig:
 Parallelism:\t1
 On failure:\tpause
 Monitoring Period: 5s
 Max failure ratio: 0
 Rollback order:  stop-first
ContainerSpec:
 Image:\t\tbusybox:latest
 Args:\t\tsleep 1000000
 Env:\t\tA=1
 Init:\t\tfalse
Secrets:
 Target:\t/etc/app/pw
  Source:\ttwo
Resources:
Endpoint Mode:\tvip"""
SERVICES = """\
ID  NAME  MODE  REPLICAS  IMAGE  PORTS
ID  web  replicated  2/2  busybox:latest"""
TASKS = """\
ID  NAME  IMAGE  NODE  DESIRED STATE  CURRENT STATE  ERROR  PORTS
ID  web.1  busybox:latest  vm  Running  Running AGO
ID  web.2  busybox:latest  vm  Running  Running AGO"""
CONTAINERS = """\
CONTAINER ID  IMAGE  COMMAND  CREATED  STATUS  PORTS  NAMES
ID  busybox:latest  "sh -c 'trap 'exit 0…"  AGO  Up AGO  web.N.ID
ID  busybox:latest  "sh -c 'trap 'exit 0…"  AGO  Up AGO  web.N.ID"""


def converged(docker: Docker, service: str) -> str:
    """Return the last line of progress: later clients name the service in it."""
    return "verify: Service converged" if docker.is_old else f"verify: Service {service} converged"


@pytest.fixture
def web(docker: Docker) -> Docker:
    """Two running tasks of a service called web, created with progress."""
    said = docker.run("service", "create", "--name", "web", "--replicas", "2", *QUICK, *WAITS)
    assert said.code == 0, said
    assert said.shape.splitlines() == ["ID", shape(converged(docker, "ID"))]
    assert "overall progress: 2 out of 2 tasks" in said.out
    assert said.warned == NOT_ON_A_REGISTRY.format("busybox:latest")
    return docker


def test_a_service_its_tasks_and_its_containers_are_listed(web: Docker) -> None:
    assert shape(web("service", "ls")) == SERVICES
    assert shape(web("service", "ps", "web")) == TASKS
    assert shape(web("node", "ps", "-f", "name=web")) == TASKS
    assert re.sub(r"web\.[12]\.", "web.N.", shape(web("ps"))) == CONTAINERS
    tasks = web("service", "ps", "-q", "--no-trunc", "web").split()
    names = web("ps", "--filter", "name=web", "--format", "{{.Names}}").split()
    assert sorted(name.split(".")[2] for name in names) == sorted(tasks)
    assert web("service", "ls", "-q", "--filter", "name=web") == web("service", "ls", "--format", "{{.ID}}")
    assert web("service", "ps", "web", "--filter", "desired-state=shutdown", "-q") == ""
    (container, _) = web("ps", "-q").split()
    (shown,) = json.loads(web("inspect", container))
    assert (shown["State"]["Status"], shown["Config"]["Image"]) == ("running", "busybox:latest")
    assert shown["Config"]["Labels"]["com.docker.swarm.service.name"] == "web"


def test_a_service_is_inspected_as_docker_shows_it(docker: Docker) -> None:
    docker("secret", "create", "two", "-", stdin=b"x")
    docker(
        *("service", "create", "--detach", "-q", "--name", "web2", "--replicas", "2", "--label", "l=1", "--env", "A=1"),
        *("--stop-signal", "KILL", "--secret", "source=two,target=/etc/app/pw,uid=33,gid=33,mode=0400"),
        *("busybox:latest", "sleep", "1000000"),
    )
    assert shape(docker("service", "inspect", "--pretty", "web2")) == PRETTY
    (shown,) = json.loads(docker("service", "inspect", "web2"))
    (secret,) = shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"]
    assert secret["File"] == {"Name": "/etc/app/pw", "UID": "33", "GID": "33", "Mode": 0o400}
    docker.node.until_running("web2", 2)
    task = docker.node.running("web2")[0]
    stat = docker.node.vault("exec", task, "stat", "-c", "%u:%g %a", "/etc/app/pw").out
    assert stat == "33:33 400\n"


def test_a_service_is_scaled_up_and_down_with_progress(web: Docker) -> None:
    said = web("service", "scale", "web=3")
    assert shape(said).splitlines() == ["web scaled to 3", converged(web, "web")]
    assert "overall progress: 3 out of 3 tasks" in said
    assert web("service", "scale", "--detach", "web=1") == "web scaled to 1"
    web.node.until_running("web", 1)
    assert web.refuses("service", "scale", "web=abc") == (
        'web: invalid replicas value abc: strconv.ParseUint: parsing "abc": invalid syntax'
    )
    missing = web.refuses("service", "scale", "nosuch=1")
    assert missing == f"nosuch: {web.no_such('service', 'nosuch')}"


def test_a_secret_is_rotated_and_rolled_back(web: Docker) -> None:
    for name, value in (("pw", b"old"), ("pw2", b"new")):
        web("secret", "create", name, "-", stdin=value)

    def shown() -> set[bytes]:
        return {web.node.vault("exec", task, "cat", "/run/secrets/pw").raw for task in web.node.running("web")}

    web("service", "update", "-q", "--secret-add", "pw", "web")
    assert shown() == {b"old"}
    said = web("service", "update", "--secret-rm", "pw", "--secret-add", "source=pw2,target=pw", "web")
    assert said.splitlines()[0] == "web"
    assert shown() == {b"new"}
    rolled = web("service", "rollback", "web")
    assert "rollback: " in rolled
    assert shape(rolled).splitlines()[0] == "web"
    assert shown() == {b"old"}
    state = ("service", "inspect", "--format", "{{.UpdateStatus.State}}", "web")
    web.node.until(lambda: web(*state) == "rollback_completed", "the rollback is completed")
    assert web.refuses("service", "update", "--secret-add", "nosuch", "web") == "secret not found: nosuch"


def test_an_update_whose_tasks_fail_is_paused_and_says_which(web: Docker) -> None:
    said = web.run("service", "update", "--args", "sh -c 'exit 7'", "web")
    assert said.code == 1
    paused = "update paused due to failure or early termination of task ID"
    assert said.warned == f"service update paused: {paused}"
    status = json.loads(web("service", "inspect", "--format", "{{json .UpdateStatus}}", "web"))
    assert (status["State"], shape(status["Message"])) == ("paused", paused)
    assert f" Message:\t{paused}" in shape(web("service", "inspect", "--pretty", "web"))
    assert '"task: non-zero exit (7)"' in web("service", "ps", "--no-trunc", "web")


def test_a_global_service_has_one_task_a_node(docker: Docker) -> None:
    docker("service", "create", "-q", "--name", "glob", "--mode", "global", *QUICK, *WAITS)
    assert docker("service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}") == "glob global 1/1"
    node_id = docker("node", "ls", "-q")
    assert docker("service", "ps", "glob", "--format", "{{.Name}}") == f"glob.{node_id}"
    assert docker.refuses("service", "scale", "glob=2") == (
        "glob: scale can only be used with replicated or replicated-job mode"
    )


def test_a_task_that_fits_nowhere_says_why(docker: Docker) -> None:
    create = ("service", "create", "-q", "--detach")
    docker(*create, "--name", "zone", "--constraint", "node.labels.zone==nowhere", "busybox")
    docker(*create, "--name", "cpus", "--reserve-cpu", "100", "busybox")
    for name, reason in (
        ("zone", '"no suitable node (scheduling constraints not satisfied on 1 node)"'),
        ("cpus", '"no suitable node (insufficient resources on 1 node)"'),
    ):
        docker.node.until(
            lambda name=name, reason=reason: reason in docker("service", "ps", "--no-trunc", name), f"{name}: {reason}"
        )


def test_rm_removes_what_is_there_and_reports_what_is_not(web: Docker) -> None:
    said = web.run("service", "rm", "nosuch", "web")
    assert (said.code, said.out) == (1, "web\n")
    assert said.warned == web.no_such("service", "nosuch")
    web.node.until(lambda: web("ps", "-aq") == "", "its containers are gone")


def test_an_update_that_fails_beside_the_old_tasks_is_taken_back_and_they_never_stop(web: Docker) -> None:
    vault, old = web.node.vault, web.node.running("web")
    vault("service", "update", "-q", "--update-deadline", "20s", "web")
    web("service", "update", "-q", "--update-order", "start-first", "--update-failure-action", "rollback", "web")
    before = json.loads(web("service", "inspect", "web"))[0]["Spec"]
    shown = json.loads(vault("service", "inspect", "web").out)[0]["Spec"]["UpdateConfig"]
    assert shown["Deadline"] == 20 * 10**9, "a client that does not know the deadline leaves it as it is"
    said = vault("service", "update", "-q", "--args", "/nosuch", "web", code=1)
    reason = "update rolled back due to failure or early termination of task ID"
    advice = "the former spec is in force again: mend the cause, then update the service again"
    assert re.fullmatch(rf"service update rolled back: {reason} \(.*/nosuch.*\): {advice}", shape(said.err))
    assert sorted(web.node.running("web")) == sorted(old)
    found = json.loads(web("service", "inspect", "web"))[0]
    assert (found["Spec"], found["UpdateStatus"]["State"]) == (before, "rollback_completed")
    assert "PreviousSpec" not in found
    assert "does not have a previous spec" in web.refuses("service", "rollback", "web")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("service", "create", "--detach", "--secret", "nosuch", "busybox"), 1, "secret not found: nosuch"),
        (
            ("service", "create", "--detach", "--name", "bad name", "busybox"),
            *(1, "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component"),
        ),
        (
            ("service", "create", "--detach", "--update-order", "sideways", "busybox"),
            *(1, "unrecognized update order sideways"),
        ),
        (("service", "ps", "nosuch"), 1, "no such service: nosuch"),
        (("service", "inspect", "nosuch"), 1, "no such service: nosuch"),
        (("service", "logs", "nosuch"), 1, "no such task or service: nosuch"),
        (("service", "rollback", "nosuch"), 1, "nosuch"),
    ],
)
def test_wrong_commands_get_dockers_sentences(docker: Docker, words: tuple[str, ...], code: int, text: str) -> None:
    said = docker.refuses(*words, code=code).splitlines()
    assert text in said[0], said
    assert docker("service", "ls", "-q") == ""


def test_a_name_is_taken_and_targets_do_not_collide(web: Docker) -> None:
    assert web.refuses("service", "create", "--detach", "--name", "web", "busybox") == (
        "Error response from daemon: rpc error: code = AlreadyExists desc = "
        "name conflicts with an existing object: service web already exists"
    )
    for name in ("one", "two"):
        web("secret", "create", name, "-", stdin=b"x")
    web("service", "update", "-q", "--detach", "--secret-add", "source=one,target=t", "web")
    assert web.refuses("service", "update", "--secret-add", "source=two,target=t", "web") == (
        "Error response from daemon: rpc error: code = InvalidArgument desc = "
        "secret references 'one' and 'two' have a conflicting target: 't'"
    )
