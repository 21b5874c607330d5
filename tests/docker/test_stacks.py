"""`docker stack` against vaultd: the tutorial's files as they stand, and what goes wrong in stack files."""

import shutil
from pathlib import Path

import pytest

from tests.docker.client import NOT_ON_A_REGISTRY, Docker, shape
from tests.e2e.node import HERE

pytestmark = pytest.mark.machine

EXAMPLES = HERE / "deploy" / "examples" / "wordpress"
SERVICES = """\
ID  NAME  MODE  REPLICAS  IMAGE  PORTS
ID  wordpress_db  global  1/1  mysql:5.7
ID  wordpress_web  replicated  3/3  wordpress:latest  *:80->80/tcp"""
TASKS = """\
ID  NAME  IMAGE  NODE  DESIRED STATE  CURRENT STATE  ERROR  PORTS
ID  wordpress_db.ID  mysql:5.7  vm  Running  Running AGO
ID  wordpress_web.1  wordpress:latest  vm  Running  Running AGO
ID  wordpress_web.2  wordpress:latest  vm  Running  Running AGO
ID  wordpress_web.3  wordpress:latest  vm  Running  Running AGO"""
CREATED = ["Creating network wordpress_my-network", "Creating service wordpress_db", "Creating service wordpress_web"]
SMALL = """\
version: "3.8"
services:
  db:
    image: busybox:latest
    command: sleep 1000000
    stop_signal: SIGKILL
    secrets:
      - ext_root_pw
      - {source: from_file, target: app.pw, uid: "103", gid: "103", mode: 0440}
    deploy:
      replicas: 2
      update_config: {parallelism: 1, delay: 100ms, monitor: 100ms}
      labels: {a: b}
  web:
    image: busybox:latest
    command: ["sleep", "1000000"]
    stop_signal: SIGKILL
    depends_on: [db]
    secrets: [from_file]
secrets:
  ext_root_pw: {external: true}
  from_file: {file: ./wpsec.txt}
"""


def removed(docker: Docker, stack: str) -> list[str]:
    """Remove a stack; return what was said once its containers and networks are gone."""
    said = docker("stack", "rm", stack)
    docker.node.until(lambda: docker("ps", "-aq") == "", f"the containers of {stack} are gone", timeout_s=60)
    return said.splitlines()


def until_answering(docker: Docker, service: str) -> None:
    """Return once a database answers: a first start that is cut short heeds no signal, and takes 10 s to end."""
    ready = "mysqld: ready for connections"
    docker.node.until(lambda: ready in docker.run("service", "logs", service).err, f"{service} answers")


@pytest.fixture
def small(docker: Docker) -> Docker:
    """A stack of two services, not yet deployed."""
    (docker.home / "stack.yml").write_text(SMALL)
    (docker.home / "wpsec.txt").write_text("wp-file-secret")
    docker("secret", "create", "ext_root_pw", "-", stdin=b"rootpw")
    return docker


def deploy(docker: Docker, *words: str) -> list[str]:
    """Deploy a stack; return what standard output says, in an order of its own, since the client's is by chance."""
    said = docker.run("stack", "deploy", *words)
    assert said.code == 0, said
    return sorted(said.out.splitlines())


@pytest.mark.usefixtures("tutorial_images")
def test_the_tutorials_stack_is_deployed_updated_and_removed_as_its_file_stands(docker: Docker) -> None:
    docker("secret", "create", "-l", "mysql_root_password", "password", "-", stdin=b"123456789")
    words = ("wordpress", "--compose-file", str(EXAMPLES / "docker-compose.yml"))
    assert deploy(docker, *words) == CREATED
    docker.node.until(lambda: shape(docker("stack", "services", "wordpress")) == SERVICES, "the stack runs")
    assert docker("stack", "ls", "--format", "{{.Name}} {{.Services}}") == "wordpress 2"
    assert shape(docker("stack", "ps", "--no-trunc", "wordpress")) == TASKS
    until_answering(docker, "wordpress_db")
    assert shape(docker("volume", "ls")) == "DRIVER  VOLUME NAME\nlocal  wordpress_db_data"
    ports = docker("ps", "--format", "{{.Image}} {{.Command}} {{.Ports}}").splitlines()
    assert 'mysql:5.7 "docker-entrypoint.s…" 3306/tcp' in ports
    assert ports.count('wordpress:latest "docker-entrypoint.s…" 80/tcp') == 3
    tasks = docker("stack", "ps", "-q", "wordpress")
    said = docker.run("stack", "deploy", *words)
    assert [shape(line) for line in sorted(said.out.splitlines())] == [
        "Updating service wordpress_db (id: ID)",
        "Updating service wordpress_web (id: ID)",
    ]
    assert NOT_ON_A_REGISTRY.format("mysql:5.7") in said.err
    assert docker("stack", "ps", "-q", "wordpress") == tasks
    update = docker.run("service", "update", "wordpress_db", "--image", "mysql:5.7.27", "--update-monitor", "100ms")
    assert (update.code, update.out.splitlines()[0]) == (0, "wordpress_db")
    docker.node.until(
        lambda: (
            docker("service", "ps", "-f", "desired-state=running", "--format", "{{.Image}}", "wordpress_db")
            == "mysql:5.7.27"
        ),
        "the database has its new image",
    )
    assert removed(docker, "wordpress") == [
        "Removing service wordpress_db",
        "Removing service wordpress_web",
        "Removing network wordpress_my-network",
    ]
    docker("volume", "rm", "wordpress_db_data")


