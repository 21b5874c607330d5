"""The ways to name stack files: after the stack's name, from standard input, several at once; and `stack config`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tutorial.machine import Machine

pytestmark = pytest.mark.machine

BASE = """\
version: "3.8"
services:
  a:
    image: busybox:${TAG:-latest}
    command: sh -c "trap 'exit 0' TERM; sleep 1000000 & wait"
    environment: {FROM: base, KEPT: "yes"}
    secrets: [token]
    deploy: {replicas: 1, labels: {one: base, two: base}}
secrets:
  token: {file: ./token.txt}
"""
OVER = """\
version: "3.8"
services:
  a:
    environment: {FROM: over}
    deploy: {replicas: 2, labels: {two: over}}
  b:
    image: busybox
    command: sh -c "trap 'exit 0' TERM; sleep 1000000 & wait"
    depends_on: [a]
"""
# Recorded from `docker stack config` 28.2.2 for stack files like these; DIR is where they lay.
MERGED = """\
version: "3.8"
services:
  a:
    command:
      - sh
      - -c
      - trap 'exit 0' TERM; sleep 1000000 & wait
    deploy:
      replicas: 2
      labels:
        one: base
        two: over
    environment:
      FROM: over
      KEPT: "yes"
    image: busybox:latest
    secrets:
      - source: token
  b:
    command:
      - sh
      - -c
      - trap 'exit 0' TERM; sleep 1000000 & wait
    depends_on:
      - a
    image: busybox
secrets:
  token:
    file: DIR/token.txt
"""


@pytest.fixture
def files(machine: Machine, tmp_path: Path) -> Iterator[Path]:
    """A directory with two stack files and a secret's; a stack called forms is removed afterwards."""
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "over.yml").write_text(OVER)
    (tmp_path / "token.txt").write_bytes(b"token\n")
    yield tmp_path
    machine.remove("forms")


def spec(machine: Machine, service: str) -> dict[str, object]:
    """Return what was deployed: replicas, labels, environment."""
    (shown,) = json.loads(machine.vault("service", "inspect", service).out)
    labels = {key: value for key, value in shown["Spec"]["Labels"].items() if not key.startswith("com.docker")}
    return {
        "replicas": shown["Spec"]["Mode"]["Replicated"]["Replicas"],
        "labels": labels,
        "env": shown["Spec"]["TaskTemplate"]["ContainerSpec"].get("Env", []),
    }


@pytest.mark.parametrize(
    "words",
    [
        ("forms", "--compose-file", "base.yml"),
        ("forms", "-c", "base.yml"),
        ("-c", "base.yml", "forms"),
        ("--compose-file=base.yml", "forms"),
        ("-cbase.yml", "forms"),
    ],
)
def test_the_file_is_named_before_or_after_the_stack(machine: Machine, files: Path, words: tuple[str, ...]) -> None:
    said = machine.vault("stack", "deploy", "--detach", *words, cwd=files)
    created = ["Creating network forms_default", "Creating secret forms_token", "Creating service forms_a"]
    assert said.out.splitlines() == created
    assert spec(machine, "forms_a") == {
        "replicas": 1,
        "labels": {"one": "base", "two": "base"},
        "env": ["FROM=base", "KEPT=yes"],
    }


def test_a_file_from_standard_input_finds_its_secrets_where_the_command_runs(machine: Machine, files: Path) -> None:
    said = machine.vault("stack", "deploy", "--detach=false", "-c", "-", "forms", stdin=BASE.encode(), cwd=files)
    assert "Creating secret forms_token" in said.out
    assert "overall progress: 1 out of 1 tasks" in said.out
    assert machine.vault("exec", machine.name_of("forms_a"), "cat", "/run/secrets/token").raw == b"token\n"


@pytest.mark.parametrize(
    "words", [("-c", "base.yml", "-c", "over.yml"), ("-c", "base.yml,over.yml"), ("-c", "base.yml", "-c", "-")]
)
def test_of_several_files_the_later_wins(machine: Machine, files: Path, words: tuple[str, ...]) -> None:
    said = machine.vault("stack", "deploy", "--detach", *words, "forms", stdin=OVER.encode(), cwd=files)
    assert said.out.splitlines()[2:] == ["Creating service forms_a", "Creating service forms_b"]
    assert spec(machine, "forms_a") == {
        "replicas": 2,
        "labels": {"one": "base", "two": "over"},
        "env": ["FROM=over", "KEPT=yes"],
    }


def test_variables_of_the_environment_are_filled_in(machine: Machine, files: Path) -> None:
    words = ("stack", "config", "-c", "base.yml")
    assert "image: busybox:latest" in machine.vault(*words, cwd=files).out
    assert "image: busybox:1.35" in machine.vault(*words, cwd=files, env={"TAG": "1.35"}).out
    assert "image: busybox:${TAG:-latest}" in machine.vault(*words, "--skip-interpolation", cwd=files).out


@pytest.mark.parametrize(
    "words", [("-c", "base.yml", "-c", "over.yml"), ("-c", "base.yml,over.yml"), ("-c", "base.yml", "-c", "-")]
)
def test_config_shows_what_would_be_deployed(machine: Machine, files: Path, words: tuple[str, ...]) -> None:
    said = machine.vault("stack", "config", *words, stdin=OVER.encode(), cwd=files)
    assert said.out == MERGED.replace("DIR", str(files))
    assert machine.vault("service", "ls", "-q").out == ""


def test_what_config_shows_can_be_deployed(machine: Machine, files: Path) -> None:
    shown = machine.vault("stack", "config", "-c", "base.yml", "-c", "over.yml", cwd=files)
    machine.vault("stack", "deploy", "--detach", "-c", "-", "forms", stdin=shown.raw)
    machine.until_running("forms_a", 2)
    again = machine.vault("stack", "deploy", "--detach", "-c", "base.yml", "-c", "over.yml", "forms", cwd=files)
    assert [line.partition(" (id")[0] for line in again.out.splitlines()] == [
        "Updating service forms_a",
        "Updating service forms_b",
    ]
    assert machine.vault("service", "ps", "-q", "forms_a").out.count("\n") == 2  # Nothing changed: no task is new.


def test_without_a_file_or_with_two_that_disagree_nothing_is_deployed(machine: Machine, files: Path) -> None:
    assert "compose" in machine.vault("stack", "deploy", "forms", code=1).err.lower()
    (files / "old.yml").write_text('version: "3.7"\nservices: {}\n')
    said = machine.vault("stack", "deploy", "-c", "base.yml", "-c", "old.yml", "forms", cwd=files, code=1)
    assert "version mismatched between two composefiles : 3.8 and 3.7" in said.err
    assert machine.vault("network", "ls", "-q", "--filter", "name=forms").out == ""
