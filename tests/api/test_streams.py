"""Logs, events, execs, images, volumes and containers."""

import asyncio
import base64
import json
import struct
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.api.client import Answer, Daemon, run
from tests.api.fakes import START_S
from tests.api.test_services import add_task, create, spec
from vault.api.events import events_between
from vault.api.log_format import details, stamp
from vault.api.ports import Container, Image, LogLine, Port
from vault.api.times import human
from vault.model.base import Version
from vault.model.errors import Unavailable
from vault.model.ids import Kind
from vault.store.changes import Delete, Put
from vault.store.snapshot import ChangeLog

START = datetime.fromtimestamp(START_S, UTC)
CONTAINER = Container(
    id="ab" * 32,
    name="web.1.t1",
    image="busybox:latest",
    image_id="sha256:" + "1" * 64,
    entrypoint=("sh", "-c"),
    command=("sleep 1",),
    created_at=START,
    started_at=START,
    state="running",
    labels={"com.docker.swarm.task.id": "t1"},
    ports=(Port(private=80, public=8080), Port(private=443, public=0)),
)


def line(text: str, after_s: float = 0, stream: int = 1) -> LogLine:
    return LogLine(stream=stream, timestamp=datetime.fromtimestamp(START_S + after_s, UTC), data=text.encode() + b"\n")


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Read stdcopy frames as Docker's clients do."""
    found = []
    while body:
        stream, length = struct.unpack(">BxxxL", body[:8])
        found.append((stream, body[8 : 8 + length]))
        body = body[8 + length :]
    return found


def with_logs() -> tuple[Daemon, str]:
    daemon = Daemon().with_swarm()
    service_id = create(daemon, spec())
    for slot in (1, 2):
        task = add_task(daemon, service_id, slot)
        daemon.manager.logs[task.id] = [line(f"{slot} first", slot), line(f"{slot} last", slot + 10, stream=2)]
    return daemon, service_id


def test_a_services_log_is_framed_and_in_order_of_time() -> None:
    daemon, _ = with_logs()
    answer = daemon.get("/services/web/logs?stdout=1&stderr=1&tail=all")
    assert answer.headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    assert frames(answer.body) == [(1, b"1 first\n"), (1, b"2 first\n"), (2, b"1 last\n"), (2, b"2 last\n")]
    old = daemon.get("/v1.41/services/web/logs?stdout=1")
    assert old.headers["content-type"] == "application/vnd.docker.raw-stream"


def test_a_line_begins_with_its_time_and_what_it_is_of() -> None:
    daemon, service_id = with_logs()
    (first, _) = frames(daemon.get("/tasks/t1/logs?stdout=1&timestamps=1&details=1").body)
    expected = (
        "2026-11-22T20:18:25.000000000Z "
        f"com.docker.swarm.node.id={'n' * 25},com.docker.swarm.service.id={service_id},"
        f"com.docker.swarm.task.id={'t1'.ljust(25, '0')} 1 first\n"
    )
    assert first == (1, expected.encode())


def test_details_are_escaped_and_sorted() -> None:
    assert details(None, {"b": "x y,z=1", "a": "é"}) == "a=%C3%A9,b=x+y%2Cz%3D1"
    assert stamp(LogLine(stream=1, timestamp=START, data=b"", nanosecond=7)) == "2026-11-22T20:18:24.000000007Z"


def test_following_a_service_takes_in_later_tasks_and_ends_with_it() -> None:
    daemon, service_id = with_logs()

    async def follow() -> Answer:
        asked = asyncio.create_task(daemon.call("GET", "/services/web/logs?stdout=1&stderr=1&follow=1", [b""]))
        await asyncio.sleep(0)
        store = daemon.manager.store()
        daemon.manager.logs["t3".ljust(25, "0")] = [line("3 only")]
        task = next(iter(store.committed.tasks_of(service_id)))
        from msgspec.structs import replace as changed

        store.write((Put(changed(task, id="t3".ljust(25, "0"), slot=3, version=Version())),))
        for _ in range(20):
            await asyncio.sleep(0)
        service = store.committed.services[service_id]
        store.write((Delete(Kind.SERVICE, service_id, service.version.index),))
        return await asked

    answer = run(follow())
    assert sorted(text for _, text in frames(answer.body))[-1] == b"3 only\n"
    assert answer.complete


