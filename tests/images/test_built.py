"""The images of `deploy/images`, run for real: a database takes its password from a file and gives it away nowhere."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.images.chroots import Box, box
from vault.agent.images.image import Image
from vault.agent.images.store import ImageStore

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]

BUILT = Path(__file__).parents[2] / ".cache" / "images"
ODD = r"""a'b"c\d%s $HOME `id` é-*;#--x"""
FILE = "/run/secrets/password"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Image]]:
    place = tmp_path_factory.mktemp("store")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        store = ImageStore(place / "images")
        for archive in sorted(BUILT.glob("*.tar")):
            asyncio.run(store.load(archive))

        def find(name: str) -> Image:
            image = store.find(name)
            assert image is not None, f"{name} is not built: run `make images`"
            return image

        yield find
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def boxes(images: Callable[[str], Image], tmp_path: Path) -> Iterator[Callable[..., Box]]:
    """Make boxes: each of an image, with a secret, and perhaps a data directory."""
    with ExitStack() as stack:

        def make(name: str, *, secret: str | None = None, data: Path | None = None) -> Box:
            scratch = tmp_path / f"box{len(list(tmp_path.iterdir()))}"
            volumes = [("var/lib/mysql", data)] if data else []
            made = stack.enter_context(box(images(name), scratch, data=volumes))
            if secret is not None:
                (made.root / "run/secrets").mkdir(parents=True)
                (made.root / "run/secrets/password").write_text(secret)
            return made

        yield make


def sql(made: Box, password: str, statement: str, *where: str) -> str:
    """Run a statement as root; return what it printed, or "refused"."""
    command = ["mysql", "-uroot", *where, "--batch", "--skip-column-names", "-e", statement]
    done = made.execute(*command, env={"MYSQL_PWD": password} if password else {})
    return done.stdout.strip() if done.returncode == 0 else "refused"


def started(made: Box, password: str, **env: str) -> Box:
    """Start a database and wait until it lets root in."""
    made.start("docker-entrypoint.sh", "mysqld", env=env)
    made.wait_until(lambda: "ready for connections" in made.log and sql(made, password, "select 1") == "1")
    return made


@pytest.mark.parametrize("ending", ["", "\n"])
def test_root_logs_in_with_the_password_from_the_file_and_nobody_without_it(
    boxes: Callable[..., Box], ending: str
) -> None:
    made = boxes("mysql:5.7", secret=ODD + ending)
    started(made, ODD, MYSQL_ROOT_PASSWORD_FILE=FILE, MYSQL_DATABASE="wordpress")
    assert "wordpress" in sql(made, ODD, "show databases").split()
    assert sql(made, ODD, "select current_user()", "-h127.0.0.1") == "root@%"
    assert sql(made, ODD, "select current_user()") == "root@localhost"
    for wrong in ("", "x", ODD[:-1], ODD + "\n"):
        assert sql(made, wrong, "select 1") == "refused"
        assert sql(made, wrong, "select 1", "-h127.0.0.1") == "refused"
    accounts = sql(made, ODD, "select concat(user, '@', host) from mysql.user").split()
    assert sorted(accounts) == ["mariadb.sys@localhost", "root@%", "root@localhost"]
    assert made.stop() == 0


def test_the_password_is_in_no_log_no_argument_no_environment_and_no_file(boxes: Callable[..., Box]) -> None:
    canary = "Canary-7f3a9c'\\d41e-" + "q" * 20
    made = boxes("mysql:5.7", secret=canary)
    started(made, canary, MYSQL_ROOT_PASSWORD_FILE=FILE, MYSQL_DATABASE="wordpress")
    (made.root / "run/secrets/password").unlink()
    assert made.stop() == 0
    pieces = [canary[at : at + 6].encode() for at in range(len(canary) - 24)]
    written = [path for path in (made.root.parent / "upper").rglob("*") if path.is_file() and not path.is_symlink()]
    assert written
    assert not [path for path in written if canary.encode() in path.read_bytes()]
    assert not any(piece in made.log.encode() for piece in pieces)


def test_a_password_from_the_environment_is_not_passed_on_to_the_server(boxes: Callable[..., Box]) -> None:
    made = started(boxes("mysql:5.7"), "canary-31", MYSQL_ROOT_PASSWORD="canary-31", MYSQL_DATABASE="d")
    for name in ("environ", "cmdline"):
        assert b"canary-31" not in Path(f"/proc/{made.pid}/{name}").read_bytes()
    assert "canary-31" not in made.log
    made.stop()


