"""`X-Registry-Auth` of services and stacks: kept, sealed, and shown by no answer."""

import base64
import json
from typing import Any

import pytest

from tests.api.client import Answer, Daemon, run
from tests.api.pair import pair
from tests.api.test_services import spec, version_of
from vault.crypto import Plaintext
from vault.model.ids import Kind
from vault.model.service import Service

AUTH = {"username": "alice", "password": "canary", "serveraddress": "reg.example"}


def header(auth: object) -> dict[str, str]:
    return {"x-registry-auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()}


def call(daemon: Daemon, url: str, body: object, headers: dict[str, str] | None = None) -> Answer:
    return run(daemon.call("POST", url, [json.dumps(body).encode()], headers=headers))


def web(daemon: Daemon, name: str = "web") -> Service:
    found = daemon.manager.store().committed.by_name(Kind.SERVICE, name)
    assert isinstance(found, Service)
    return found


def kept(daemon: Daemon, auth_id: str) -> Any:
    value = run(daemon.manager.store().value(Kind.REGISTRY_AUTH, auth_id))
    assert isinstance(value, Plaintext)
    return json.loads(value.reveal())


def test_credentials_are_kept_with_the_service_and_no_answer_shows_them() -> None:
    daemon = Daemon().with_swarm()
    assert call(daemon, "/services/create", spec(), header(AUTH)).status == 201
    assert kept(daemon, web(daemon).registry_auth) == AUTH
    shown = [daemon.get("/services/web"), daemon.get("/services"), daemon.get("/services/web?insertDefaults=true")]
    for answer in shown:
        assert answer.status == 200
        assert b"canary" not in answer.body
        assert b"egistryAuth" not in answer.body
        assert web(daemon).registry_auth.encode() not in answer.body
    posted = spec(Labels={"a": "b"})
    assert call(daemon, f"/services/web/update?version={version_of(daemon)}", posted, header(AUTH)).status == 200
    assert b"egistryAuth" not in daemon.get("/services/web").body


def test_a_client_cannot_name_credentials_of_another_service_in_a_spec() -> None:
    daemon = Daemon().with_swarm()
    call(daemon, "/services/create", spec(), header(AUTH))
    stolen = spec("thief") | {"RegistryAuth": web(daemon).registry_auth}
    stolen["TaskTemplate"]["ContainerSpec"]["PullOptions"] = {"RegistryAuth": web(daemon).registry_auth}
    assert call(daemon, "/services/create", stolen).status == 201
    assert web(daemon, "thief").registry_auth == ""


@pytest.mark.parametrize(
    ("query", "headers", "now"),
    [
        ("", None, "second"),
        ("&registryAuthFrom=spec", None, "second"),
        ("&registryAuthFrom=previous-spec", None, "first"),
        ("&registryAuthFrom=previous-spec", header({"username": "third"}), "third"),
        ("", header({}), None),
        ("&rollback=previous", None, "first"),
    ],
)
def test_an_update_keeps_takes_back_or_replaces_credentials(
    query: str, headers: dict[str, str] | None, now: str | None
) -> None:
    daemon = Daemon().with_swarm()
    call(daemon, "/services/create", spec(), header({"username": "first"}))
    update = "/services/web/update?version="
    call(daemon, f"{update}{version_of(daemon)}", spec(Env=["A=1"]), header({"username": "second"}))
    assert call(daemon, f"{update}{version_of(daemon)}{query}", spec(Env=["A=2"]), headers).status == 200
    auth_id = web(daemon).registry_auth
    assert (kept(daemon, auth_id)["username"] if auth_id else None) == now
    held = set(daemon.manager.store().committed.objects[Kind.REGISTRY_AUTH])
    assert held == {auth_id, web(daemon).previous_registry_auth} - {""}, "no others are left"


def test_a_service_without_a_previous_spec_has_no_credentials_of_it() -> None:
    daemon = Daemon().with_swarm()
    call(daemon, "/services/create", spec())
    update = f"/services/web/update?version={version_of(daemon)}&registryAuthFrom="
    answer = call(daemon, f"{update}previous-spec", spec(Env=["A=1"]))
    assert (answer.status, answer.message) == (
        400,
        "rpc error: code = InvalidArgument desc = service does not have a previous spec",
    )
    answer = call(daemon, f"{update}elsewhere", spec(Env=["A=1"]))
    assert (answer.status, answer.message) == (
        400,
        'unsupported registryAuthFrom value: use "spec" or "previous-spec"',
    )


LONG = header({"username": "a", "password": "p" * 50_000})["x-registry-auth"]


@pytest.mark.parametrize("bad", ["%%%", base64.urlsafe_b64encode(b"[1]").decode(), LONG])
def test_a_header_that_is_none_is_refused_and_not_quoted(bad: str) -> None:
    daemon = Daemon().with_swarm()
    answer = call(daemon, "/services/create", spec(), {"x-registry-auth": bad})
    assert answer.status == 400
    assert answer.message.startswith("invalid X-Registry-Auth header: it ")
    assert bad not in answer.message
    document = {"version": "3.13", "services": {"web": {"image": "reg.example/app"}}}
    answer = call(daemon, "/vault/v1/stacks/s", {"document": document}, {"x-registry-config": bad})
    assert answer.status == 400
    assert answer.message.startswith("invalid X-Registry-Config header: it ")


def test_a_stack_gives_each_service_the_credentials_of_its_images_registry() -> None:
    daemon = Daemon().with_swarm()
    document = {"version": "3.13", "services": {"web": {"image": "reg.example/app:1"}, "own": {"image": "busybox"}}}
    headers = {"x-registry-config": header({"https://reg.example": AUTH})["x-registry-auth"]}
    answer = call(daemon, "/vault/v1/stacks/s", {"document": document}, headers)
    assert answer.status == 200, answer.text
    first = web(daemon, "s_web")
    assert kept(daemon, first.registry_auth) == AUTH
    assert web(daemon, "s_own").registry_auth == ""
    # Deployed again without a change, newer credentials come, and no task is replaced.
    newer = {"x-registry-config": header({"reg.example": AUTH | {"password": "newer"}})["x-registry-auth"]}
    answer = call(daemon, "/vault/v1/stacks/s", {"document": document}, newer)
    assert [one["action"] for one in answer.json()["changes"] if one["kind"] == "service"] == ["unchanged"] * 2
    after = web(daemon, "s_web")
    assert kept(daemon, after.registry_auth)["password"] == "newer"
    assert after.spec_version == first.spec_version
    # Without any, those it has are kept; with the stack, they go.
    call(daemon, "/vault/v1/stacks/s", {"document": document})
    assert web(daemon, "s_web").registry_auth == after.registry_auth
    assert run(daemon.call("DELETE", "/vault/v1/stacks/s", [])).status == 200
    assert not set(daemon.manager.store().committed.objects[Kind.REGISTRY_AUTH])


def test_credentials_reach_the_leader_through_another_manager_and_once_though_the_answer_was_lost() -> None:
    leader, follower, line = pair()
    line.faults = ["lost"]
    assert call(follower, "/services/create", spec(), header(AUTH)).status == 201
    assert len(line.asked) == 2, "it was asked again"
    assert kept(leader, web(leader).registry_auth) == AUTH
    assert len(leader.manager.store().committed.objects[Kind.REGISTRY_AUTH]) == 1
    assert not any("canary" in repr(request) for request in line.asked)