@pytest.mark.parametrize("until_s", [START_S + 0.2, START_S - 60])
def test_following_ends_at_the_time_that_was_asked_for(until_s: float) -> None:
    daemon, _ = with_logs()
    answer = daemon.get(f"/services/web/logs?stdout=1&stderr=1&follow=1&until={until_s:.9f}")
    assert answer.complete
    assert sorted(text for _, text in frames(answer.body))[0] == b"1 first\n"


def test_a_stream_stops_when_its_reader_goes() -> None:
    daemon, _ = with_logs()
    url = "/services/web/logs?stdout=1&stderr=1&follow=1"
    answer = run(daemon.call("GET", url, [b""], hang_up=True))
    assert not answer.complete


def test_a_terminals_log_is_bare() -> None:
    daemon = Daemon()
    daemon.node.held = [replace(CONTAINER, tty=True)]
    daemon.node.lines = [line("$ ls")]
    assert daemon.get("/containers/web.1.t1/logs?stdout=1").body == b"$ ls\n"


def test_events_tell_what_was_made_changed_and_removed() -> None:
    daemon = Daemon().with_swarm()
    before = daemon.manager.store().committed
    create(daemon, spec())
    index = daemon.get("/services/web").json()["Version"]["Index"]
    middle = daemon.manager.store().committed
    daemon.post(f"/services/web/update?version={index}", spec(Image="busybox:2"))
    after = daemon.manager.store().committed
    (made,) = events_between(before, middle, START_S)
    assert (made.type, made.action, made.scope) == ("service", "create", "swarm")
    assert made.actor.attributes == {"name": "web"}
    (changed,) = events_between(middle, after, START_S)
    assert changed.actor.attributes == {"name": "web", "image.old": "busybox:latest", "image.new": "busybox:2"}
    daemon.delete("/services/web")
    (gone,) = events_between(after, daemon.manager.store().committed, START_S)
    assert (gone.action, gone.time) == ("remove", int(START_S))


def test_a_reader_that_fell_far_behind_is_told_what_differs_and_nothing_else() -> None:
    daemon = Daemon().with_swarm()
    before = replace(daemon.manager.store().committed, log=ChangeLog())  # Too long ago for the store's memory.
    create(daemon, spec())
    (told,) = events_between(before, daemon.manager.store().committed, START_S)
    assert (told.type, told.action) == ("service", "create")


def test_events_are_streamed_and_filtered_until_the_reader_goes() -> None:
    daemon = Daemon().with_swarm()

    heard = Answer()

    async def watch() -> None:
        url = '/events?filters={"type":["secret"]}'
        listener = asyncio.create_task(daemon.call("GET", url, [b""], into=heard))
        await asyncio.sleep(0)
        for name in ("a", "b"):
            await daemon.call("POST", "/secrets/create", [json.dumps({"Name": name, "Data": "eA=="}).encode()])
            await daemon.call("POST", "/networks/create", [json.dumps({"Name": name}).encode()])
            for _ in range(5):
                await asyncio.sleep(0)
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

    run(watch())
    told = [json.loads(one) for one in heard.body.splitlines()]
    assert [(one["Type"], one["Action"], one["Actor"]["Attributes"]) for one in told] == [
        ("secret", "create", {"name": "a"}),
        ("secret", "create", {"name": "b"}),
    ]
    assert not heard.complete
    ended = daemon.get(f"/events?until={int(START_S) - 1}")
    assert (ended.status, ended.body, ended.complete) == (200, b"", True)


