"""The tutorial in its order, each command as it is printed there, and what each shows.

Where today's Docker shows something else than the tutorial's Docker 19, today's is expected.  Each test stands alone.
"""

import fcntl
import json
import os
import re
import shutil
import struct
import termios
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.tutorial.machine import EXAMPLES, Machine, rows

pytestmark = pytest.mark.machine

MARIADB = r"MariaDB \[\(none\)\]> \Z"
ID = re.compile(r"[0-9a-z]{25}\n")
ADVICE = [  # Of today's Docker, for every `stack deploy` that does not say --detach.
    "Since --detach=false was not specified, tasks will be created in the background.",
    "In a future release, --detach=false will become the default.",
]
CREATED = ["Creating network wordpress_my-network", "Creating service wordpress_db", "Creating service wordpress_web"]
INSTALLATION = "<title>WordPress &rsaquo; Installation</title>"
ASK_ITSELF = (
    'echo file_get_contents("http://127.0.0.1/", false, stream_context_create(["http"=>["ignore_errors"=>1]]));'
)


def node_id(machine: Machine) -> str:
    return machine.vault("node", "ls", "-q").out.strip()


def assert_the_stack_is_shown(machine: Machine) -> None:
    """Type `stack ls`, `stack ps` and `ps`; each shows what the tutorial prints, on one node instead of three."""
    assert rows(machine.vault("stack", "ls").out) == [["wordpress", "2"]]
    shown = rows(machine.vault("stack", "ps", "wordpress").out)
    names = [f"wordpress_db.{node_id(machine)}", *(f"wordpress_web.{slot}" for slot in (1, 2, 3))]
    images = ["mysql:5.7", *["wordpress:latest"] * 3]
    assert [row[1:] for row in shown] == [
        [name, image, "test1", "Running", "Running AGO"] for name, image in zip(names, images, strict=True)
    ]
    listed = [row for row in rows(machine.vault("ps").out) if row[-1].startswith("wordpress_")]
    tasks = machine.vault("stack", "ps", "-q", "--no-trunc", "wordpress").out.split()
    assert sorted(row[-1] for row in listed) == [f"{name}.{task}" for name, task in zip(names, tasks, strict=True)]
    ports = {"mysql:5.7": "3306/tcp", "wordpress:latest": "80/tcp"}
    for row in listed:
        assert row[1:6] == [row[1], '"docker-entrypoint.s…"', "AGO", "Up AGO", ports[row[1]]]


def test_a_stack_with_its_password_in_the_file_is_deployed_and_shown(machine: Machine) -> None:
    """`docker stack deploy wordpress --compose-file docker-compose.yml`, before secrets are explained."""
    try:
        said = machine.deploy("docker-compose.plain.yml")
        assert said.out.splitlines() == CREATED
        assert_the_stack_is_shown(machine)
        login = ("mysql", "-uroot", "-p123456789", "-Ne", "show databases like 'word%'")
        assert machine.vault("exec", machine.name_of("wordpress_db"), *login).out == "wordpress\n"
    finally:
        machine.remove("wordpress")


def test_a_secret_is_made_from_a_file_listed_and_inspected_without_its_value(machine: Machine, password: str) -> None:
    """`docker secret create -l mysql_root_password password db_root_password`, `ls`, `inspect`, `rm -f` of the file."""
    assert ID.fullmatch(password + "\n")
    listed = machine.vault("secret", "ls").out
    assert listed.splitlines()[0].split() == ["ID", "NAME", "DRIVER", "CREATED", "UPDATED"]
    assert rows(listed) == [[password, "password", "AGO", "AGO"]]
    shown = machine.vault("secret", "inspect", "password").out
    (secret,) = json.loads(shown)
    assert list(secret) == ["ID", "Version", "CreatedAt", "UpdatedAt", "Spec"]
    assert (secret["ID"], secret["Spec"]) == (password, {"Name": "password", "Labels": {"mysql_root_password": ""}})
    assert "123456789" not in shown
    (machine.root / "db_root_password").unlink()
    assert machine.vault("secret", "ls", "-q").out == f"{password}\n"