@pytest.mark.usefixtures("tutorial_images")
def test_the_tutorials_file_form_keeps_its_secret_in_the_stack(docker: Docker, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "docker-compose.file.yml", tmp_path / "docker-compose.yml")
    (tmp_path / "db_root_password").write_text("123456789")
    assert deploy(docker, "-c", "docker-compose.yml", "wp") == [
        *("Creating network wp_my-network", "Creating secret wp_password"),
        *("Creating service wp_db", "Creating service wp_web"),
    ]
    docker.node.until_running("wp_db", 1)
    (task,) = docker.node.running("wp_db")
    assert docker.node.vault("exec", task, "cat", "/run/secrets/password").raw == b"123456789"
    until_answering(docker, "wp_db")
    (tmp_path / "db_root_password").write_text("another")
    assert docker.refuses("stack", "deploy", "-c", "docker-compose.yml", "wp").splitlines()[-1] == (
        "failed to update secret wp_password: Error response from daemon: "
        "rpc error: code = InvalidArgument desc = only updates to Labels are allowed"
    )
    assert "Removing secret wp_password" in removed(docker, "wp")
    docker("volume", "rm", "wp_db_data")


def test_a_stack_is_deployed_from_standard_input_and_pruned(small: Docker) -> None:
    text = SMALL.encode()
    said = small("stack", "deploy", "-c", "-", "demo", stdin=text)
    assert "Creating service demo_db" in said
    small.node.until_running("demo_db", 2)
    (task, _) = small.node.running("demo_db")
    shown = small.node.vault("exec", task, "sh", "-c", "stat -c '%n %u:%g %a' /run/secrets/*; cat /run/secrets/*").out
    assert shown == "/run/secrets/app.pw 103:103 440\n/run/secrets/ext_root_pw 0:0 444\nwp-file-secretrootpw"
    alone = text[: text.index(b"  web:")] + text[text.index(b"secrets:\n  ext") :]
    pruned = small("stack", "deploy", "--prune", "-c", "-", "demo", stdin=alone)
    assert shape(pruned).splitlines() == ["Removing service demo_web", "Updating service demo_db (id: ID)"]
    assert small("stack", "services", "--format", "{{.Name}} {{.Replicas}}", "demo") == "demo_db 2/2"
    assert small("stack", "ps", "--format", "{{.Name}}", "-f", "desired-state=running", "demo").split() == [
        "demo_db.1",
        "demo_db.2",
    ]


def test_several_files_are_merged_and_a_new_secret_updates_what_uses_it(small: Docker) -> None:
    (small.home / "more.yml").write_text("version: '3.8'\nsecrets: {from_file: {file: ./wpsec.txt, name: demo_v2}}\n")
    assert deploy(small, "-c", "stack.yml", "demo")[1] == "Creating secret demo_from_file"
    again = deploy(small, "-c", "stack.yml", "-c", "more.yml", "demo")
    assert [shape(line) for line in again] == [
        "Creating secret demo_v2",
        "Updating service demo_db (id: ID)",
        "Updating service demo_web (id: ID)",
    ]
    assert small(
        "service", "inspect", "--format", "{{json .Spec.TaskTemplate.ContainerSpec.Secrets}}", "demo_web"
    ).count('"SecretName":"demo_v2"')
    assert small.run("stack", "rm", "demo", "nosuch").warned == "Nothing found in stack: nosuch"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "op-level object must be a mapping"),
        ("version: '3.8'\nservices: {a: {image: busybox, bogus: 1}}", "services.a Additional property bogus is not"),
        ("version: '3.8'\nservices: {a: {image: busybox, secrets: [u]}}", 'service a: undefined secret "u"'),
        (
            "version: '3.8'\nservices: {a: {image: busybox, secrets: [e]}}\nsecrets: {e: {external: true}}",
            "service a: secret not found: e",
        ),
        (
            "version: '3.8'\nservices: {a: {image: busybox, deploy: {restart_policy: {condition: x}}}}",
            'failed to create service bad_a: Error response from daemon: invalid RestartCondition: "x"',
        ),
    ],
)
def test_a_bad_stack_file_gets_dockers_sentence(docker: Docker, text: str, told: str) -> None:
    (docker.home / "bad.yml").write_text(text)
    assert told in docker.refuses("stack", "deploy", "-c", "bad.yml", "bad").splitlines()[-1]
    assert docker("service", "ls", "-q") == ""


def test_a_stack_that_is_not_there_is_said_to_be_missing(docker: Docker) -> None:
    assert docker.refuses("stack", "ps", "nosuch") == "nothing found in stack: nosuch"
    assert docker.run("stack", "services", "nosuch").warned == "Nothing found in stack: nosuch"
    assert docker.run("stack", "rm", "nosuch").warned == "Nothing found in stack: nosuch"
    assert docker("stack", "ls").split()[:2] == ["NAME", "SERVICES"]