def test_a_container_is_listed_and_shown_as_docker_does() -> None:
    daemon = Daemon()
    ended = replace(CONTAINER, id="cd" * 32, name="old", state="exited", exit_code=3, finished_at=START)
    daemon.node.held = [CONTAINER, ended]
    (row,) = daemon.get("/containers/json").json()
    assert row["Names"] == ["/web.1.t1"]
    assert row["Status"] == "Up Less than a second"
    assert row["Command"] == "sh -c 'sleep 1'"
    published = {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}
    assert row["Ports"] == [published, {"PrivatePort": 443, "Type": "tcp"}]
    assert [one["State"] for one in daemon.get("/containers/json?all=1").json()] == ["running", "exited"]
    assert daemon.filtered("/containers/json", {"status": ["exited"]})[0]["Status"].startswith("Exited (3) ")
    assert daemon.filtered("/containers/json", {"name": {"/web": True}})[0]["Id"] == CONTAINER.id
    for reference in ("web.1.t1", "/web.1.t1", CONTAINER.id, CONTAINER.id[:12]):
        shown = daemon.get(f"/containers/{reference.replace('/', '%2F')}/json")
        assert shown.status == (404 if reference.startswith("/") else 200)
    assert shown.json()["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert shown.json()["Path"] == "sh"
    ports = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None}
    assert shown.json()["NetworkSettings"]["Ports"] == ports


def test_an_exec_is_made_started_read_and_remembered() -> None:
    daemon = Daemon()
    daemon.node.held = [CONTAINER]
    made = daemon.post("/containers/web.1.t1/exec", {"Cmd": ["ls", "-l"], "AttachStdout": True})
    exec_id = made.json()["Id"]
    assert (made.status, len(exec_id)) == (201, 64)
    assert daemon.get(f"/exec/{exec_id}/json").json()["ExitCode"] is None
    output = daemon.post(f"/exec/{exec_id}/start", {"Detach": False, "Tty": False})
    assert frames(output.body) == [(1, b"out\n"), (2, b"err\n")]
    shown = daemon.get(f"/exec/{exec_id}/json").json()
    assert (shown["ExitCode"], shown["Running"], shown["Pid"]) == (7, False, 4711)
    assert shown["ProcessConfig"]["arguments"] == ["-l"]
    again = daemon.post(f"/exec/{exec_id}/start", {})
    assert (again.status, again.message) == (409, f"exec {exec_id} has already been started")


def test_an_exec_needs_a_running_container() -> None:
    daemon = Daemon()
    daemon.node.held = [replace(CONTAINER, state="exited")]
    answer = daemon.post("/containers/web.1.t1/exec", {"Cmd": ["ls"]})
    assert (answer.status, answer.message) == (409, f"Container {CONTAINER.id} is not running")


def test_an_exec_that_wants_input_over_plain_http_is_pointed_to_the_socket() -> None:
    daemon = Daemon()
    daemon.node.held = [CONTAINER]
    exec_id = daemon.post("/containers/web.1.t1/exec", {"Cmd": ["sh"], "AttachStdin": True}).json()["Id"]
    answer = daemon.post(f"/exec/{exec_id}/start", {})
    assert answer.status == 501
    assert 'use "vault exec"' in answer.message


def test_the_docker_command_is_told_before_it_asks_for_an_upgrade_and_may_exec_detached() -> None:
    daemon = Daemon()
    daemon.node.held = [CONTAINER]
    docker = {"user-agent": "Docker-Client/20.10.24 (linux)"}
    answer = daemon.post("/containers/web.1.t1/exec", {"Cmd": ["ls"], "AttachStdout": True}, headers=docker)
    assert (answer.status, 'use "vault exec"' in answer.message) == (501, True)
    detached = {"Cmd": ["ls"], "Detach": True}
    assert daemon.post("/containers/web.1.t1/exec", detached, headers=docker).status == 201


