"""A secret whose value a plugin of Docker's kind gives, on a real vaultd."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.node import WAITS_FOR_TERM, Node
from tests.plugins.plugin import Plugin, plugin, value

pytestmark = pytest.mark.machine
NAME = f"vault-test-{os.getpid()}"
PLUGINS = Path("/run/docker/plugins")


@pytest.fixture
def safe() -> Iterator[Plugin]:
    """A plugin where Docker looks for one; it knows the secret whose path is `db`."""

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        if question["SecretLabels"]["path"] != "db":
            return {"Err": f"nothing at {question['SecretLabels']['path']}"}
        return value(f"canary of {question['TaskID']}".encode())

    PLUGINS.mkdir(parents=True, exist_ok=True)
    with plugin(answer, socket=PLUGINS / f"{NAME}.sock") as made:
        yield made


def test_a_plugin_gives_each_task_its_value_and_what_it_says_instead_is_shown(node: Node, safe: Plugin) -> None:
    assert 'plugin "none" not found' in node.vault("secret", "create", "-d", "none", "driven", code=1).err
    node.vault("secret", "create", "-d", NAME, "-l", "path=db", "driven")
    node.vault("secret", "create", "-d", NAME, "-l", "path=elsewhere", "missing")
    create = ("service", "create", "-d", "--restart-condition", "none", "--secret")
    node.vault(*create, "driven", "--replicas", "2", "--name", "fed", "busybox", *WAITS_FOR_TERM)
    node.vault(*create, "missing", "--name", "unfed", "busybox", *WAITS_FOR_TERM)
    node.until_running("fed", 2)
    tasks = set()
    for name in node.vault("ps", "--no-trunc", "--format", "{{.Names}}", "--filter", "name=fed").out.split():
        task = name.rpartition(".")[2]
        assert node.vault("exec", name, "cat", "/run/secrets/driven").out == f"canary of {task}"
        tasks.add(task)
    assert len(tasks) == 2
    shown = ("service", "ps", "--no-trunc", "--format", "{{.CurrentState}}|{{.Error}}", "unfed")
    why = f'"failed to get secret missing from driver {NAME}: nothing at elsewhere"'
    node.until(lambda: node.vault(*shown).out.endswith(f"|{why}\n"), "its task says why it was rejected")
    assert node.vault(*shown).out.startswith("Rejected ")
    (asked, *_) = [question for path, question in safe.asked if question.get("SecretName") == "driven"]
    assert asked["ServiceName"] == "fed"
    assert {q["TaskID"] for _, q in safe.asked if q.get("SecretName") == "driven"} == tasks, "none was asked for twice"
    holders = [path for path in node.data.rglob("*") if path.is_file() and b"canary of" in path.read_bytes()]
    assert holders == []
    node.vault("service", "rm", "fed", "unfed")
    node.until(lambda: not node.running("fed"), "its containers go")
    node.vault("secret", "rm", "driven", "missing")
