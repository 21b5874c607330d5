"""Credentials for registries, from Docker's configuration and its helpers."""

import json
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest

from vault.agent.images.credentials import credentials_for
from vault.cli.errors import CommandError
from vault.cli.services.registry_auth import auth_headers, registry_auth, stack_headers
from vault.crypto import Plaintext

HELPER = """#!/bin/sh
read -r server
case "$1 $server" in
"get reg.example") echo '{"ServerURL":"reg.example","Username":"alice","Secret":"s3cret"}' ;;
"get token.example") echo '{"ServerURL":"token.example","Username":"<token>","Secret":"idt"}' ;;
"get odd.example") echo 'not what was asked for' ;;
"get none.example") echo 'credentials not found in native keychain'; exit 1 ;;
*) echo "a canary" >&2; exit 3 ;;
esac
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configuration, and a helper called `safe`."""
    (tmp_path / "docker-credential-safe").write_text(HELPER)
    (tmp_path / "docker-credential-safe").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def configured(client: Path, **configuration: Any) -> None:
    (client / "config.json").write_text(json.dumps(configuration))


def decoded(header: str | None) -> Any:
    return None if header is None else json.loads(urlsafe_b64decode(header))


def test_a_helper_is_asked_for_its_registry(client: Path) -> None:
    configured(client, credHelpers={"reg.example": "safe", "token.example": "safe"})
    expected = {"username": "alice", "password": "s3cret", "serveraddress": "reg.example"}
    assert decoded(registry_auth("reg.example/app:1")) == expected
    assert decoded(registry_auth("token.example/app")) == {"identitytoken": "idt", "serveraddress": "token.example"}
    assert registry_auth("other.example/app") is None


def test_the_store_of_all_registries_comes_before_the_file(client: Path) -> None:
    entry = {"auth": "dTpwOng="}
    configured(client, credsStore="safe", auths={"https://reg.example/v1/": entry, "none.example": entry})
    assert decoded(registry_auth("reg.example/app"))["username"] == "alice"
    assert decoded(registry_auth("none.example/app"))["password"] == "p:x", "the helper has nothing for it"


def test_docker_hub_is_known_by_its_address(client: Path) -> None:
    configured(client, auths={"https://index.docker.io/v1/": {"auth": "dTpwOng=", "identitytoken": "idt"}})
    for image in ("busybox", "team/app", "docker.io/team/app", "registry-1.docker.io/team/app"):
        assert decoded(registry_auth(image)) == {
            "username": "u", "password": "p:x", "identitytoken": "idt", "serveraddress": "https://index.docker.io/v1/",
        }  # fmt: skip


@pytest.mark.parametrize(
    "image", ["Reg/app", "reg.example/app", "localhost/app", "[::1]:5000/app", "127.0.0.1:5000/app"]
)
def test_credentials_are_for_the_registry_that_a_node_takes_them_for(client: Path, image: str) -> None:
    """The node shows them to no other, so both must read an image's name alike."""
    registry = image.removesuffix("/app")
    hub = {"https://index.docker.io/v1/": {"auth": "aHViOng="}}
    configured(client, auths=hub | {registry: {"auth": "dTpwOng="}})
    found = registry_auth(image)
    assert decoded(found) == {"username": "u", "password": "p:x", "serveraddress": registry}
    shown = credentials_for(Plaintext(urlsafe_b64decode(found or "")), image, of="busybox")
    assert shown is not None
    assert shown.username == "u"


def test_what_is_known_under_the_very_name_comes_before_what_is_known_for_its_host(client: Path) -> None:
    entries = {"https://reg.example/v1/": {"auth": "b2xkOng="}, "reg.example": {"auth": "dTpwOng="}}
    configured(client, auths=entries)
    assert decoded(registry_auth("reg.example/app"))["username"] == "u"


def test_to_look_credentials_up_loads_nothing_heavy() -> None:
    program = "import sys, vault.cli.services.registry_auth; print('msgspec' in sys.modules, 'asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.mark.parametrize(
    ("helper", "image", "problem"),
    [
        ("safe", "odd.example/app", "credential helper docker-credential-safe gave an answer that is not understood"),
        ("safe", "broken.example/app", "credential helper docker-credential-safe failed: it ended with code 3"),
        ("missing", "reg.example/app", "credential helper docker-credential-missing: no such file or directory"),
        (
            "../x",
            "reg.example/app",
            "Docker's client configuration (config.json) names a credential helper that cannot be one",
        ),
    ],
)
def test_a_helper_that_does_not_help_is_named_and_not_quoted(
    client: Path, helper: str, image: str, problem: str
) -> None:
    configured(client, credsStore=helper)
    with pytest.raises(CommandError) as caught:
        registry_auth(image)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"auths": []}',
        '{"auths": {"reg.example": 1}}',
        '{"auths": {"reg.example": {"auth": "%%"}}}',
        '{"auths": {"reg.example": {}}}',
    ],
)
def test_a_configuration_that_says_nothing_has_no_credentials(client: Path, text: str) -> None:
    (client / "config.json").write_text(text)
    assert registry_auth("reg.example/app") is None
    with pytest.raises(CommandError, match=r"no credentials for the registry of reg\.example/app"):
        auth_headers(True, "reg.example/app")
    assert auth_headers(False, "reg.example/app") == {}


def test_a_stack_sends_what_is_known_for_each_of_its_registries(client: Path) -> None:
    configured(client, auths={"reg.example": {"auth": "dTpwOng="}, "unused.example": {"auth": "dTpwOng="}})
    headers = stack_headers(True, ["reg.example/app", "reg.example/other:2", "busybox"])
    assert {name: list(decoded(value)) for name, value in headers.items()} == {"X-Registry-Config": ["reg.example"]}
    assert stack_headers(False, ["reg.example/app"]) == {}
    with pytest.raises(CommandError, match="no credentials for the registries of the stack's images"):
        stack_headers(True, ["busybox"])