@pytest.mark.parametrize(
    ("method", "url", "told"),
    [
        ("POST", "/v1.41/containers/create?name=x", "service create"),
        ("POST", "/containers/web.1.t1/stop?t=3", "service scale"),
        ("DELETE", "/containers/web.1.t1?force=1", "service rm"),
        ("POST", "/containers/web.1.t1/attach?stream=1", "vault exec"),
        ("GET", "/containers/web.1.t1/top", "vault exec"),
        ("POST", "/volumes/prune", "by name"),
        ("POST", "/build", "image load"),
        ("POST", "/images/registry:5000/team/web/push", "image pull"),
        ("POST", "/networks/n/connect", "--network-add"),
        ("GET", "/plugins", "not supported"),
        ("GET", "/system/df", "data root"),
    ],
)
def test_what_docker_can_and_we_do_not_is_refused_with_what_to_use_instead(method: str, url: str, told: str) -> None:
    answer = Daemon().with_swarm().request(method, url, headers={"host": ""})  # As `docker attach` sends it.
    assert answer.status == 501
    assert told in answer.message


def socket_to(daemon: Daemon, **posted: Any) -> tuple[TestClient, str]:
    daemon.node.held = [CONTAINER]
    answer = daemon.post("/containers/web.1.t1/exec", {"Cmd": ["cat"], "AttachStdin": True, **posted})
    return TestClient(daemon.app), f"/vault/v1/exec/{answer.json()['Id']}/start"


def test_the_socket_carries_input_output_size_signals_and_the_exit_code() -> None:
    daemon = Daemon()
    client, url = socket_to(daemon, Tty=True)
    with client.websocket_connect(f"{url}?h=24&w=80") as socket:
        socket.send_bytes(b"\x00hello \x00\xff")
        assert socket.receive_bytes() == b"\x01hello \x00\xff"
        socket.send_bytes(b'\x03{"h":40,"w":120}')
        socket.send_bytes(b"\x05INT")
        socket.send_bytes(b"\x00")
        assert socket.receive_bytes() == b'\x04{"code":7}'
    (process,) = daemon.node.processes
    assert (process.spec.height, process.spec.width, process.spec.tty) == (24, 80, True)
    assert (process.sizes, process.signals, process.closed) == ([(40, 120)], ["INT"], True)


def test_a_client_that_goes_hangs_up_on_its_process() -> None:
    daemon = Daemon()
    client, url = socket_to(daemon)
    with client.websocket_connect(url) as socket:
        socket.send_bytes(b"\x00x")
        socket.receive_bytes()
    assert daemon.node.processes[0].closed


@pytest.mark.parametrize("message", [b"", b"\x07", b"\x03{}", b"\x03\xff", b'\x03{"h":-1,"w":1}', b"\x05" + b"A" * 99])
def test_a_message_the_protocol_does_not_have_ends_the_socket(message: bytes) -> None:
    daemon = Daemon()
    client, url = socket_to(daemon)
    with client.websocket_connect(url) as socket:
        socket.send_bytes(message)
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_bytes()
    assert ended.value.code == 1003
    assert daemon.node.processes[0].closed


def test_an_exec_that_cannot_start_is_denied_with_its_reason() -> None:
    daemon = Daemon()
    client, url = socket_to(daemon)

    async def broken(container_id: str, spec: object) -> None:
        raise Unavailable("the container is stopping: try again")

    daemon.node.exec = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(Exception) as denied, client.websocket_connect(url):  # noqa: PT011 - starlette's own kind
        pass
    assert denied.value.status_code == 503  # type: ignore[attr-defined]
    assert denied.value.json() == {"message": "the container is stopping: try again"}  # type: ignore[attr-defined]


