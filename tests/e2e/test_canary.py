"""No byte of a secret is left anywhere but in the store, sealed, and in the memory of tasks that use it."""

import base64
import secrets
from pathlib import Path

import pytest

from tests.e2e.node import WAITS_FOR_TERM, Node
from tests.e2e.search import found_in

pytestmark = [pytest.mark.machine, pytest.mark.timeout(180)]


def forms(value: bytes) -> tuple[bytes, ...]:
    """Return the shapes in which a value could leak: as it is, and as JSON carries it."""
    # Inner characters only: base64 of a value inside a longer text shares all but its edges.
    return (value, base64.b64encode(value)[4:-4], value.hex().encode())


def anywhere(value: bytes, *roots: Path) -> list[str]:
    return [place for form in forms(value) for place in found_in(form, *roots)]


def test_a_secret_leaves_no_plaintext_through_its_whole_life(fresh: Node) -> None:
    first, second = secrets.token_hex(24).encode(), secrets.token_hex(24).encode()
    said = [
        fresh.vault("secret", "create", "canary", "-", stdin=first),
        fresh.vault("secret", "create", "canary2", "-", stdin=second),
        fresh.vault("service", "create", "-q", "--name", "w", "--secret", "canary", "--health-interval", "100ms",
                    "--health-cmd", "cat /run/secrets/canary", "busybox", *WAITS_FOR_TERM),
    ]  # fmt: skip
    container = fresh.running("w")[0]
    assert first.decode() in fresh.vault("container", "inspect", container).out, (
        "the one place that shows it: as Docker"
    )
    assert fresh.vault("exec", container, "cat", "/run/secrets/canary").raw == first
    assert anywhere(first, fresh.run_root / "tasks"), "the search sees the file in memory while the task runs"
    said += [
        fresh.vault("secret", "inspect", "canary"),
        fresh.vault("service", "inspect", "w"),
        fresh.vault("service", "update", "-q", "--secret-rm", "canary",
                    "--secret-add", "source=canary2,target=canary", "w"),
        fresh.vault("service", "ps", "--no-trunc", "w"),
        fresh.vault("ps", "-a", "--no-trunc"),
    ]  # fmt: skip
    assert fresh.vault("exec", fresh.running("w")[0], "cat", "/run/secrets/canary").raw == second
    fresh.kill()
    fresh.start()
    fresh.until_running("w", 1)
    said += [fresh.vault("service", "rm", "w")]
    fresh.until(lambda: not any((fresh.data / "tasks").iterdir()), "the tasks are gone")
    said += [
        fresh.vault("secret", "rm", "canary", "canary2"),
        fresh.vault("secret", "create", "bad name", "-", stdin=first, code=1),
    ]
    for value in (first, second):
        assert anywhere(value, fresh.root) == []
        assert not any(value.decode() in part for one in said for part in (one.out, one.err))


def test_the_search_finds_planted_bytes(tmp_path: Path) -> None:
    value = secrets.token_hex(24).encode()
    (tmp_path / "plain").write_bytes(b"xx" + value + b"yy")
    (tmp_path / "json").write_bytes(b'{"Data":"' + base64.b64encode(value) + b'"}')
    (tmp_path / ("name-" + value.decode())).touch()
    assert len(anywhere(value, tmp_path)) == 3
