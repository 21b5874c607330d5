"""The real `docker` command against our API: Debian's 20.10, and the one on PATH where there is one.

Runs uvicorn on a socket over the fakes: what is tested is that the client and the API understand each other.
Takes 20 s.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.api.fakes import MemoryManager, MemoryNode, check_driver
from tests.api.served import served
from vault.api.app import create_app
from vault.crypto.ids import new_id

ROOT = Path(__file__).resolve().parents[2]
ID = re.compile(r"[0-9a-z]{25}")
STACK = """
version: "3.7"
services:
  db:
    image: mysql:5.7
    secrets: [password]
    environment: {MYSQL_ROOT_PASSWORD_FILE: /run/secrets/password, MYSQL_DATABASE: wordpress}
    volumes: ["db_data:/var/lib/mysql"]
    networks: [my-network]
    deploy: {mode: global, placement: {constraints: [node.role == manager]}}
  web:
    depends_on: [db]
    image: wordpress
    ports: ["80:80"]
    secrets: [password]
    environment: {WORDPRESS_DB_HOST: "db:3306", WORDPRESS_DB_PASSWORD_FILE: /run/secrets/password}
    networks: [my-network]
    deploy:
      mode: replicated
      replicas: 3
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3}
      update_config: {parallelism: 3, delay: 10s, order: stop-first}
