"""`vault secret` prints what `docker secret` prints (transcript 02), and sends exact bytes."""

import base64
import io
import sys
from typing import Any

import pytest

from tests.cli.conftest import FakeDaemon, Vault

ONE = "r6zp4hjdxr8ttqnupaakt55nj"


def secret(name: str, identifier: str = ONE, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "ID": identifier,
        "Version": {"Index": 12},
        "CreatedAt": "2026-11-22T20:18:24.093809042Z",
        "UpdatedAt": "2026-11-22T20:18:24.093809042Z",
        "Spec": {"Name": name, "Labels": labels or {}},
    }


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


@pytest.mark.parametrize("data", [b"x", b"123456789\n", b"\0\1\2", b"\xff\xfe\r\n", b"a" * 511_999])
def test_create_sends_the_bytes_of_standard_input_as_they_are(
    daemon: FakeDaemon, vault: Vault, stdin: Any, data: bytes
) -> None:
    daemon.on("POST", "/secrets/create", {"ID": ONE}, status=201)
    stdin(data)
    result = vault("secret", "create", "-l", "env=dev", "-l", "bare", "my_secret_data", "-")
    assert (result.code, result.out, result.err) == (0, ONE + "\n", "")
    (request,) = daemon.asked("POST", "/secrets/create")
    assert base64.b64decode(request.body.pop("Data")) == data
    assert request.body == {"Name": "my_secret_data", "Labels": {"env": "dev", "bare": ""}}


def test_create_reads_a_file(daemon: FakeDaemon, vault: Vault, tmp_path: Any) -> None:
    daemon.on("POST", "/secrets/create", {"ID": ONE}, status=201)
    (tmp_path / "pw").write_bytes(b"s3cr3t\r\n")
    assert vault("secret", "create", "pw", str(tmp_path / "pw")).code == 0
    assert base64.b64decode(daemon.requests[0].body["Data"]) == b"s3cr3t\r\n"


