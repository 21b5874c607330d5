"""`vault stack` prints and asks what `docker stack` does (transcript 05), and makes nothing before all is checked."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import FakeDaemon, Request, Vault

FILE = """
services:
  db:
    image: busybox
    secrets: [ext_root_pw, from_file]
    ports: ["80:80"]
secrets:
  ext_root_pw:
    external: true
  from_file:
    file: ./wpsec.txt
"""
NOTICE = (
    "Since --detach=false was not specified, tasks will be created in the background.\n"
    "In a future release, --detach=false will become the default.\n"
)


def secret(name: str, identifier: str) -> dict[str, Any]:
    time = "2026-11-22T20:18:24.093809042Z"
    return {
        "ID": identifier,
        "Version": {"Index": 7},
        "CreatedAt": time,
        "UpdatedAt": time,
        "Spec": {"Name": name, "Labels": {}},
    }


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stack.yml").write_text(FILE)
    (tmp_path / "wpsec.txt").write_text("wp-file-secret")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def swarm(daemon: FakeDaemon) -> FakeDaemon:
    """A swarm with one secret and nothing else."""
    daemon.on("GET", "/info", {"Swarm": {"ControlAvailable": True}})
    for kind in ("networks", "services", "configs"):
        daemon.on("GET", f"/{kind}", [])
    daemon.on("GET", "/secrets", [secret("ext_root_pw", "tyj2nealih7jx5zep3vv1ypfh")])
    daemon.on("POST", "/networks/create", {"Id": "net1"}, status=201)
    daemon.on("POST", "/secrets/create", {"ID": "sec1"}, status=201)
    warnings = ["something that a manager has to say"]
    daemon.on("POST", "/services/create", {"ID": "svc1", "Warnings": warnings}, status=201)
    return daemon


@pytest.mark.parametrize(
    "words",
    [["-c", "stack.yml", "demo"], ["demo", "--compose-file", "stack.yml"], ["--compose-file=stack.yml", "-d", "demo"]],
)
def test_deploy_makes_networks_then_secrets_then_services(
    swarm: FakeDaemon, vault: Vault, files: Path, words: list[str]
) -> None:
    result = vault("stack", "deploy", *words)
    assert result.out == "Creating network demo_default\nCreating secret demo_from_file\nCreating service demo_db\n"
    assert result.code == 0
    assert result.err == ("" if "-d" in words else NOTICE) + "service demo_db: something that a manager has to say\n"
    (made,) = swarm.asked("POST", "/secrets/create")
    assert base64.b64decode(made.body["Data"]) == b"wp-file-secret"
    (service,) = swarm.asked("POST", "/services/create")
    references = service.body["TaskTemplate"]["ContainerSpec"]["Secrets"]
    assert {reference["SecretID"] for reference in references} == {"tyj2nealih7jx5zep3vv1ypfh", "sec1"}


def test_a_missing_external_secret_is_noticed_before_anything_is_made(
    swarm: FakeDaemon, vault: Vault, files: Path
) -> None:
    swarm.on("GET", "/secrets", [])
    result = vault("stack", "deploy", "-d", "-c", "stack.yml", "bad")
    assert (result.code, result.out, result.err) == (1, "", "service db: secret not found: ext_root_pw\n")
    assert not [request for request in swarm.requests if request.method == "POST"]


def test_a_changed_file_secret_names_the_secret(swarm: FakeDaemon, vault: Vault, files: Path) -> None:
    swarm.on("GET", "/secrets", [secret("ext_root_pw", "e"), secret("demo_from_file", "f")])
    refusal = "rpc error: code = InvalidArgument desc = only updates to Labels are allowed"
    swarm.refuse("POST", "/secrets/f/update", 400, refusal)
    result = vault("stack", "deploy", "-d", "-c", "stack.yml", "demo")
    assert result.code == 1
    assert result.err == f"failed to update secret demo_from_file: Error response from daemon: {refusal}\n"
    assert swarm.asked("POST", "/secrets/f/update")[0].query == {"version": "7"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [", "yaml: line 1: did not find expected node content\n"),
        ("", "top-level object must be a mapping\n"),
        (
            "services:\n  a:\n    image: busybox\n    bogus: 1\n",
            "services.a Additional property bogus is not allowed\n",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence(daemon: FakeDaemon, vault: Vault, files: Path, text: str, error: str) -> None:
    (files / "stack.yml").write_text(text)
    result = vault("stack", "deploy", "-d", "-c", "stack.yml", "x")
    assert (result.code, result.out, result.err) == (1, "", error)
    assert daemon.requests == []


def test_ls_counts_services_by_stack(daemon: FakeDaemon, vault: Vault) -> None:
    def service(stack: str) -> dict[str, Any]:
        return {"Spec": {"Labels": {"com.docker.stack.namespace": stack}}}

    daemon.on("GET", "/services", [service("demo"), service("wp"), service("demo")])
    assert vault("stack", "ls").out == "NAME      SERVICES\ndemo      2\nwp        1\n"
    assert vault("stack", "ls", "--format", "json").out.splitlines()[0] == '{"Name":"demo","Services":"2"}'


def test_nothing_found_is_said_as_docker_says_it(daemon: FakeDaemon, vault: Vault) -> None:
    for kind in ("services", "secrets", "configs", "networks", "tasks"):
        daemon.on("GET", f"/{kind}", [])
    results = [vault("stack", word, "nosuch") for word in ("ps", "services", "rm")]
    assert [(result.code, result.out, result.err) for result in results] == [
        (1, "", "nothing found in stack: nosuch\n"),
        (0, "", "Nothing found in stack: nosuch\n"),
        (0, "", "Nothing found in stack: nosuch\n"),
    ]


def test_rm_removes_services_first_and_networks_last_and_waits_for_tasks(daemon: FakeDaemon, vault: Vault) -> None:
    def named(*names: str) -> Any:
        def found(request: Request) -> list[dict[str, Any]]:
            assert request.filters == {"label": ["com.docker.stack.namespace=demo"]}
            return [{"ID": f"id-{name}", "Spec": {"Name": name}} for name in names]

        return found

    daemon.on("GET", "/services", named("demo_web", "demo_db"))
    daemon.on("GET", "/secrets", named("demo_from_file"))
    daemon.on("GET", "/configs", named())
    daemon.on("GET", "/networks", [{"Name": "demo_default", "Id": "net"}])
    daemon.on("GET", "/tasks", [{"ID": "t"}], [])
    for path in ("/services/id-demo_db", "/services/id-demo_web", "/secrets/id-demo_from_file", "/networks/net"):
        daemon.on("DELETE", path, None)
    result = vault("stack", "rm", "--detach=false", "demo")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "Removing service demo_db\n"
        "Removing service demo_web\n"
        "Removing secret demo_from_file\n"
        "Removing network demo_default\n"
    )
    assert len(daemon.asked("GET", "/tasks")) == 2
