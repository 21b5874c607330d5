"""Secrets and configs over HTTP."""

import base64

import pytest

from tests.api.client import Daemon, run
from vault.crypto.plaintext import Plaintext
from vault.model.ids import Kind


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def create(daemon: Daemon, name: str, value: bytes = b"x", **spec: object) -> str:
    answer = daemon.post("/secrets/create", {"Name": name, "Data": encoded(value), **spec})
    assert answer.status == 201, answer.text
    secret_id: str = answer.json()["ID"]
    return secret_id


@pytest.mark.parametrize("value", [b"\0", b"\xff\xfe binary", b"line\n", b"-----BEGIN KEY-----\n", bytes(511_999)])
def test_a_value_reaches_the_store_byte_for_byte(value: bytes) -> None:
    daemon = Daemon().with_swarm()
    secret_id = create(daemon, "pw", value)
    assert run(daemon.manager.store().value(Kind.SECRET, secret_id)) == Plaintext(value)


def test_no_answer_holds_the_value() -> None:
    daemon = Daemon().with_swarm()
    create(daemon, "pw", b"canary-value")
    answers = [daemon.get(url).body for url in ("/secrets", "/secrets/pw", "/info", "/swarm", "/openapi.json")]
    assert not any(
        needle in body for body in answers for needle in (b"canary-value", encoded(b"canary-value").encode())
    )


def test_a_null_means_not_given() -> None:
    daemon = Daemon().with_swarm()
    answer = daemon.post("/secrets/create", {"Name": "pw", "Labels": None, "Data": "eA==", "Driver": None})
    assert answer.status == 201
    assert daemon.get("/secrets/pw").json()["Spec"] == {"Name": "pw", "Labels": {}}


def test_a_driver_has_the_value_of_a_secret() -> None:
    daemon = Daemon().with_swarm()
    posted = {"Name": "pw", "Labels": {"path": "db"}, "Driver": {"Name": "safe"}, "Templating": {"Name": "golang"}}
    assert daemon.post("/secrets/create", posted).status == 201
    found = daemon.get("/secrets/pw").json()
    assert found["Spec"] == posted
    index = found["Version"]["Index"]
    assert daemon.post(f"/secrets/pw/update?version={index}", posted | {"Labels": {}}).status == 200
    index = daemon.get("/secrets/pw").json()["Version"]["Index"]
    other = daemon.post(f"/secrets/pw/update?version={index}", posted | {"Driver": {"Name": "other"}})
    assert (other.status, other.message) == (
        400,
        "rpc error: code = InvalidArgument desc = only updates to Labels are allowed",
    )


def test_a_secret_is_found_by_id_then_name_then_the_beginning_of_its_id() -> None:
    daemon = Daemon().with_swarm()
    first = create(daemon, "first")
    named_like_id = create(daemon, first)
    named_like_prefix = create(daemon, first[:6])
    assert daemon.get(f"/secrets/{first}").json()["ID"] == first
    assert daemon.get(f"/secrets/{first[:6]}").json()["ID"] == named_like_prefix
    assert daemon.get("/secrets/FIRST").json()["ID"] == first
    assert daemon.get(f"/secrets/{named_like_id[:5]}").json()["ID"] == named_like_id


def test_an_ambiguous_beginning_is_refused() -> None:
    daemon = Daemon().with_swarm()
    create(daemon, "a")
    create(daemon, "b")
    answer = daemon.get("/secrets/00")
    assert (answer.status, answer.message) == (400, "secret 00 is ambiguous (2 matches found)")


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"name": ["DB"]}, ["db_password", "db_user"]),
        ({"name": {"db_p": True, "web": True}}, ["db_password", "web"]),
        ({"names": ["db_user"]}, ["db_user"]),
        ({"label": {"tier=db": True}}, ["db_password"]),
        ({"label": ["tier"]}, ["db_password", "web"]),
        ({"label": ["tier", "tier=web"]}, ["web"]),
        ({"label": ["nothing"]}, []),
        ({"id": ["zzz"]}, []),
        ({}, ["db_password", "db_user", "web"]),
        ({"name": []}, ["db_password", "db_user", "web"]),
    ],
)
def test_filters_narrow_the_list_in_both_forms(filters: object, names: list[str]) -> None:
    daemon = Daemon().with_swarm()
    create(daemon, "db_password", Labels={"tier": "db"})
    create(daemon, "db_user")
    create(daemon, "web", Labels={"tier": "web"})
    assert [secret["Spec"]["Name"] for secret in daemon.filtered("/secrets", filters)] == names