def test_create_leaves_the_value_to_a_driver(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("POST", "/secrets/create", {"ID": ONE}, status=201)
    assert vault("secret", "create", "-d", "safe", "-l", "path=db", "pw").out == ONE + "\n"
    assert daemon.requests[0].body == {"Name": "pw", "Labels": {"path": "db"}, "Driver": {"Name": "safe"}}


@pytest.mark.parametrize(
    ("words", "data", "error"),
    [
        (["--driver", "safe", "x", "-"], b"v", "when using secret driver secret data must be empty"),
        (["empty", "-"], b"", "error reading from STDIN: data is empty"),
        (["x"], b"", "secret file is required"),
        (
            ["x", "/no/such/file"],
            b"",
            "error reading from /no/such/file: open /no/such/file: no such file or directory",
        ),
        (
            ["sz", "-"],
            b"x" * 512_001,
            "Error response from daemon: rpc error: code = InvalidArgument desc = "
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
    ],
)
def test_create_refuses_bad_values_before_anything_is_sent(
    daemon: FakeDaemon, vault: Vault, stdin: Any, words: list[str], data: bytes, error: str
) -> None:
    stdin(data)
    result = vault("secret", "create", *words)
    assert (result.code, result.out, result.err) == (1, "", error + "\n")
    assert daemon.requests == []


def test_ls_without_secrets_prints_the_headings(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/secrets", [])
    assert vault("secret", "ls").out == "ID        NAME      DRIVER    CREATED   UPDATED\n"


def test_ls_prints_a_table_by_natural_order_of_names(
    daemon: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault.cli.commands.secret.now_s", lambda: 1795378704.5)
    daemon.on("GET", "/secrets", [secret("s10"), secret("s9", "kwew43x1nz34osxohfvq8ihhp", {"b": "2", "a": "1"})])
    assert vault("secret", "ls").out == (
        "ID                          NAME      DRIVER    CREATED                  UPDATED\n"
        "kwew43x1nz34osxohfvq8ihhp   s9                  Less than a second ago   Less than a second ago\n"
        "r6zp4hjdxr8ttqnupaakt55nj   s10                 Less than a second ago   Less than a second ago\n"
    )
    assert vault("secret", "ls", "-q").out == "kwew43x1nz34osxohfvq8ihhp\nr6zp4hjdxr8ttqnupaakt55nj\n"
    assert vault("secret", "ls", "--format", "{{.Name}} {{.Labels}}").out == "s9 a=1,b=2\ns10 \n"
    assert vault("secret", "ls", "--format", "json").out.splitlines()[0] == (
        '{"CreatedAt":"Less than a second ago","Driver":"","ID":"kwew43x1nz34osxohfvq8ihhp",'
        '"Labels":"a=1,b=2","Name":"s9","UpdatedAt":"Less than a second ago"}'
    )
    assert vault("secret", "ls", "--format", "table {{.Name}}\t{{.ID}}").out.splitlines()[0] == "NAME      ID"


def test_ls_sends_filters_in_the_map_form(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/secrets", [])
    vault("secret", "ls", "--filter", "label=env=dev", "-f", "name=my_", "-f", "name=your_")
    assert daemon.requests[0].filters == {"label": ["env=dev"], "name": ["my_", "your_"]}


def test_inspect_prints_what_was_found_and_then_fails_for_the_rest(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/secrets/my_secret_data", secret("my_secret_data"))
    daemon.refuse("GET", "/secrets/nosuch", 404, "secret nosuch not found")
    result = vault("secret", "inspect", "my_secret_data", "nosuch")
    assert result.code == 1
    assert result.out == (
        "[\n"
        "    {\n"
        '        "ID": "r6zp4hjdxr8ttqnupaakt55nj",\n'
        '        "Version": {\n'
        '            "Index": 12\n'
        "        },\n"
        '        "CreatedAt": "2026-11-22T20:18:24.093809042Z",\n'
        '        "UpdatedAt": "2026-11-22T20:18:24.093809042Z",\n'
        '        "Spec": {\n'
        '            "Name": "my_secret_data",\n'
        '            "Labels": {}\n'
        "        }\n"
        "    }\n"
        "]\n"
    )
    assert result.err == "Error response from daemon: secret nosuch not found\n"
    assert vault("secret", "inspect", "nosuch").out == "[]\n"


def test_inspect_takes_a_template_and_a_human_form(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("GET", "/secrets/a", secret("a", labels={"env": "dev", "rev": "20260101"}))
    form = "{{.Spec.Name}} {{json .Spec.Labels}}"
    assert vault("secret", "inspect", "--format", form, "a").out == 'a {"env":"dev","rev":"20260101"}\n'
    assert vault("secret", "inspect", "--pretty", "a").out == (
        "ID:              r6zp4hjdxr8ttqnupaakt55nj\n"
        "Name:              a\n"
        "Labels:\n"
        " - env=dev\n"
        " - rev=20260101\n"
        "Driver:            \n"
        "Created at:        2026-11-22 20:18:24.093809042 +0000 utc\n"
        "Updated at:        2026-11-22 20:18:24.093809042 +0000 utc\n"
    )
    both = vault("secret", "inspect", "--pretty", "--format", form, "a")
    assert (both.code, both.out, both.err) == (1, "", "--format is incompatible with human friendly format\n")


def test_rm_tries_every_name_and_reports_each(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.refuse("DELETE", "/secrets/nosuch", 404, "secret nosuch not found")
    daemon.on("DELETE", "/secrets/sz", None, status=204)
    daemon.refuse("DELETE", "/secrets/nosuch2", 404, "secret nosuch2 not found")
    result = vault("secret", "rm", "nosuch", "sz", "nosuch2")
    assert (result.code, result.out) == (1, "sz\n")
    assert result.err == (
        "Error response from daemon: secret nosuch not found\nError response from daemon: secret nosuch2 not found\n"
    )


def test_sentences_of_the_daemon_name_our_command(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.refuse(
        "GET",
        "/secrets",
        503,
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
        "swarm and try again.",
    )
    result = vault("secret", "ls")
    assert result.code == 1
    assert result.err == (
        "Error response from daemon: This node is not a swarm manager. "
        'Use "vault swarm init" or "vault swarm join" to connect this node to swarm and try again.\n'
    )
