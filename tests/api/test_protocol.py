"""What holds for every request: versions, headers, errors."""

from importlib import import_module
from pkgutil import walk_packages

import pytest

import vault
from tests.api.client import Daemon
from vault.api.index import index_of
from vault.model.errors import VaultError
from vault.rpc.messages import NodeRemoved, SessionSilent

HEADERS = ("api-version", "docker-experimental", "ostype", "server")


def test_ping_answers_ok_and_head_has_no_body() -> None:
    daemon = Daemon()
    assert daemon.get("/_ping").text == "OK"
    head = daemon.request("HEAD", "/_ping")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "0")
    assert head.headers["swarm"] == "inactive"
    assert head.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert daemon.with_swarm().get("/_ping").headers["swarm"] == "active/manager"


@pytest.mark.parametrize("url", ["/_ping", "/v1.41/secrets", "/nowhere", "/v1.99/info", "/openapi.json"])
def test_every_answer_carries_the_engines_headers(url: str) -> None:
    answer = Daemon().get(url)
    assert [answer.headers.get(name) is not None for name in HEADERS] == [True] * 4
    assert answer.headers["api-version"] == "1.50"


@pytest.mark.parametrize("prefix", ["", "/v1.40", "/v1.41", "/v1.50"])
def test_paths_are_served_with_and_without_a_version(prefix: str) -> None:
    assert Daemon().get(f"{prefix}/version").json()["MinAPIVersion"] == "1.40"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("/v1.99/secrets", "client version 1.99 is too new. Maximum supported API version is 1.50"),
        ("/v2.0/secrets", "client version 2.0 is too new. Maximum supported API version is 1.50"),
        (
            "/v1.24/secrets",
            "client version 1.24 is too old. Minimum supported API version is 1.40, "
            "please upgrade your client to a newer version",
        ),
    ],
)
def test_versions_we_do_not_speak_are_refused_in_dockers_words(url: str, message: str) -> None:
    answer = Daemon().get(url)
    assert (answer.status, answer.message) == (400, message)


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/nowhere"),
        ("GET", "/"),
        ("PUT", "/secrets"),
        ("DELETE", "/secrets"),
        ("POST", "/openapi.json"),
        ("GET", "/v1.41"),
        ("GET", "/v1.x/secrets"),
        ("GET", "/v1.41/v1.41/secrets"),
        ("GET", "/secrets/"),
        ("GET", "/secrets/a/b"),
        ("HEAD", "/secrets"),
        ("GET", "/docs"),
    ],
)
def test_an_unknown_path_and_an_unknown_method_are_not_found(method: str, url: str) -> None:
    answer = Daemon().with_swarm().request(method, url)
    assert (answer.status, answer.message) == (404, "page not found")


def test_our_index_finds_what_fastapi_would_find() -> None:
    daemon = Daemon()
    index = index_of(daemon.app.app.routes, [])  # type: ignore[attr-defined]
    endpoint, parameters = index.find("GET", "/images/registry:5000/team/web:1/json") or (None, {})
    assert endpoint is not None
    assert endpoint.handler.__name__ == "inspect"  # type: ignore[attr-defined]
    assert parameters == {"name": "registry:5000/team/web:1"}
    assert index.find("GET", "/images/json") is not None
    assert index.find("PATCH", "/images/json") is None


def test_a_bug_is_answered_without_its_text_and_logged_without_it(caplog: pytest.LogCaptureFixture) -> None:
    daemon = Daemon().with_swarm()

    async def broken(build: object) -> int:
        raise RuntimeError("canary-of-a-secret")

    daemon.manager.store().submit = broken  # type: ignore[method-assign, assignment]
    answer = daemon.post("/secrets/create", {"Name": "x", "Data": "eA=="})
    assert (answer.status, answer.message) == (500, "internal error: the daemon's log says more")
    assert [record.message for record in caplog.records] == ["api.fault"]
    assert "canary" not in str([vars(record) for record in caplog.records])
    assert caplog.records[0].error == "RuntimeError"  # type: ignore[attr-defined]


def test_every_kind_of_error_that_a_client_can_meet_has_a_status_of_the_api() -> None:
    def kinds(base: type[VaultError]) -> set[type[VaultError]]:
        return {one for child in base.__subclasses__() for one in (child, *kinds(child))}

    for module in walk_packages(vault.__path__, "vault."):
        import_module(module.name)
    between_nodes = {NodeRemoved, SessionSilent}  # What a manager tells a node; no client is told it.
    statuses = {int(kind.status): kind for kind in kinds(VaultError) - between_nodes if kind.__module__[:5] == "vault"}
    assert set(statuses) <= {400, 401, 403, 404, 409, 413, 500, 501, 503}, statuses


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/secrets"),
        ("POST", "/secrets/create"),
        ("DELETE", "/secrets/x"),
        ("GET", "/configs/x"),
        ("GET", "/services"),
        ("POST", "/services/create"),
        ("GET", "/tasks"),
        ("GET", "/nodes"),
        ("GET", "/swarm"),
        ("POST", "/swarm/update?version=1"),
        ("POST", "/networks/create"),
        ("GET", "/services/x/logs?stdout=1"),
    ],
)
def test_cluster_state_is_refused_on_a_node_that_is_no_manager(method: str, url: str) -> None:
    answer = Daemon().request(method, url, b"{}")
    assert answer.status == 503
    assert answer.message == (
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
        "to connect this node to swarm and try again."
    )


def test_the_document_describes_every_endpoint_with_its_schemas() -> None:
    document = Daemon().get("/openapi.json").json()
    create = document["paths"]["/secrets/create"]["post"]
    assert create["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/PostedSecret")
    schemas = document["components"]["schemas"]
    assert schemas["PostedSecret"]["properties"]["Data"]["anyOf"][-1] == {"type": "null"} or schemas["PostedSecret"]
    assert schemas["FileTarget"]["properties"]["Mode"]["type"] == "integer"
    assert document["paths"]["/services/{id}/update"]["post"]["parameters"]
    assert len(document["paths"]) >= 40
    references = set(_references(document))
    assert references <= {f"#/components/schemas/{name}" for name in schemas}


def _references(value: object) -> list[str]:
    match value:
        case {"$ref": str(reference)}:
            return [reference]
        case dict():
            return [one for item in value.values() for one in _references(item)]
        case list():
            return [one for item in value for one in _references(item)]
        case _:
            return []