def test_an_archive_is_taken_in_as_it_comes() -> None:
    daemon = Daemon()
    answer = run(daemon.call("POST", "/images/load?quiet=1", [b"a" * 70_000, b"b" * 70_000, b""]))
    assert answer.json() == {"stream": "Loaded image: busybox:latest\n"}
    assert len(daemon.node.taken) == 140_000
    imported = run(daemon.call("POST", "/images/create?fromSrc=-&repo=base&tag=1", [b"tar"]))
    assert imported.json()["status"].startswith("sha256:")


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        ("fromImage=busybox", "busybox:latest"),
        ("fromImage=busybox&tag=1", "busybox:1"),
        ("fromImage=reg:5000/a/b&tag=v1", "reg:5000/a/b:v1"),
        ("fromImage=reg:5000/a/b", "reg:5000/a/b:latest"),
        ("fromImage=busybox&tag=sha256:" + "1" * 64, "busybox@sha256:" + "1" * 64),
        ("fromImage=busybox:2", "busybox:2"),
    ],
)
def test_a_pull_names_what_it_pulls(query: str, reference: str) -> None:
    answer = Daemon().post(f"/images/create?{query}")
    assert json.loads(answer.body.splitlines()[0]) == {"status": f"Pulling from {reference}", "id": "latest"}


def test_a_pull_that_fails_says_so_by_status_or_in_the_stream() -> None:
    missing = Daemon().post("/images/create?fromImage=missing")
    assert (missing.status, missing.message) == (404, "No such image: missing:latest")
    broken = Daemon().post("/images/create?fromImage=broken")
    assert broken.status == 200
    last = json.loads(broken.body.splitlines()[-1])
    assert last == {"errorDetail": {"message": "No such layer: broken:latest"}, "error": "No such layer: broken:latest"}


@pytest.mark.parametrize("header", ["%%%", base64.urlsafe_b64encode(b"[]").decode(), "A" * 70_000])
def test_bad_credentials_are_refused_and_not_quoted(header: str) -> None:
    answer = run(Daemon().call("POST", "/images/create?fromImage=a", [b""], headers={"x-registry-auth": header}))
    assert answer.status == 400
    assert answer.message.startswith("invalid X-Registry-Auth header: it ")
    assert header not in answer.message


def test_images_and_volumes_are_listed_shown_and_removed() -> None:
    daemon = Daemon()
    image = Image(
        id="sha256:" + "2" * 64,
        references=("team/web:1",),
        digests=(),
        created_at=START,
        size_bytes=5,
        architecture="x86_64",
    )
    daemon.node.stored = [image]
    assert daemon.filtered("/images/json", {"reference": ["team/*"]})[0]["RepoTags"] == ["team/web:1"]
    twice = replace(image, references=("team/web:1", "web:1"), digests=("team/web@sha256:aa", "web@sha256:aa"))
    daemon.node.stored = [twice]
    (shown,) = daemon.filtered("/images/json", {"reference": ["web"]})
    assert (shown["RepoTags"], shown["RepoDigests"]) == (["web:1"], ["web@sha256:aa"])
    daemon.node.stored = [image]
    assert daemon.filtered("/images/json", {"dangling": ["true"]}) == []
    assert daemon.get("/images/team/web:1/json").json()["Architecture"] == "amd64"
    assert daemon.delete("/images/team/web:1").json() == [{"Untagged": "team/web:1"}, {"Deleted": image.id}]
    made = daemon.post("/volumes/create", {"Name": "data", "Labels": {"a": "b"}})
    assert (made.status, made.json()["Mountpoint"]) == (201, "/v/data")
    assert daemon.post("/volumes/create", {"Name": "../x"}).status == 400
    assert [one["Name"] for one in daemon.get("/volumes").json()["Volumes"]] == ["data"]
    assert daemon.delete("/volumes/data").status == 204
    assert daemon.get("/volumes/data").status == 404


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (172_800, "2 days"),
        (1_209_600, "2 weeks"),
        (7_776_000, "3 months"),
        (94_608_000, "3 years"),
    ],
)
def test_durations_are_told_in_dockers_words(duration_s: float, words: str) -> None:
    assert human(duration_s) == words