volumes: {db_data: }
networks: {my-network: {driver: overlay}}
secrets: {password: {external: true}}
"""


def clients() -> list[str]:
    """Return the docker commands to test."""
    subprocess.run([ROOT / "deploy/docker-client.sh"], check=True, timeout=300)
    found = [str(ROOT / ".cache/docker-client/docker")]
    newer = shutil.which("docker")
    return [*found, newer] if newer else found


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    out: str
    err: str
    code: int


class Docker:
    """A `docker` command pointed at a socket."""

    def __init__(self, command: str, place: Path) -> None:
        self.command, self.place = command, place

    def run(self, *arguments: str, given: str = "") -> Said:
        """Run one command, whatever comes of it."""
        environment = {
            "DOCKER_HOST": f"unix://{self.place}/api.sock",
            "DOCKER_CONFIG": str(self.place),
            "HOME": str(self.place),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            [self.command, *arguments], input=given, env=environment, capture_output=True, text=True, timeout=30
        )
        return Said(done.stdout.strip(), done.stderr.strip(), done.returncode)

    def __call__(self, *arguments: str, given: str = "") -> str:
        """Run one command that has to work; return what it printed."""
        said = self.run(*arguments, given=given)
        assert said.code == 0, (arguments, said)
        return said.out


@pytest.fixture(scope="module", params=["debian", "path"])
def docker(request: pytest.FixtureRequest) -> Iterator[Docker]:
    """A client, and a swarm of fakes behind a socket of its own."""
    found = clients()
    if request.param == "path" and len(found) == 1:
        pytest.xfail("there is no newer docker on PATH")
    with tempfile.TemporaryDirectory(prefix="va-", dir="/tmp") as place:
        app = create_app(MemoryManager(new_id), MemoryNode(), check_driver=check_driver, new_id=new_id)
        with served(app, Path(place) / "api.sock"):
            client = Docker(found[request.param == "path"], Path(place))
            client("swarm", "init")
            yield client


def test_the_client_agrees_on_a_version(docker: Docker) -> None:
    spoken = docker("version", "--format", "{{.Client.APIVersion}} {{.Server.APIVersion}}")
    assert spoken in ("1.41 1.50", "1.50 1.50", "1.51 1.50")
    assert docker("info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}") == "active true"


def test_secrets_are_managed(docker: Docker) -> None:
    made = docker("secret", "create", "-l", "mysql_root_password", "pw", "-", given="123456789")
    assert ID.fullmatch(made)
    assert docker("secret", "ls", "--filter", "name=pw", "-q") == made
    assert docker("secret", "inspect", "--format", "{{.Spec.Name}} {{.Spec.Labels}}", made[:10]) == (
        "pw map[mysql_root_password:]"
    )
    again = docker.run("secret", "create", "PW", "-", given="x")
    assert (again.code, "AlreadyExists desc = secret PW already exists" in again.err) == (1, True)
    missing = docker.run("secret", "rm", "nosuch", "pw")
    assert missing.code == 1
    assert "nosuch" in missing.err  # 20.10 says `No such secret: nosuch`, later ones what we say.
    assert docker("secret", "ls", "-q") == ""


def test_configs_and_networks_are_managed(docker: Docker) -> None:
    docker("config", "create", "conf", "-", given="listen 80;\n")
    assert "listen 80;" in docker("config", "inspect", "--pretty", "conf")
    docker("config", "rm", "conf")
    docker("network", "create", "-d", "overlay", "--label", "a=b", "back")
    assert docker("network", "inspect", "--format", "{{.Scope}} {{.Driver}} {{.Labels}}", "back") == (
        "swarm overlay map[a:b]"
    )
    assert docker("network", "ls", "--filter", "driver=overlay", "--format", "{{.Name}}").split() == ["back", "ingress"]
    refused = docker.run("network", "create", "-d", "overlay", "--opt", "encrypted", "x")
    assert "network x cannot be encrypted: no node has WireGuard" in refused.err
    docker("network", "rm", "back")


def test_nodes_and_services_are_read(docker: Docker) -> None:
    assert docker("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}") == "vm Ready Leader"
    assert docker("node", "inspect", "--format", "{{.Spec.Role}}", "self") == "manager"
    docker("secret", "create", "token", "-", given="x")
    docker(
        "service", "create", "--detach", "--name", "web", "--secret", "token", "-p", "8080:80", "busybox", "sleep", "1"
    )
    assert docker("service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}") == (
        "web replicated 0/1 busybox:latest"
    )
    assert "Target:\ttoken" in docker("service", "inspect", "--pretty", "web")
    in_use = docker.run("secret", "rm", "token")
    assert "secret 'token' is in use by the following service: web" in in_use.err
    docker("service", "update", "--detach", "--secret-rm", "token", "--env-add", "A=1", "web")
    assert docker("service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Env}}", "web") == "[A=1]"
    docker("service", "rollback", "--detach", "web")
    assert docker("service", "ps", "-q", "web") == ""
    docker("service", "rm", "web")
    docker("secret", "rm", "token")


def test_the_tutorials_stack_is_deployed_twice_and_removed(docker: Docker) -> None:
    docker("secret", "create", "password", "-", given="123456789")
    (docker.place / "stack.yml").write_text(STACK)
    deploy = ("stack", "deploy", "--compose-file", str(docker.place / "stack.yml"), "wordpress")
    first = docker(*deploy)
    assert first.splitlines()[0] == "Creating network wordpress_my-network"
    assert sorted(first.splitlines()[1:]) == ["Creating service wordpress_db", "Creating service wordpress_web"]
    before = docker("service", "inspect", "--format", "{{json .Spec}}", "wordpress_db", "wordpress_web")
    assert "Updating service wordpress_db" in docker(*deploy)
    assert docker("service", "inspect", "--format", "{{json .Spec}}", "wordpress_db", "wordpress_web") == before
    assert docker("stack", "ls", "--format", "{{.Name}} {{.Services}}") == "wordpress 2"
    services = docker("stack", "services", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}", "wordpress")
    assert sorted(services.splitlines()) == ["wordpress_db global 0/0", "wordpress_web replicated 0/3"]
    removed = docker.run("stack", "rm", "wordpress")
    assert removed.code == 0, removed
    assert docker("network", "ls", "--filter", "name=wordpress", "-q") == ""
    docker("secret", "rm", "password")


def test_an_exec_is_refused_with_its_reason(docker: Docker) -> None:
    refused = docker.run("exec", "nosuch", "ls")
    assert (refused.code, "No such container: nosuch" in refused.err) == (1, True)