def test_a_service_finds_the_secret_in_a_file(machine: Machine, password: str) -> None:
    """`docker service create --name busybox --secret password busybox sh -c …`, `ls`, `ps`, `exec -it … sh`."""
    loop = "while true; do sleep 3600; done"
    try:
        said = machine.vault(
            "service", "create", "--name", "busybox", "--secret", "password", "busybox", "sh", "-c", loop
        )
        assert ID.match(said.out)
        assert "overall progress: 1 out of 1 tasks" in said.out
        assert re.search(r"^verify: Service (busybox |\w{25} )?converged$", said.out, re.MULTILINE)
        (service,) = rows(machine.vault("service", "ls").out)
        assert service[1:] == ["busybox", "replicated", "1/1", "busybox:latest"]
        (task,) = rows(machine.vault("service", "ps", "busybox").out)
        assert task[1:] == ["busybox.1", "busybox:latest", "test1", "Running", "Running AGO"]
        name = machine.name_of("busybox")
        assert name.startswith(f"busybox.1.{task[0]}")
        (container,) = rows(machine.vault("ps").out)
        assert container[1:] == ["busybox:latest", '"sh -c \'while true; …"', "AGO", "Up AGO", name]
        with machine.terminal("exec", "-it", name, "sh") as shell:
            shell.type("cd /run/secrets/")
            assert shell.type("ls").splitlines()[0] == "password"
            assert shell.type("cat password").startswith("123456789")
            assert shell.end("exit") == 0
    finally:
        machine.vault("service", "rm", "busybox")


def test_the_stack_takes_its_password_from_the_secret(wordpress: Machine) -> None:
    """The second stack file: `stack ls`, `stack ps`, `ps`, and a login typed at MySQL's own prompt."""
    assert_the_stack_is_shown(wordpress)
    name = wordpress.name_of("wordpress_db")
    with wordpress.terminal("exec", "-it", name, "bash") as shell:
        assert re.search(r"root@[0-9a-f]{12}:/# $", shell.shown)
        assert shell.type("cat /run/secrets/password").startswith("123456789")
        greeting = shell.type("mysql -uroot -p123456789", MARIADB)
        assert "Welcome to the MariaDB monitor.  Commands end with ; or \\g." in greeting
        assert "Type 'help;' or '\\h' for help." in greeting
        shown = shell.type("show databases;", MARIADB)
        databases = re.findall(r"^\| (\w+) +\|$", shown, re.MULTILINE)
        assert databases == ["Database", "information_schema", "mysql", "performance_schema", "sys", "wordpress"]
        assert "5 rows in set" in shown
        assert shell.type("exit").splitlines()[0] == "Bye"
        refused = shell.type("mysql -uroot -pwrong")
        assert "ERROR 1045 (28000): Access denied for user 'root'@'localhost'" in refused
        shell.end("exit")


def test_the_size_of_the_terminal_reaches_the_container(wordpress: Machine) -> None:
    with wordpress.terminal("exec", "-it", wordpress.name_of("wordpress_db"), "bash") as shell:
        fcntl.ioctl(shell.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        deadline = time.monotonic() + 20
        while "33 101" not in shell.type("stty size"):
            assert time.monotonic() < deadline, shell.shown


def test_every_web_task_reaches_its_database_by_name(wordpress: Machine) -> None:
    """The browser's page, as each of the three web tasks serves it to itself."""
    wordpress.until_database_answers("wordpress_db")
    for task in wordpress.running("wordpress_web"):
        assert INSTALLATION in wordpress.vault("exec", task, "php", "-r", ASK_ITSELF).out
        assert wordpress.vault("exec", task, "cat", "/run/secrets/password").raw == b"123456789"


def test_the_browser_shows_wordpress_on_the_published_port(wordpress: Machine) -> None:
    def page() -> str:
        try:
            with urllib.request.urlopen("http://127.0.0.1/", timeout=20) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError) as error:
            return str(error)

    wordpress.until(lambda: INSTALLATION in page(), "the page is shown")


