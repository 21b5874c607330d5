"""`docker secret` against vaultd.  Texts: Docker 20.10.24 with the same commands."""

import json
from pathlib import Path

import pytest

from tests.docker.client import Docker, shape

pytestmark = pytest.mark.machine

REFUSED = "Error response from daemon: rpc error: code = InvalidArgument desc = "
BAD_NAME = (
    f"{REFUSED}invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, "
    "and the start and end character must be [a-zA-Z0-9]"
)
TOO_LARGE = f"{REFUSED}secret data must be larger than 0 and less than 512000 bytes"
LISTED = """\
ID  NAME  DRIVER  CREATED  UPDATED
ID  my_file_secret  AGO  AGO
ID  my_secret_data  AGO  AGO"""
INSPECTED = """\
[
  {
  "ID": "ID",
  "Version": {
  "Index": N
  },
  "CreatedAt": "TIME",
  "UpdatedAt": "TIME",
  "Spec": {
  "Name": "my_secret_data",
  "Labels": {}
  }
  }
]"""
PRETTY = """\
ID:  ID
Name:  my_file_secret
Labels:
 - env=dev
Driver:
Created at:  TIME
Updated at:  TIME"""


@pytest.fixture
def two(docker: Docker) -> Docker:
    """The tutorial's way from standard input, and from a file with a label."""
    (docker.home / "pw.txt").write_bytes(b"s3cr3t-file\n")
    assert shape(docker("secret", "create", "my_secret_data", "-", stdin=b"This is a secret")) == "ID"
    assert shape(docker("secret", "create", "-l", "env=dev", "my_file_secret", "pw.txt")) == "ID"
    return docker


def test_secrets_are_listed_with_filters_and_formats(two: Docker) -> None:
    assert shape(two("secret", "ls")) == LISTED
    assert two("secret", "ls", "--filter", "name=my_f", "--format", "{{.Name}}") == "my_file_secret"
    assert two("secret", "ls", "--filter", "label=env=dev", "-q") == two("secret", "ls", "--filter", "label=env", "-q")
    assert two("secret", "ls", "--filter", "label=env=prod", "-q") == ""
    assert two("secret", "ls", "--format", "{{.Name}}:{{.Labels}}:{{.Driver}}").splitlines() == [
        "my_file_secret:env=dev:",
        "my_secret_data::",
    ]
    rows = [json.loads(row) for row in two("secret", "ls", "--format", "{{json .}}").splitlines()]
    assert [row["Name"] for row in rows] == ["my_file_secret", "my_secret_data"]
    assert shape(two("secret", "ls", "--filter", "name=nomatch")) == LISTED.splitlines()[0]
    assert two.refuses("secret", "ls", "--filter", "bogus=1") == "Error response from daemon: Invalid filter 'bogus'"


def test_a_secret_is_inspected_by_name_id_and_prefix_and_never_with_its_value(two: Docker) -> None:
    assert shape(two("secret", "inspect", "my_secret_data")) == INSPECTED
    assert shape(two("secret", "inspect", "--pretty", "my_file_secret")) == PRETTY
    secret_id = two("secret", "ls", "-q", "--filter", "name=my_file")
    for reference in (secret_id, secret_id[:8], "my_file_secret"):
        assert two("secret", "inspect", "--format", "{{.Spec.Name}}", reference) == "my_file_secret"
    both = two.run("secret", "inspect", "my_secret_data", "nosuch")
    assert both.code == 1
    assert [one["Spec"]["Name"] for one in json.loads(both.out)] == ["my_secret_data"]
    assert "nosuch" in both.err


def test_rm_removes_what_is_there_and_reports_what_is_not(two: Docker) -> None:
    said = two.run("secret", "rm", "nosuch", "my_secret_data", "nosuch2")
    assert (said.code, said.out) == (1, "my_secret_data\n")
    assert said.warned.splitlines() == [two.no_such("secret", "nosuch"), two.no_such("secret", "nosuch2")]
    assert two("secret", "rm", two("secret", "ls", "-q"))
    assert two("secret", "ls", "-q") == ""


def test_a_name_is_taken_whatever_its_case(two: Docker) -> None:
    assert two.refuses("secret", "create", "MY_secret_DATA", "-", stdin=b"x") == (
        "Error response from daemon: rpc error: code = AlreadyExists desc = secret MY_secret_DATA already exists"
    )


@pytest.mark.parametrize("name", ["bad name", "bad/name", "-bad", ".bad", "bad!", "bad_", "_ok", "n" * 65])
def test_a_bad_name_is_refused(docker: Docker, name: str) -> None:
    assert docker.refuses("secret", "create", "--", name, "-", stdin=b"x") == BAD_NAME


def test_the_size_of_a_secret_is_bounded_on_both_sides(docker: Docker) -> None:
    empty = TOO_LARGE if docker.is_old else "error reading from STDIN: data is empty"
    assert docker.refuses("secret", "create", "e", "-") == empty
    assert docker.refuses("secret", "create", "b", "-", stdin=b"x" * 512_000) == TOO_LARGE
    docker("secret", "create", "largest", "-", stdin=b"x" * 511_999)


def test_drivers_are_refused_and_templates_taken(docker: Docker) -> None:
    assert docker.refuses("secret", "create", "-d", "bogus", "drv") == (
        'Error response from daemon: plugin "bogus" not found: the manager that leads has no such socket or spec '
        "in /run/docker/plugins, /etc/docker/plugins, /usr/lib/docker/plugins"
    )
    docker("secret", "create", "--template-driver", "golang", "tmpl", "-", stdin=b"{{.Node.Hostname}}")
    assert docker("secret", "inspect", "--format", "{{.Spec.Templating.Name}}", "tmpl") == "golang"


def test_the_bytes_of_a_secret_reach_the_task_as_they_are(docker: Docker, tmp_path: Path) -> None:
    value = bytes(range(256)) + b"\r\n\n"
    (tmp_path / "value").write_bytes(value)
    docker("secret", "create", "raw", "value", cwd=tmp_path)
    create = ("service", "create", "-q", "--detach", "--stop-signal", "KILL")
    docker(*create, "--name", "holder", "--secret", "raw", "busybox", "sleep", "1000")
    docker.node.until_running("holder", 1)
    (task,) = docker.node.running("holder")
    assert docker.node.vault("exec", task, "cat", "/run/secrets/raw").raw == value


def test_a_secret_in_use_cannot_be_removed(docker: Docker) -> None:
    docker("secret", "create", "used", "-", stdin=b"x")
    create = ("service", "create", "-q", "--detach", "--replicas", "0", "--secret", "used")
    docker(*create, "--name", "one", "busybox")
    assert docker.refuses("secret", "rm", "used") == f"{REFUSED}secret 'used' is in use by the following service: one"
    docker(*create, "--name", "two", "busybox")
    assert docker.refuses("secret", "rm", "used") == (
        f"{REFUSED}secret 'used' is in use by the following services: one, two"
    )
    docker("service", "rm", "one", "two")
    assert docker("secret", "rm", "used") == "used"