def test_names_with_quotes_and_backticks_are_names_and_nothing_else(boxes: Callable[..., Box]) -> None:
    made = boxes("mysql:5.7", secret="pw")
    env = {"MYSQL_DATABASE": "wo`rd; drop database mysql;-- 'x'", "MYSQL_USER": "o'hara\\", "MYSQL_PASSWORD": "p\"'w"}
    started(made, "pw", MYSQL_ROOT_PASSWORD_FILE=FILE, **env)
    assert env["MYSQL_DATABASE"] in sql(made, "pw", "show databases").splitlines()
    login = ["mysql", f"-u{env['MYSQL_USER']}", env["MYSQL_DATABASE"], "-e", "create table t (a int)"]
    assert made.execute(*login, env={"MYSQL_PWD": env["MYSQL_PASSWORD"]}).returncode == 0
    made.stop()


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "Database is uninitialized and password option is not specified"),
        ({"MYSQL_ROOT_PASSWORD": "x", "MYSQL_ROOT_PASSWORD_FILE": FILE}, "are set (but are exclusive)"),
        ({"MYSQL_ROOT_PASSWORD_FILE": "/run/secrets/none"}, "names a file that cannot be read: /run/secrets/none"),
        ({"MYSQL_ROOT_PASSWORD": "x", "MYSQL_USER": "u"}, "MYSQL_USER is set, but not MYSQL_PASSWORD"),
        ({"MYSQL_ROOT_PASSWORD": "x", "MYSQL_DATABASE": "a\nb"}, "MYSQL_DATABASE must not contain a newline"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    boxes: Callable[..., Box], env: dict[str, str], words: str
) -> None:
    made = boxes("mysql:5.7", secret="pw")
    assert made.run("docker-entrypoint.sh", "mysqld", env=env) == 1
    assert words in made.log
    assert not list((made.root / "var/lib/mysql").iterdir())


def test_a_first_start_that_was_cut_short_is_begun_again(boxes: Callable[..., Box]) -> None:
    made = boxes("mysql:5.7", secret="pw")
    data = made.root / "var/lib/mysql"
    made.start("docker-entrypoint.sh", "mysqld", env={"MYSQL_ROOT_PASSWORD_FILE": FILE})
    made.wait_until(lambda: (data / "ibdata1").exists())
    made.end()
    assert (data / ".first-start-unfinished").exists()
    started(made, "pw", MYSQL_ROOT_PASSWORD_FILE=FILE)
    assert "beginning again" in made.log
    assert sql(made, "", "select 1") == "refused"
    made.stop()


def test_the_update_of_the_tutorial_changes_the_version_and_keeps_the_data(
    boxes: Callable[..., Box], tmp_path: Path
) -> None:
    data = tmp_path / "volume"
    data.mkdir()
    versions = []
    for name, statement in (("mysql:5.7", "create database kept"), ("mysql:5.7.27", "use kept")):
        made = started(boxes(name, secret="pw", data=data), "pw", MYSQL_ROOT_PASSWORD_FILE=FILE)
        assert sql(made, "pw", statement) == ""
        versions.append(made.execute("mysql", "--version").stdout)
        assert made.stop() == 0
    assert all(re.search(r"Distrib 1\d+\.\d+\.\d+-MariaDB", version) for version in versions)
    assert versions[0] != versions[1]


def test_any_other_command_runs_as_it_is(boxes: Callable[..., Box]) -> None:
    made = boxes("mysql:5.7")
    assert made.run("docker-entrypoint.sh", "bash", "-c", "echo hello; exit 7") == 7
    assert made.log == "hello\n"


def test_busybox_has_its_applets_as_names_of_one_file(
    boxes: Callable[..., Box], images: Callable[[str], Image]
) -> None:
    (layer,) = images("busybox:latest").layers
    assert (layer / "bin/busybox").stat().st_nlink > 200
    made = boxes("busybox:latest")
    assert made.run("sh", "-c", "echo 3 1 2 | tr ' ' '\\n' | sort | awk '{s=s $1} END {print s}'; id -un; cd") == 0
    assert made.log == "123\nroot\n"


PAGE = """
$context = stream_context_create(['http' => ['ignore_errors' => 1, 'timeout' => 30] + %s]);
echo @file_get_contents('http://127.0.0.1%s', false, $context);
"""
INSTALL = """['method' => 'POST', 'header' => 'Content-Type: application/x-www-form-urlencoded', 'content' =>
'weblog_title=Hello&user_name=admin&admin_password=pw&admin_password2=pw&pw_weak=1&admin_email=a@example.org']"""


def page(made: Box, path: str, how: str = "[]") -> str:
    """Fetch a page of the server in a box."""
    return made.execute("php", "-r", PAGE % (how, path)).stdout


def test_wordpress_shows_its_page_with_the_password_from_the_file(boxes: Callable[..., Box]) -> None:
    """In one network namespace with the database, since tasks are not connected yet; the body counts."""
    database = started(boxes("mysql:5.7", secret=ODD), ODD, MYSQL_ROOT_PASSWORD_FILE=FILE, MYSQL_DATABASE="wordpress")
    made = boxes("wordpress:latest", secret=ODD)
    env = {"WORDPRESS_DB_HOST": "127.0.0.1:3306", "WORDPRESS_DB_PASSWORD_FILE": FILE, "PHP_CLI_SERVER_WORKERS": "3"}
    made.start("docker-entrypoint.sh", "php-server", env=env, beside=database)
    made.wait_until(lambda: "WordPress" in page(made, "/wp-admin/install.php"))
    assert "Success!" in page(made, "/wp-admin/install.php?step=2", INSTALL)
    front = page(made, "/")
    assert "<title>Hello" in front
    assert len(front) > 20_000
    assert made.stop() == 0
    assert database.stop() == 0
    assert ODD not in made.log


def test_wordpress_says_so_while_there_is_no_database(boxes: Callable[..., Box]) -> None:
    made = boxes("wordpress:latest")
    env = {"WORDPRESS_DB_HOST": "127.0.0.1", "WORDPRESS_DB_PASSWORD": "x"}
    made.start("docker-entrypoint.sh", "php-server", env=env)
    made.wait_until(lambda: "Error establishing a database connection" in page(made, "/"))
    assert made.stop() == 0