def test_the_database_is_updated_while_its_version_is_watched(wordpress: Machine) -> None:
    """`mysql --version` in a loop, and `docker service update wordpress_db --image mysql:5.7.27 …` beside it."""
    name = wordpress.name_of("wordpress_db")
    loop = 'sh -c "while true; do mysql --version && sleep 1; done"'
    with wordpress.terminal("exec", "-it", name, "bash") as shell:
        before = shell.type("mysql --version").splitlines()[0]
        assert re.match(r"mysql +Ver .*MariaDB", before)
        shell.type(loop, f"{re.escape(before)}\r\n")
        said = wordpress.vault(
            *("service", "update", "wordpress_db", "--image", "mysql:5.7.27"),
            *("--update-delay", "0s", "--update-parallelism", "1"),
        )
        lines = said.out.splitlines()
        assert lines[0] == "wordpress_db"
        assert "overall progress: 1 out of 1 tasks" in lines
        assert re.fullmatch(r"verify: Service (wordpress_db )?converged", lines[-1])
        assert shell.end() == 137  # Its container has ended.
    after = wordpress.name_of("wordpress_db")
    assert after != name
    assert after.startswith(f"wordpress_db.{node_id(wordpress)}.")
    with wordpress.terminal("exec", "-it", after, "bash") as shell:
        version = shell.type("mysql --version").splitlines()[0]
        assert re.match(r"mysql +Ver .*MariaDB", version)
        assert version != before
        shell.end("exit")
    wordpress.until_database_answers("wordpress_db")
    kept = wordpress.vault("exec", after, "mysql", "-uroot", "-p123456789", "-Ne", "show databases like 'word%'").out
    assert kept == "wordpress\n"


def test_several_services_are_updated_by_deploying_a_changed_file(wordpress: Machine) -> None:
    """The tutorial's last sentence: change the file, and `docker stack deploy` again."""
    file = wordpress.root / "docker-compose.yml"
    file.write_text(file.read_text().replace("mysql:5.7", "mysql:5.7.27").replace("replicas: 3", "replicas: 2"))
    said = wordpress.vault("stack", "deploy", "wordpress", "--compose-file", "docker-compose.yml")
    assert [line.partition(" (id: ")[0] for line in said.out.splitlines()] == [
        "Updating service wordpress_db",
        "Updating service wordpress_web",
    ]
    wordpress.until_running("wordpress_web", 2)
    wordpress.until(
        lambda: "mysql:5.7.27" in wordpress.vault("ps", "--format", "{{.Image}}").out.split(), "the database is new"
    )
    wordpress.until_database_answers("wordpress_db")


def test_a_deploy_says_nothing_beyond_what_docker_says(machine: Machine, password: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "docker-compose.yml", tmp_path)
    try:
        said = machine.vault("stack", "deploy", "wordpress", "--compose-file", "docker-compose.yml", cwd=tmp_path)
        assert said.out.splitlines() == CREATED
        assert said.err.splitlines() == ADVICE
    finally:
        machine.remove("wordpress")


def test_the_files_comment_can_be_taken_out_to_let_the_stack_make_its_secret(machine: Machine) -> None:
    """`secrets: password: file: ./db_root_password`."""
    (machine.root / "db_root_password").write_text("123456789")
    try:
        said = machine.deploy("docker-compose.file.yml")
        assert said.out.splitlines() == [CREATED[0], "Creating secret wordpress_password", *CREATED[1:]]
        task = machine.name_of("wordpress_db")
        assert machine.vault("exec", task, "cat", "/run/secrets/password").raw == b"123456789"
        assert machine.vault("secret", "ls", "--format", "{{.Name}}").out == "wordpress_password\n"
    finally:
        machine.remove("wordpress")
    assert machine.vault("secret", "ls", "-q").out == ""


def test_a_stack_whose_secret_is_missing_is_refused_before_anything_is_made(machine: Machine) -> None:
    shutil.copy(EXAMPLES / "docker-compose.yml", machine.root)
    said = machine.vault("stack", "deploy", "wordpress", "--compose-file", "docker-compose.yml", code=1)
    assert said.out == ""
    assert said.err.splitlines()[len(ADVICE) :] == ["service db: secret not found: password"]
    assert machine.vault("service", "ls", "-q").out + machine.vault("network", "ls", "-qf", "name=word").out == ""
    assert os.listdir(machine.data / "volumes") == []
