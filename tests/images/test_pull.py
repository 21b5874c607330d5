"""Pulling: from Debian's registry by tag and digest, and from registries that lie, ask for tokens, or break off."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from tests.images.archives import Made, digest, image, member, tar
from tests.images.registries import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Answer,
    Asked,
    Scripted,
    index_of,
    push,
    push_manifest,
    running_registry,
    scripted_registry,
)
from vault.agent.images.content import Content
from vault.agent.images.credentials import Credentials
from vault.agent.images.errors import BadArchive, ManifestUnknown, PullDenied, RegistryFailed
from vault.agent.images.platforms import architecture
from vault.agent.images.protocol import Progress, Stored
from vault.agent.images.pulling import pull
from vault.agent.images.reference import parse
from vault.agent.images.registry import Repository
from vault.agent.images.store import ImageStore
from vault.crypto import Plaintext
from vault.model.errors import NoSuch

pytestmark = pytest.mark.machine

ONE = image(tar(member("a", b"low")), tar(member("b", bytes(3 << 20))), compressed=True)
TWO = image(tar(member("c")))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def script() -> Iterator[Scripted]:
    with scripted_registry() as running:
        yield running


@pytest.fixture
def content(tmp_path: Path) -> Content:
    made = Content(root=tmp_path / "images")
    made.prepare()
    return made


def fetch(content: Content, reference: str, *, username: str = "", password: str = "") -> Stored:
    name = parse(reference)
    repository = Repository(name, username=username, password=password, plain_http=True)
    return pull(content, name, repository, lambda progress: None)


def test_an_image_is_pulled_by_tag_and_by_digest(registry: str, tmp_path: Path) -> None:
    manifest = push(registry, "team/app", "1", ONE)
    said: list[Progress] = []
    store = ImageStore(tmp_path / "images")
    got = asyncio.run(store.pull(f"{registry}/team/app:1", tell=said.append))
    assert got.id == ONE.id
    assert got.repo_tags == (f"{registry}/team/app:1",)
    assert got.repo_digests == (f"{registry}/team/app@{manifest}",)
    assert [(layer / name).stat().st_size for layer, name in zip(got.layers, "ab", strict=True)] == [3, 3 << 20]
    texts = [progress.status for progress in said]
    assert texts[0] == "Pulling from team/app"
    assert texts[-2:] == [f"Digest: {manifest}", f"Status: Downloaded newer image for {registry}/team/app:1"]
    assert {"Pulling fs layer", "Download complete", "Extracting", "Pull complete"} <= set(texts)

    exact = f"{registry}/team/app@{manifest}"
    assert store.find(exact) == got
    other = ImageStore(tmp_path / "other")
    assert asyncio.run(other.ensure(exact)).repo_digests == (exact,)


def test_pulling_again_fetches_no_blob_and_says_so(registry: str, tmp_path: Path) -> None:
    push(registry, "again", "1", TWO)
    store = ImageStore(tmp_path / "images")
    asyncio.run(store.pull(f"{registry}/again:1"))
    said: list[Progress] = []
    asyncio.run(store.pull(f"{registry}/again:1", tell=said.append))
    texts = [progress.status for progress in said]
    assert "Already exists" in texts
    assert "Download complete" not in texts
    assert texts[-1] == f"Status: Image is up to date for {registry}/again:1"


def test_a_tag_that_moved_is_pulled_anew(registry: str, tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    for made in (TWO, ONE):
        push(registry, "moving", "latest", made)
        assert asyncio.run(store.pull(f"{registry}/moving")).id == made.id
    assert asyncio.run(store.ensure(f"{registry}/moving")).id == ONE.id
    assert len(store.list()) == 2


def test_of_an_index_the_image_for_this_machine_is_pulled(registry: str, content: Content) -> None:
    push(registry, "multi", "a", ONE)
    push(registry, "multi", "b", TWO)
    index = index_of((TWO.manifest, "linux", "s390x"), (ONE.manifest, "linux", architecture()))
    listed = push_manifest(registry, "multi", "all", index, INDEX_TYPE)
    stored = fetch(content, f"{registry}/multi:all")
    assert stored.manifest.digest == digest(ONE.manifest)
    assert stored.names == [f"{registry}/multi:all", f"{registry}/multi@{listed}"]
    push_manifest(registry, "multi", "none", index_of((TWO.manifest, "linux", "s390x")), INDEX_TYPE)
    with pytest.raises(ManifestUnknown, match=f"no matching manifest for linux/{architecture()}"):
        fetch(content, f"{registry}/multi:none")


def test_what_is_not_there_is_reported_in_dockers_words(registry: str, content: Content) -> None:
    push(registry, "there", "1", TWO)
    with pytest.raises(ManifestUnknown, match=r"manifest for .*/there:2 not found: manifest unknown"):
        fetch(content, f"{registry}/there:2")
    with pytest.raises(ManifestUnknown, match=r"manifest for .*/there@sha256:0+ not found"):
        fetch(content, f"{registry}/there@sha256:{'0' * 64}")


def test_a_registry_that_does_not_answer_is_reported(content: Content) -> None:
    with pytest.raises(RegistryFailed, match=r"127\.0\.0\.1:1 cannot be reached: Connection refused"):
        fetch(content, "127.0.0.1:1/app:1")


def with_token(script: Scripted, made: Made, *, lives: int = 1000) -> dict[str, int]:
    """Let the registry want a token, good for so many requests, that its token service sells to alice."""
    script.offer("private/app", "1", made)
    count = {"token": 0, "left": 0}

    def sell(asked: Asked) -> Answer:
        expected = "Basic " + base64.b64encode(b"alice:open sesame").decode()
        if asked.headers.get("authorization") != expected:
            return 401, {}, b"{}"
        assert "scope=repository%3Aprivate%2Fapp%3Apull" in asked.path
        assert "service=registry.test" in asked.path
        count["token"] += 1
        count["left"] = lives
        return 200, {}, json.dumps({"token": f"t{count['token']}"}).encode()

    def guarded(answer: Answer) -> object:
        def check(asked: Asked) -> Answer:
            if asked.headers.get("authorization") == f"Bearer t{count['token']}" and count["left"] > 0:
                count["left"] -= 1
                return answer
            challenge = f'Bearer realm="http://{script.address}/token",service="registry.test",scope="x"'
            return 401, {"WWW-Authenticate": challenge}, b"{}"

        return check

    for path, answer in list(script.answers.items()):
        script.answers[path] = guarded(answer)  # type: ignore[arg-type, assignment]
    script.answers["/token"] = sell
    return count


def test_a_token_is_bought_with_the_credentials_and_used(script: Scripted, tmp_path: Path) -> None:
    count = with_token(script, ONE)
    store = ImageStore(tmp_path / "images")
    credentials = Credentials(username="alice", password=Plaintext(b"open sesame"))
    got = asyncio.run(store.ensure(f"{script.address}/private/app:1", ask=lambda: credentials))
    assert got.id == ONE.id
    assert count["token"] == 1


@pytest.mark.parametrize("denied", [401, 403])
def test_newer_credentials_that_came_while_older_ones_were_refused_are_shown_once(
    denied: int, script: Scripted, tmp_path: Path
) -> None:
    sold = with_token(script, ONE)
    sell = script.answers["/token"]

    def refuse(asked: Asked) -> Answer:
        answer = sell(asked)  # type: ignore[operator]
        return answer if answer[0] == 200 else (denied, {}, b"{}")

    script.answers["/token"] = refuse
    known = iter([user("alice", b"of old"), user("alice", b"open sesame")])
    got = asyncio.run(
        ImageStore(tmp_path / "images").ensure(f"{script.address}/private/app:1", ask=lambda: next(known))
    )
    assert (got.id, sold["token"]) == (ONE.id, 1)


@pytest.mark.parametrize("newer", [None, ("alice", b"of old"), ("alice", b"wrong too")])
def test_a_registry_that_refuses_is_asked_no_third_time_and_no_second_time_for_nothing(
    newer: tuple[str, bytes] | None, script: Scripted, tmp_path: Path
) -> None:
    with_token(script, ONE)
    known = iter([user("alice", b"of old"), user(*newer) if newer else None])
    with pytest.raises(NoSuch):
        asyncio.run(ImageStore(tmp_path / "images").ensure(f"{script.address}/private/app:1", ask=lambda: next(known)))
    asked = [one for one in script.asked if one.path.startswith("/token")]
    assert len(asked) == (2 if newer == ("alice", b"wrong too") else 1)


def user(name: str, password: bytes) -> Credentials:
    return Credentials(username=name, password=Plaintext(password))


def test_an_identity_token_buys_tokens_in_the_way_of_oauth(script: Scripted, tmp_path: Path) -> None:
    count = with_token(script, ONE)

    def sell(asked: Asked) -> Answer:
        form = dict(parse_qsl(asked.body.decode()))
        if (form.pop("refresh_token"), form.pop("client_id")) != ("canary", "vault") or asked.method != "POST":
            return 401, {}, b"{}"
        scope = "repository:private/app:pull"
        assert form == {"grant_type": "refresh_token", "service": "registry.test", "scope": scope}
        count["token"] += 1
        count["left"] = 1000
        return 200, {}, json.dumps({"access_token": f"t{count['token']}"}).encode()

    script.answers["/token"] = sell
    for token in (b"wrong", b"canary"):
        store, credentials = ImageStore(tmp_path / token.decode()), Credentials(identity_token=Plaintext(token))
        pulled = store.pull(f"{script.address}/private/app:1", auth=credentials)
        if token == b"canary":
            assert asyncio.run(pulled).id == ONE.id
        else:
            with pytest.raises(PullDenied):
                asyncio.run(pulled)
    assert not any("canary" in asked.path for asked in script.asked), "it is in no address"


def test_a_registry_token_is_shown_as_it_is(script: Scripted, tmp_path: Path) -> None:
    script.offer("app", "1", ONE)
    credentials = Credentials(registry_token=Plaintext(b"ready-made"))
    asyncio.run(ImageStore(tmp_path / "images").pull(f"{script.address}/app:1", auth=credentials))
    assert {asked.headers.get("authorization") for asked in script.asked} == {"Bearer ready-made"}


def test_a_token_that_runs_out_is_bought_again(script: Scripted, content: Content) -> None:
    count = with_token(script, TWO, lives=1)
    fetch(content, f"{script.address}/private/app:1", username="alice", password="open sesame")
    assert count["token"] == 3  # Manifest, configuration, layer.


def test_without_or_with_wrong_credentials_access_is_denied(script: Scripted, content: Content) -> None:
    with_token(script, ONE)
    for username, password in (("", ""), ("alice", "wrong")):
        with pytest.raises(PullDenied, match=r"pull access denied for .*private/app, repository does not exist or may"):
            fetch(content, f"{script.address}/private/app:1", username=username, password=password)


def test_a_registry_may_ask_for_the_credentials_themselves(script: Scripted, content: Content) -> None:
    expected = "Basic " + base64.b64encode(b"alice:pw").decode()
    script.offer("app", "1", TWO)
    for path, answer in list(script.answers.items()):
        script.answers[path] = lambda asked, answer=answer: (  # type: ignore[misc]
            answer
            if asked.headers.get("authorization") == expected
            else (401, {"WWW-Authenticate": 'Basic realm="r"'}, b"")
        )
    fetch(content, f"{script.address}/app:1", username="alice", password="pw")
    with pytest.raises(PullDenied):
        fetch(content, f"{script.address}/app:1")


def test_credentials_do_not_go_along_a_redirect(script: Scripted, content: Content) -> None:
    with_token(script, TWO)
    with scripted_registry() as storage:
        for data in (TWO.config, *TWO.layers):
            path = f"/v2/private/app/blobs/{digest(data)}"
            storage.answers["/" + digest(data)] = (200, {}, data)
            script.answers[path] = (307, {"Location": f"http://{storage.address}/{digest(data)}"}, b"")
        fetch(content, f"{script.address}/private/app:1", username="alice", password="open sesame")
        assert len(storage.asked) == 2
        assert not any("authorization" in asked.headers for asked in storage.asked)


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://x", ""])
def test_a_redirect_to_something_else_than_http_is_not_followed(script: Scripted, content: Content, place: str) -> None:
    script.offer("app", "1", TWO)
    script.answers[f"/v2/app/blobs/{TWO.id}"] = (307, {"Location": place}, b"")
    with pytest.raises(RegistryFailed):
        fetch(content, f"{script.address}/app:1")


def test_a_token_service_without_tls_is_not_used_for_a_registry_with_tls() -> None:
    repository = Repository(parse("registry.test/app"), username="a", password="b", plain_http=False)
    with pytest.raises(RegistryFailed, match="not supported"):
        repository._authorize('Bearer realm="http://evil.test/token",service="s"')


def blob(made: Made, number: int) -> str:
    return f"/v2/app/blobs/{digest(made.layers[number])}"


@pytest.mark.parametrize("served", [b"something else", b"", bytes(len(TWO.layers[0])), TWO.layers[0] + b"x"])
def test_content_that_does_not_fit_its_digest_is_never_kept(script: Scripted, content: Content, served: bytes) -> None:
    script.offer("app", "1", TWO)
    script.answers[blob(TWO, 0)] = (200, {}, served)
    with pytest.raises((BadArchive, RegistryFailed)):
        fetch(content, f"{script.address}/app:1")
    assert not content.blob(digest(TWO.layers[0])).exists()
    assert not list(content.incoming.iterdir())
    assert not list((content.root / "layers").iterdir())


def test_content_of_the_right_size_and_the_wrong_digest_is_named(script: Scripted, content: Content) -> None:
    script.offer("app", "1", TWO)
    script.answers[blob(TWO, 0)] = (200, {}, bytes(len(TWO.layers[0])))
    with pytest.raises(BadArchive, match=f"the registry sends something else than {digest(TWO.layers[0])}"):
        fetch(content, f"{script.address}/app:1")


def test_another_manifest_than_the_digest_asked_for_is_refused(script: Scripted, content: Content) -> None:
    script.offer("app", "1", TWO)
    script.answers[f"/v2/app/manifests/{digest(ONE.manifest)}"] = (200, {"Content-Type": MANIFEST_TYPE}, TWO.manifest)
    with pytest.raises(BadArchive, match="something else than sha256:"):
        fetch(content, f"{script.address}/app@{digest(ONE.manifest)}")


def test_a_task_is_told_when_an_image_is_there_but_damaged(script: Scripted, tmp_path: Path) -> None:
    """Here "No such image" would send its owner looking in the wrong place."""
    script.offer("app", "1", TWO)
    script.answers[blob(TWO, 0)] = (200, {}, bytes(len(TWO.layers[0])))
    with pytest.raises(BadArchive, match="something else than sha256:"):
        asyncio.run(ImageStore(tmp_path / "images").ensure(f"{script.address}/app:1"))


def test_a_connection_that_breaks_is_tried_again(script: Scripted, content: Content) -> None:
    script.offer("app", "1", TWO)
    whole, tries = TWO.layers[0], []

    def flaky(asked: Asked) -> Answer:
        tries.append(asked)
        return 200, {"Content-Length": str(len(whole))}, whole if len(tries) == 3 else whole[:100]

    def closing(asked: Asked) -> Answer:
        status, headers, body = flaky(asked)
        return status, headers | {"Connection": "close"}, body

    script.answers[blob(TWO, 0)] = closing
    assert fetch(content, f"{script.address}/app:1").manifest.digest == digest(TWO.manifest)
    assert len(tries) == 3


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "text/html"),
        (b"{}", MANIFEST_TYPE),
        (b'{"schemaVersion":1,"fsLayers":[]}', "application/vnd.docker.distribution.manifest.v1+json"),
        (b'{"mediaType":"' + INDEX_TYPE.encode() + b'","manifests":[]}', INDEX_TYPE),
        (b"\xff\xfe", MANIFEST_TYPE),
        (b" " * (5 << 20), MANIFEST_TYPE),
    ],
)
def test_documents_that_make_no_sense_are_refused(script: Scripted, content: Content, body: bytes, kind: str) -> None:
    script.answers["/v2/app/manifests/1"] = (200, {"Content-Type": kind}, body)
    with pytest.raises((BadArchive, RegistryFailed, ManifestUnknown)):
        fetch(content, f"{script.address}/app:1")


@pytest.mark.parametrize("status", [400, 403, 418, 429, 500, 503])
def test_a_refusal_becomes_one_sentence(script: Scripted, content: Content, status: int) -> None:
    script.answers["/v2/app/manifests/1"] = (status, {}, b'{"errors":[]}')
    with pytest.raises((PullDenied, RegistryFailed)) as refused:
        fetch(content, f"{script.address}/app:1")
    assert "\n" not in str(refused.value)


def test_the_password_is_in_no_argument_and_no_environment(script: Scripted, tmp_path: Path) -> None:
    """While the worker runs, its command line and environment are read."""
    seen: list[bytes] = []

    def look(asked: Asked) -> Answer:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                seen.append((process / "cmdline").read_bytes() + (process / "environ").read_bytes())
            except OSError:
                continue
        return 404, {}, b""

    script.answers["/v2/app/manifests/1"] = look
    credentials = Credentials(username="alice", password=Plaintext(b"canary-5d1f"))
    with pytest.raises(ManifestUnknown):
        asyncio.run(ImageStore(tmp_path / "images").pull(f"{script.address}/app:1", auth=credentials))
    assert any(b"vault.agent.images.worker" in one for one in seen)
    assert not any(b"canary-5d1f" in one for one in seen)
