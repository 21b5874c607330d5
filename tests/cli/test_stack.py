"""`vault stack` prints and asks what `docker stack` does (transcript 05), and leaves the judging to the manager."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.cli.conftest import FakeDaemon, Vault
from vault.cli.stacks.shown import plan_text
from vault.model.container import ContainerSpec, HealthConfig
from vault.model.service import RestartPolicy, ServiceSpec, TaskSpec, UpdateConfig
from vault.stack.differences import differences

FILE = """
services:
  db:
    image: busybox
    secrets: [ext_root_pw, from_file]
    ports: ["80:80"]
    env_file: db.env
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
URL = "/vault/v1/stacks/demo"


def change(action: str, kind: str, name: str, *fields: tuple[str, str | None, str | None]) -> dict[str, Any]:
    told = [{"field": field, "old": old, "new": new} for field, old, new in fields]
    return {"action": action, "kind": kind, "name": name, "id": f"id-{name}", "fields": told}


CHANGES = [
    change("remove", "service", "demo_old"),
    change("create", "network", "demo_default"),
    change("create", "secret", "demo_from_file-1f0c9a7b3e"),
    change("update", "config", "demo_c", ("Labels.a", None, "b")),
    change("create", "service", "demo_db"),
    change("update", "service", "demo_web", ("Image", "nginx:1", "nginx:2"), ("Env.A", "", "x\x1b\n")),
    change("unchanged", "service", "demo_same"),
    change("remove", "secret", "demo_from_file"),
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stack.yml").write_text(FILE)
    (tmp_path / "wpsec.txt").write_text("wp-file-secret")
    (tmp_path / "db.env").write_text("A=from-file\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def swarm(daemon: FakeDaemon) -> FakeDaemon:
    """A manager that has done what `CHANGES` says."""
    daemon.on("GET", "/info", {"Swarm": {"ControlAvailable": True}})
    daemon.on("POST", URL, {"name": "demo", "revision": "12-aaaa", "dry_run": False, "changes": CHANGES})
    return daemon


@pytest.mark.parametrize(
    "words",
    [["-c", "stack.yml", "demo"], ["demo", "--compose-file", "stack.yml"], ["--compose-file=stack.yml", "-d", "demo"]],
)
def test_deploy_posts_the_stack_with_its_files_and_prints_what_docker_prints(
    swarm: FakeDaemon, vault: Vault, files: Path, words: list[str]
) -> None:
    result = vault("stack", "deploy", *words)
    assert result.out == (
        "Removing service demo_old\n"
        "Creating network demo_default\n"
        "Creating secret demo_from_file-1f0c9a7b3e\n"
        "Creating service demo_db\n"
        "Updating service demo_web (id: id-demo_web)\n"
        "Updating service demo_same (id: id-demo_same)\n"
        "Removing secret demo_from_file\n"
    )
    assert (result.code, result.err) == (0, "" if "-d" in words else NOTICE)
    (posted,) = swarm.asked("POST", URL)
    path = str(files / "wpsec.txt")
    assert posted.body["document"]["services"]["db"] == {
        "environment": {"A": "from-file"},
        "image": "busybox",
        "ports": [{"mode": "ingress", "target": 80, "published": 80, "protocol": "tcp"}],
        "secrets": [{"source": "ext_root_pw"}, {"source": "from_file"}],
    }
    assert posted.body["document"]["secrets"]["from_file"] == {"file": path}
    assert {name: base64.b64decode(data) for name, data in posted.body["files"].items()} == {path: b"wp-file-secret"}
    wishes = {key: posted.body[key] for key in posted.body.keys() - {"document", "files"}}
    assert wishes == {
        "base_revision": "",
        "dry_run": False,
        "prune": False,
        "resolve_image": "always",
        "rotate_changed": False,
    }


def test_wishes_are_passed_on(swarm: FakeDaemon, vault: Vault, files: Path) -> None:
    words = ("--prune", "--rotate-changed", "--resolve-image", "never", "--base-revision", "7-bbbb")
    vault("stack", "deploy", "-d", "-c", "stack.yml", *words, "demo")
    (posted,) = swarm.asked("POST", URL)
    assert [posted.body[key] for key in ("prune", "rotate_changed", "resolve_image", "base_revision")] == [
        *(True, True, "never", "7-bbbb")
    ]


def test_a_plan_is_printed_for_reading_and_says_that_nothing_was_changed(
    swarm: FakeDaemon, vault: Vault, files: Path
) -> None:
    result = vault("stack", "deploy", "--plan", "-c", "stack.yml", "demo")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "Stack demo (revision 12-aaaa):\n"
        "- remove service demo_old\n"
        "+ create network demo_default\n"
        "+ create secret demo_from_file-1f0c9a7b3e\n"
        "~ update config demo_c\n"
        "      Labels.a: (none) → b\n"
        "+ create service demo_db\n"
        "~ update service demo_web\n"
        "      Image: nginx:1 → nginx:2\n"
        '      Env.A: "" → x\\x1b\\n\n'
        "- remove secret demo_from_file\n"
        "3 to create, 2 to update, 2 to remove. Nothing was changed.\n"
    )
    assert swarm.asked("POST", URL)[0].body["dry_run"] is True


def test_a_plan_shows_every_duration_for_reading() -> None:
    second = 10**9
    every = UpdateConfig(delay=second, monitor=second, deadline=second)
    check = HealthConfig(interval=second, timeout=second, start_period=second, start_interval=second)
    container = ContainerSpec(image="i", stop_grace_period=second, healthcheck=check)
    task = TaskSpec(container_spec=container, restart_policy=RestartPolicy(delay=second, window=second))
    bare = ServiceSpec(name="web", task_template=TaskSpec(container_spec=ContainerSpec(image="i")))
    full = replace(bare, labels={"Delay": "7"}, task_template=task, update_config=every, rollback_config=every)
    fields = [msgspec.to_builtins(field) for field in differences(bare, full, {})]
    update = {"action": "update", "kind": "service", "name": "web", "fields": fields}
    told = plan_text({"name": "s", "revision": "1-a", "changes": [update]})
    assert "1000000000" not in told
    assert told.count("→ 1s\n") == 13
    assert "Labels.Delay: (none) → 7\n" in told


def test_a_plan_without_a_difference_says_so(swarm: FakeDaemon, vault: Vault, files: Path) -> None:
    same = [change("unchanged", "service", "demo_db")]
    swarm.on("POST", URL, {"name": "demo", "revision": "12-aaaa", "dry_run": True, "changes": same})
    result = vault("stack", "deploy", "--plan", "-c", "stack.yml", "demo")
    assert (result.code, result.out) == (0, "Nothing to do: stack demo is as the files say (revision 12-aaaa).\n")


def test_a_plan_as_json_is_the_managers_answer(swarm: FakeDaemon, vault: Vault, files: Path) -> None:
    result = vault("stack", "deploy", "--plan", "--format", "json", "-c", "stack.yml", "demo")
    assert json.loads(result.out)["changes"] == CHANGES
    refused = vault("stack", "deploy", "--format", "json", "-c", "stack.yml", "demo")
    assert (refused.code, refused.err) == (1, "--format says how to print a plan: add --plan\n")
    assert vault("stack", "deploy", "--plan", "--format", "table", "-c", "stack.yml", "demo").code == 125


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 501])
def test_what_the_manager_has_against_a_stack_is_said_in_its_words(
    swarm: FakeDaemon, vault: Vault, files: Path, status: int
) -> None:
    swarm.refuse("POST", URL, status, "service db: secret not found: ext_root_pw")
    result = vault("stack", "deploy", "-d", "-c", "stack.yml", "demo")
    assert (result.code, result.out, result.err) == (1, "", "service db: secret not found: ext_root_pw\n")


