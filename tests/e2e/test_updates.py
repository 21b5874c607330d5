"""What a deploy and an update come to on a real node, and that the exit code says so."""

import re
from pathlib import Path

import pytest

from tests.e2e.node import Node

pytestmark = pytest.mark.machine

STACK = """\
services:
  web:
    image: busybox
    command: [{command}]
    stop_grace_period: 0s
    x-update-deadline: {deadline}
    deploy:
      update_config: {{monitor: 100ms, order: start-first, failure_action: {action}}}
      rollback_config: {{monitor: 100ms}}
      placement: {{constraints: [{constraint}]}}
"""
GOOD = {"command": "sleep, '1000000'", "deadline": "60s", "action": "rollback", "constraint": "node.role == manager"}


def test_a_deploy_ends_with_what_became_of_its_update(node: Node, tmp_path: Path) -> None:
    def deploy(code: int, **changes: str) -> str:
        (tmp_path / "s.yml").write_text(STACK.format(**GOOD | changes))
        words = ("stack", "deploy", "--detach=false", "-q", "-c", "s.yml", "up")
        return re.sub(r"[0-9a-z]{25}", "ID", node.vault(*words, code=code, cwd=tmp_path).err).strip()

    assert deploy(0) == ""
    (old,) = node.running("up_web")
    advice = "the former spec is in force again: mend the cause, then update the service again"
    failed = deploy(1, command="/nosuch")
    reason = "update rolled back due to failure or early termination of task ID"
    assert re.fullmatch(rf"up_web: service update rolled back: {reason} \(.*/nosuch.*\): {advice}", failed)
    late = (
        "because it was not completed within 300ms: up_web.1 is pending (no suitable node (scheduling constraints not "
    )
    late += "satisfied on 1 node))"
    nowhere = {"constraint": "node.role == worker", "deadline": "300ms"}
    assert deploy(1, **nowhere) == f"up_web: service update rolled back: update rolled back {late}: {advice}"
    assert node.running("up_web") == [old]
    assert deploy(1, **nowhere, action="pause") == (
        f"up_web: service update paused: update paused {late}: see `vault service ps up_web`, "
        "then update the service again or take it back with `vault service rollback up_web`"
    )
    assert node.running("up_web") == [old]
    assert deploy(0) == "", "what was there before is there again, at once"
    assert node.running("up_web") == [old]
    node.vault("stack", "rm", "--detach=false", "up")
