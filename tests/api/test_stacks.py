"""Stacks over HTTP: deployed as a whole or not at all, once however often they are sent, by whichever manager."""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.client import Answer, Daemon, run
from tests.api.fakes import MemoryStore
from tests.api.pair import pair
from vault.api import relay, stacks
from vault.api.stack_shapes import MAX_BODY_BYTES, stack_of
from vault.crypto.plaintext import Plaintext
from vault.model.base import Version
from vault.model.errors import BadRequest, NotFound
from vault.model.ids import Kind
from vault.model.service import TaskSpec
from vault.model.task import Task
from vault.stack.deploy import Proposal, removal
from vault.store.changes import Delete, Put
from vault.store.removals import Removals

URL = "/vault/v1/stacks/demo"
DOCUMENT = {
    "services": {
        "web": {"image": "nginx", "secrets": ["s"], "networks": {"back": None}},
        "db": {"image": "mysql", "configs": ["c"]},
    },
    "networks": {"back": None},
    "secrets": {"s": {"file": "./s.txt"}},
    "configs": {"c": {"file": "c.txt"}},
}
CREATED = [
    ("create", "network", "demo_back"),
    ("create", "network", "demo_default"),
    ("create", "secret", "demo_s"),
    ("create", "config", "demo_c"),
    ("create", "service", "demo_web"),
    ("create", "service", "demo_db"),
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(relay, "LEADER_WAIT_S", 0.2)
    monkeypatch.setattr(relay, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(relay, "LEAST_PAUSE_S", 0.001)


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def body(document: object = DOCUMENT, secret: bytes = b"value", **more: object) -> dict[str, Any]:
    return {"document": document, "files": {"s.txt": encoded(secret), "c.txt": encoded(b"text")}, **more}


def changed() -> dict[str, Any]:
    document = json.loads(json.dumps(DOCUMENT))
    document["services"]["web"]["image"] = "nginx:2"
    return document  # type: ignore[no-any-return]


def told(answer: Answer) -> list[tuple[str, str, str]]:
    assert answer.status == 200, answer.text
    return [(one["action"], one["kind"], one["name"]) for one in answer.json()["changes"]]


def objects(daemon: Daemon) -> dict[Kind, dict[str, Any]]:
    """Return everything the store holds."""
    return {kind: dict(found.items()) for kind, found in daemon.manager.store().committed.objects.items()}


def test_a_new_secret_needs_a_driver_that_is_there() -> None:
    daemon = Daemon().with_swarm()
    refused = daemon.post(URL, body({"services": {}, "secrets": {"s": {"driver": "none"}}}))
    assert (refused.status, refused.message) == (
        400,
        'failed to create secret demo_s: plugin "none" not found: there is only safe',
    )
    made = daemon.post(URL, body({"services": {}, "secrets": {"s": {"driver": "safe"}}}))
    assert told(made) == [("create", "secret", "demo_s")]


def test_a_stack_is_deployed_and_shown_and_removed() -> None:
    daemon = Daemon().with_swarm()
    made = daemon.post(URL, body())
    assert told(made) == CREATED
    shown = daemon.get(URL).json()
    assert {key: shown[key] for key in ("name", "revision", "networks", "secrets", "configs", "services")} == {
        "name": "demo",
        "revision": made.json()["revision"],
        "networks": 2,
        "secrets": 1,
        "configs": 1,
        "services": 2,
    }
    assert shown["deployed_by"] == "socket"
    assert {one["name"] for one in shown["objects"]} == {name for _, _, name in CREATED}
    listed = daemon.get("/vault/v1/stacks").json()
    assert listed == [{key: value for key, value in shown.items() if key != "objects"}]
    removed = daemon.delete(URL)
    assert [(action, name) for action, _, name in told(removed)][:2] == [("remove", "demo_db"), ("remove", "demo_web")]
    assert removed.json()["revision"] == "0"
    assert daemon.get("/vault/v1/stacks").json() == []
    for answer in (daemon.get(URL), daemon.delete(URL)):
        assert (answer.status, answer.message) == (404, "stack demo not found")


def test_the_engines_own_paths_show_what_was_deployed() -> None:
    daemon = Daemon().with_swarm()
    daemon.post(URL, body())
    (web,) = daemon.filtered("/services", {"name": ["demo_web"]})
    (secret,) = daemon.get("/secrets").json()
    reference = web["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"][0]
    assert (reference["SecretID"], reference["File"]["Name"]) == (secret["ID"], "s")
    assert run(daemon.manager.store().value(Kind.SECRET, secret["ID"])) == Plaintext(b"value")


def test_what_docker_deployed_is_a_stack_too() -> None:
    daemon = Daemon().with_swarm()
    labels = {"com.docker.stack.namespace": "old"}
    spec = {"Name": "old_a", "Labels": labels, "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}}
    daemon.post("/services/create", spec)
    (listed,) = daemon.get("/vault/v1/stacks").json()
    assert (listed["name"], listed["services"], listed["deployed_at"], listed["deployed_by"]) == ("old", 1, None, None)


def test_a_dry_run_tells_what_would_be_and_changes_nothing() -> None:
    daemon = Daemon().with_swarm()
    before = objects(daemon)
    planned = daemon.post(URL, body(dry_run=True))
    assert (told(planned), planned.json()["revision"], planned.json()["dry_run"]) == (CREATED, "0", True)
    assert not [one for one in planned.json()["changes"] if "id" in one], "what is not made has no id"
    assert objects(daemon) == before
    daemon.post(URL, body())
    before = objects(daemon)
    planned = daemon.post(URL, body(changed(), dry_run=True))
    (web,) = [one for one in planned.json()["changes"] if one["action"] == "update"]
    assert {"field": "Image", "old": "nginx:latest", "new": "nginx:2"} in web["fields"]
    assert web["id"]
    assert objects(daemon) == before
    assert {action for action, _, _ in told(daemon.post(URL, body(dry_run=True)))} == {"unchanged"}


def test_no_answer_and_no_plan_holds_a_value() -> None:
    daemon = Daemon().with_swarm()
    answers = [
        daemon.post(URL, body(secret=b"canary-1", dry_run=True)),
        daemon.post(URL, body(secret=b"canary-1")),
        daemon.post(URL, body(secret=b"canary-2")),
        daemon.post(URL, body(secret=b"canary-2", rotate_changed=True, dry_run=True)),
        daemon.post(URL, body(secret=b"canary-2", rotate_changed=True)),
        daemon.get(URL),
        daemon.get("/vault/v1/stacks"),
        daemon.post(URL, {"document": {"services": "canary-3"}, "files": {"x": "canary-3"}}),
    ]
    assert [answer.status for answer in answers] == [200, 200, 400, 200, 200, 200, 200, 400]
    for answer in answers:
        assert "canary" not in answer.text
        assert encoded(b"canary-1")[:9] not in answer.text


def test_a_failed_deploy_leaves_nothing_half_made() -> None:
    daemon = Daemon().with_swarm()
    daemon.post("/services/create", {"Name": "taken", "TaskTemplate": {"ContainerSpec": {"Image": "b"}}} | PORT)
    before = objects(daemon)
    document = json.loads(json.dumps(DOCUMENT))
    document["services"]["last"] = {"image": "nginx", "ports": [{"target": 80, "published": 8080}]}
    answer = daemon.post(URL, body(document))
    assert answer.status == 400
    assert "failed to create service demo_last" in answer.message
    assert objects(daemon) == before


PORT = {"EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}}


def test_changed_bytes_are_refused_or_rotated_under_a_name_that_tells_nothing_of_them() -> None:
    daemon = Daemon().with_swarm()
    daemon.post(URL, body())
    before = objects(daemon)
    refused = daemon.post(URL, body(secret=b"other"))
    assert refused.status == 400
    assert "only updates to Labels are allowed" in refused.message
    assert objects(daemon) == before
    rotated = told(daemon.post(URL, body(secret=b"other", rotate_changed=True)))
    ((_, _, name),) = [one for one in rotated if one[0] == "create"]
    store = daemon.manager.store()
    assert name == f"demo_s-{store.content_tag(Kind.SECRET, 'demo_s', Plaintext(b'other'))}"
    assert told(daemon.post(URL, body(secret=b"other"))) == [
        ("unchanged", "secret", name),
        ("unchanged", "config", "demo_c"),
        ("unchanged", "service", "demo_web"),
        ("unchanged", "service", "demo_db"),
    ]


def test_a_deploy_for_another_revision_is_a_conflict_that_says_what_changed() -> None:
    daemon = Daemon().with_swarm()
    first = daemon.post(URL, body(base_revision="0")).json()["revision"]
    assert daemon.post(URL, body(base_revision="0")).status == 409
    second = daemon.post(URL, body(changed(), base_revision=first)).json()["revision"]
    late = daemon.post(URL, body(base_revision=first))
    assert late.status == 409
    assert f"stack demo is at revision {second}, and this deploy was made for {first}: it was deployed again" in (
        late.message
    )
    assert "by socket; service demo_web was made or changed" in late.message
    assert daemon.delete(f"{URL}?base_revision={first}").status == 409
    assert daemon.delete(f"{URL}?base_revision={second}").status == 200


def test_pruning_and_keeping_images_are_wishes_of_the_body() -> None:
    daemon = Daemon().with_swarm()
    daemon.post(URL, body())
    alone = {**DOCUMENT, "services": {"web": DOCUMENT["services"]["web"]}}
    assert ("remove", "service", "demo_db") not in told(daemon.post(URL, body(alone)))
    assert ("remove", "service", "demo_db") in told(daemon.post(URL, body(alone, prune=True)))
    (web,) = daemon.get("/services").json()
    pinned = "nginx:latest@sha256:" + "a" * 64
    web["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = pinned
    daemon.post(f"/services/demo_web/update?version={web['Version']['Index']}", web["Spec"])
    kept = told(daemon.post(URL, body(alone, resolve_image="changed", dry_run=True)))
    assert ("unchanged", "service", "demo_web") in kept
    assert ("update", "service", "demo_web") in told(daemon.post(URL, body(alone)))


# By whichever manager, and through a change of leaders.


def remove(daemon: Daemon) -> None:
    """Remove the stack, as another client would."""
    store = daemon.manager.store()
    store.write(removal(store.committed, "demo", new_id=str, now_s=0.0).changes)


def deploy_again(daemon: Daemon) -> None:
    """Leave the record of another client's deploy."""
    store = daemon.manager.store()
    (record,) = store.committed.stacks.values()
    other = msgspec.structs.replace(record, id="o" * 25, version=Version(index=0), deployed_by="another client")
    store.write([Delete(Kind.STACK, record.id, record.version.index), Put(other)])


def test_a_follower_passes_a_deploy_on() -> None:
    leader, follower, asked = pair()
    assert told(follower.post(URL, body())) == CREATED
    assert follower.get(URL).body == leader.get(URL).body
    assert (asked.asked[0].method, asked.asked[0].path) == ("POST", URL)


def large(count: int = 60, image: str = "nginx") -> dict[str, Any]:
    """Return a document of many services that publish a port each."""
    services = {f"s{n}": {"image": image, "ports": [f"{8000 + n}:80"]} for n in range(count)}
    return {"services": services}


class Watched:
    """`deploy`, with a note of where it was called; something may happen after that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None] = lambda: None) -> None:
        self.on_loop: list[bool] = []
        self._then, self._deploy = then, stacks.deploy
        monkeypatch.setattr(stacks, "deploy", self)

    def __call__(self, *arguments: Any, **more: Any) -> Proposal:
        self.on_loop.append(threading.current_thread() is threading.main_thread())
        try:
            return self._deploy(*arguments, **more)
        finally:
            if len(self.on_loop) == 1:
                self._then()


def test_a_large_stack_is_judged_in_a_thread_and_a_small_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, daemon = Watched(monkeypatch), Daemon().with_swarm()
    assert len(told(daemon.post(URL, body(large())))) == 61
    assert watched.on_loop == [False]
    assert len(told(daemon.post("/vault/v1/stacks/other", body()))) == len(CREATED)
    assert watched.on_loop == [False, True]


def test_what_was_judged_in_a_thread_is_judged_again_when_something_was_changed_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = Daemon().with_swarm()
    assert daemon.post(URL, body(large())).status == 200
    store = daemon.manager.store()

    def removes_one() -> None:
        found = store.committed.by_name(Kind.SERVICE, "demo_s7")
        assert found is not None
        store.write([Delete(Kind.SERVICE, found.id, found.version.index)])

    watched = Watched(monkeypatch, removes_one)
    changes = told(daemon.post(URL, body(large(image="nginx:2"))))
    assert watched.on_loop == [False, True]
    assert ("create", "service", "demo_s7") in changes
    assert len([change for change in changes if change[0] == "update"]) == 59


def test_a_task_that_changes_meanwhile_matters_only_to_what_looks_at_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon().with_swarm()
    store = daemon.manager.store()
    for prune, looks in ((False, [False]), (True, [False, True])):
        task = Put(Task(id=f"t{prune}", spec=TaskSpec(), service_id="x"))
        watched = Watched(monkeypatch, lambda task=task: store.write([task]))  # type: ignore[misc]
        assert daemon.post(URL, body(large(image=f"nginx:{prune}"), prune=prune)).status == 200
        assert watched.on_loop == looks


def test_a_large_stack_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, daemon = Watched(monkeypatch), Daemon().with_swarm()
    document = large()
    document["services"]["s9"]["ports"] = ["8000:80"]
    refused = daemon.post(URL, body(document))
    assert refused.status >= 400
    assert "8000" in refused.text
    assert watched.on_loop == [False, True]
    assert not daemon.manager.store().committed.services


def test_a_body_larger_than_other_requests_may_be_is_passed_on() -> None:
    leader, follower, asked = pair()
    configs = {f"c{number}": {"file": f"c{number}"} for number in range(7)}
    files = {name: encoded(b"x" * 1_000_000) for name in configs}
    answer = follower.post(URL, {"document": {"services": {}, "configs": configs}, "files": files})
    assert told(answer) == [("create", "config", f"demo_{name}") for name in configs]
    over = b'{"document": "' + b"x" * (MAX_BODY_BYTES + 1)
    for daemon in (leader, follower):
        assert daemon.request("POST", URL, over).status == 413
    assert asked.asked[-1].body == b""


def test_a_deploy_whose_answer_was_lost_is_done_once_and_answered_as_it_would_have_been() -> None:
    leader, follower, asked = pair()
    asked.faults = ["lost", "lost"]
    answer = follower.post(URL, body(base_revision="0"))
    assert told(answer) == CREATED
    assert answer.json()["revision"] == leader.get(URL).json()["revision"]
    assert len({one.new_id for one in asked.asked}) == 1
    assert len(leader.get("/services").json()) == 2


def test_a_deploy_whose_answer_was_lost_does_not_undo_what_was_deployed_since() -> None:
    leader, follower, asked = pair()
    asked.faults = ["lost"]
    asked.meanwhile = lambda: deploy_again(leader)
    answer = follower.post(URL, body())
    assert (answer.status, answer.message) == (
        409,
        "this deploy of stack demo was carried out, and the stack was deployed again or removed since: "
        "look at the stack before you deploy once more",
    )
    assert [one.deployed_by for one in leader.manager.store().committed.stacks.values()] == ["another client"]


def test_a_deploy_whose_answer_was_lost_does_not_bring_back_a_stack_that_was_removed_since() -> None:
    leader, follower, asked = pair()
    asked.faults = ["lost"]
    asked.meanwhile = lambda: remove(leader)
    assert follower.post(URL, body()).status == 409
    assert leader.get("/services").json() == []


def test_a_leader_that_cannot_tell_says_that_the_outcome_is_unknown() -> None:
    leader, follower, asked = pair()
    asked.faults = ["lost"]

    def loads_anew() -> None:
        remove(leader)
        store = leader.manager.store()
        store.committed = replace(store.committed, removals=Removals.from_now(store.committed.index))

    asked.meanwhile = loads_anew
    answer = follower.post(URL, body())
    assert (answer.status, answer.message) == (
        503,
        "the outcome of this write is unknown: look at the object before you try again",
    )
    assert leader.get("/services").json() == []


def test_a_removal_whose_answer_was_lost_says_so() -> None:
    leader, follower, asked = pair()
    follower.post(URL, body())
    asked.faults = ["lost"]
    assert follower.delete(URL).status == 503
    assert leader.get(URL).status == 404


# While others write.


class Busy(MemoryStore):
    """A store in which somebody replaces a secret after it was compared."""

    def __init__(self, before: MemoryStore, times: int) -> None:
        super().__init__()
        self.committed, self.values, self.times = before.committed, before.values, times

    async def value(self, kind: Kind, id: str) -> Plaintext:
        found = await super().value(kind, id)
        if kind is Kind.SECRET and self.times:
            self.times -= 1
            secret, other_id = self.committed.secrets[id], f"{self.times:04d}".ljust(25, "y")
            self.write([Delete(kind, id, secret.version.index)])
            self.write([Put(msgspec.structs.replace(secret, id=other_id, version=Version(index=0)))])
            self.values[kind, other_id] = found
        return found


@pytest.mark.parametrize(("times", "status"), [(1, 200), (100, 409)])
def test_a_secret_that_is_replaced_meanwhile_is_compared_again_a_few_times(times: int, status: int) -> None:
    daemon = Daemon().with_swarm()
    daemon.post(URL, {"document": {"services": {}, "secrets": DOCUMENT["secrets"]}, "files": {"s.txt": "eA=="}})
    daemon.manager.memory = Busy(daemon.manager.store(), times)
    answer = daemon.post(
        URL, {"document": {"services": {}, "secrets": DOCUMENT["secrets"]}, "files": {"s.txt": "eA=="}}
    )
    assert answer.status == status, answer.text
    if status == 409:
        assert answer.message == "the secrets and configs of stack demo are being changed by others: try again"


class Losing(MemoryStore):
    """A store in which somebody removes a secret just before it is compared."""

    def __init__(self, before: MemoryStore) -> None:
        super().__init__()
        self.committed, self.values = before.committed, before.values

    async def value(self, kind: Kind, id: str) -> Plaintext:
        self.write([Delete(kind, id, self.committed.secrets[id].version.index)])
        raise NotFound(kind, id)


def test_a_secret_that_is_removed_meanwhile_is_made_again() -> None:
    daemon = Daemon().with_swarm()
    posted = {"document": {"services": {}, "secrets": DOCUMENT["secrets"]}, "files": {"s.txt": "eA=="}}
    daemon.post(URL, posted)
    daemon.manager.memory = Losing(daemon.manager.store())
    assert told(daemon.post(URL, posted)) == [("create", "secret", "demo_s")]


# Bad bodies.


@pytest.mark.parametrize(
    ("posted", "message"),
    [
        (b"", "got EOF while reading request body"),
        (b"{", "unexpected end of JSON input"),
        (b"[]", "invalid request body: Expected object, got array at $"),
        (b"{}", "invalid request body: Object missing required field document at $"),
        (b'{"document": []}', "invalid request body: Expected object, got array at $"),
        (b'{"document": {}, "dry-run": true}', "invalid request body: Object contains unknown field dry-run at $"),
        (b'{"document": {}, "dry_run": 1}', "invalid request body: Expected bool | null, got int at $.dry_run"),
        (b'{"document": {}, "resolve_image": "x"}', "invalid request body: unknown value at $.resolve_image"),
        (b'{"document": {}, "files": {"a": 5}}', "invalid request body: files: a is not in base64"),
        (b'{"document": {}, "files": {"a\\u0007": "eA"}}', "invalid request body: files: a? is not in base64"),
        (b'{"document": {"services": ' + b"[" * 100_000 + b"}}", "exceeded max depth"),
    ],
)
def test_a_body_that_is_none_is_refused_with_one_sentence(posted: bytes, message: str) -> None:
    daemon = Daemon().with_swarm()
    answer = daemon.request("POST", URL, posted)
    assert (answer.status, answer.message) == (400, message)


def test_null_means_not_given() -> None:
    daemon = Daemon().with_swarm()
    nulls = dict.fromkeys(("base_revision", "dry_run", "prune", "resolve_image", "rotate_changed"))
    assert told(daemon.post(URL, body(**nulls))) == CREATED
    assert daemon.post("/vault/v1/stacks/empty", {"document": {"services": {}}, "files": None}).status == 200


@pytest.mark.parametrize("name", ["%20", "'", "%22"])
def test_a_stack_needs_a_name(name: str) -> None:
    daemon = Daemon().with_swarm()
    answer = daemon.post(f"/vault/v1/stacks/{name}", {"document": {"services": {}}})
    assert answer.status == 400
    assert answer.message.startswith("invalid stack name")


PIECES = st.sampled_from(
    [
        b'"document"',
        b'"files"',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b'"eA=="',
        b"null",
        b"1e999",
        b"{}",
        b'"\\ud800"',
        b"\xff",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=20).map(b"".join) | st.binary(max_size=40))
def test_any_body_is_a_stack_or_refused(posted: bytes) -> None:
    try:
        found = run(stack_of(posted))
    except BadRequest:
        return
    assert isinstance(found.document, dict)