def test_what_is_wrong_with_the_manager_is_said_as_such(swarm: FakeDaemon, vault: Vault, files: Path) -> None:
    swarm.refuse("POST", URL, 503, "no leader")
    result = vault("stack", "deploy", "-d", "-c", "stack.yml", "demo")
    assert (result.code, result.err) == (1, "Error response from daemon: no leader\n")


def test_a_node_that_is_no_manager_is_asked_for_nothing_else(daemon: FakeDaemon, vault: Vault, files: Path) -> None:
    daemon.on("GET", "/info", {"Swarm": {"ControlAvailable": False}})
    result = vault("stack", "deploy", "-d", "-c", "stack.yml", "demo")
    assert (result.code, result.err.split(".")[0]) == (1, "this node is not a swarm manager")
    assert [request.method for request in daemon.requests] == ["GET"]


@pytest.mark.parametrize("name", [" ", "''", "a/b"])
def test_a_name_that_is_none_is_refused_here(swarm: FakeDaemon, vault: Vault, files: Path, name: str) -> None:
    result = vault("stack", "deploy", "-d", "-c", "stack.yml", name)
    assert (result.code, result.err) == (1, f'invalid stack name: "{name}"\n')


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [", "yaml: line 1: did not find expected node content\n"),
        ("", "top-level object must be a mapping\n"),
        (
            "services:\n  a:\n    image: busybox\n    bogus: 1\n",
            "services.a Additional property bogus is not allowed\n",
        ),
        ("services: {a: {}}", "invalid image reference for service a: no image specified\n"),
        (
            "services: {}\nsecrets: {s: {file: /no/such/file}}",
            "open /no/such/file: no such file or directory\n",
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
    for kind in ("services", "tasks"):
        daemon.on("GET", f"/{kind}", [])
    daemon.refuse("DELETE", "/vault/v1/stacks/nosuch", 404, "stack nosuch not found")
    results = [vault("stack", word, "nosuch") for word in ("ps", "services", "rm")]
    assert [(result.code, result.out, result.err) for result in results] == [
        (1, "", "nothing found in stack: nosuch\n"),
        (0, "", "Nothing found in stack: nosuch\n"),
        (0, "", "Nothing found in stack: nosuch\n"),
    ]


def test_rm_removes_a_stack_in_one_step_says_what_it_was_and_waits_for_tasks(daemon: FakeDaemon, vault: Vault) -> None:
    kinds = {"demo_db": "service", "demo_web": "service", "demo_from_file": "secret", "demo_default": "network"}
    changes = [{"action": "remove", "kind": kind, "name": name, "id": name} for name, kind in kinds.items()]
    daemon.on("DELETE", "/vault/v1/stacks/demo", {"name": "demo", "revision": "0", "changes": changes})
    daemon.on("GET", "/tasks", [{"ID": "t"}], [])
    result = vault("stack", "rm", "--detach=false", "demo")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "Removing service demo_db\n"
        "Removing service demo_web\n"
        "Removing secret demo_from_file\n"
        "Removing network demo_default\n"
    )
    assert len(daemon.asked("GET", "/tasks")) == 2


def test_rm_goes_on_after_a_stack_that_cannot_be_removed_and_fails_then(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.refuse("DELETE", "/vault/v1/stacks/used", 400, "secret used_x is in use by other")
    changes = [{"action": "remove", "kind": "secret", "name": "free_x", "id": "x"}]
    daemon.on("DELETE", "/vault/v1/stacks/free", {"name": "free", "revision": "0", "changes": changes})
    result = vault("stack", "rm", "used", "free")
    assert (result.code, result.out) == (1, "Removing secret free_x\n")
    assert result.err == "failed to remove stack used: secret used_x is in use by other\n"


@pytest.mark.parametrize("name", ["''", "a/b"])
def test_rm_refuses_a_name_that_no_stack_can_have(daemon: FakeDaemon, vault: Vault, name: str) -> None:
    result = vault("stack", "rm", "demo", name)
    assert (result.code, result.err) == (1, f'invalid stack name: "{name}"\n')
    assert daemon.requests == []