def test_labels_change_and_nothing_else_does() -> None:
    daemon = Daemon().with_swarm()
    create(daemon, "pw", b"old")
    version = daemon.get("/secrets/pw").json()["Version"]["Index"]
    same = {"Name": "pw", "Labels": {"a": "b"}, "Data": encoded(b"old")}
    for change in ({"Data": encoded(b"new")}, {"Name": "other"}, {"Templating": {"Name": "golang"}}):
        answer = daemon.post(f"/secrets/pw/update?version={version}", same | change)
        assert (answer.status, answer.message) == (
            400,
            "rpc error: code = InvalidArgument desc = only updates to Labels are allowed",
        )
    assert daemon.post(f"/secrets/pw/update?version={version}", same).status == 200
    assert daemon.get("/secrets/pw").json()["Spec"]["Labels"] == {"a": "b"}
    stale = daemon.post(f"/secrets/pw/update?version={version}", same)
    assert (stale.status, stale.message) == (500, "rpc error: code = Unknown desc = update out of sequence")


def test_a_removed_secret_is_gone_with_its_value() -> None:
    daemon = Daemon().with_swarm()
    secret_id = create(daemon, "pw")
    assert daemon.delete("/secrets/pw").status == 204
    assert daemon.get("/secrets/pw").message == "secret pw not found"
    assert (Kind.SECRET, secret_id) not in daemon.manager.store().values


def test_a_body_that_cannot_hold_an_allowed_value_is_refused_before_it_is_read() -> None:
    daemon = Daemon().with_swarm()
    announced = daemon.request("POST", "/secrets/create", b"", headers={"content-length": str(1 << 40)})
    chunks = [b" " * 65536] * 64
    endless = run(daemon.call("POST", "/secrets/create", chunks, headers={"content-length": "0"}))
    assert 30 <= len(chunks) < 32, "reading stops at the bound"
    for answer in (announced, endless):
        assert answer.status == 400
        assert answer.message.endswith("secret data must be larger than 0 and less than 512000 bytes")


def test_a_client_that_goes_before_its_body_is_there_leaves_nothing() -> None:
    daemon = Daemon().with_swarm()

    async def leave() -> None:
        gone = {"type": "http.disconnect"}
        messages = [{"type": "http.request", "body": b'{"Name":"pw",', "more_body": True}, gone]

        async def receive() -> dict[str, object]:
            return messages.pop(0)

        async def send(message: object) -> None:
            raise AssertionError("nobody is there")

        scope = {"type": "http", "method": "POST", "path": "/secrets/create", "query_string": b"", "headers": []}
        await daemon.app(scope, receive, send)  # type: ignore[arg-type]

    run(leave())
    assert daemon.get("/secrets").json() == []


def test_a_config_is_shown_with_its_value() -> None:
    daemon = Daemon().with_swarm()
    value = b"\0conf\xff"
    config_id = daemon.post("/configs/create", {"Name": "app.conf", "Data": encoded(value)}).json()["ID"]
    shown = daemon.get(f"/configs/{config_id}").json()
    assert base64.b64decode(shown["Spec"]["Data"]) == value
    assert daemon.filtered("/configs", {"name": ["app"]}) == [shown]
    changed = {"Name": "app.conf", "Labels": {"v": "2"}}
    assert daemon.post(f"/configs/app.conf/update?version={shown['Version']['Index']}", changed).status == 200
    assert daemon.delete("/configs/app.conf").status == 204
    assert daemon.get("/configs").json() == []
