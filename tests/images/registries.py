"""Registries on loopback: Debian's own, and a scripted one for what a good registry never does."""

from __future__ import annotations

import json
import socket
import subprocess
import tarfile
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.images.archives import Made, digest

TOOLS = Path(__file__).parents[2] / ".cache" / "tools"
IMAGES = Path(__file__).parents[2] / ".cache" / "images"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def debian_registry() -> Path:
    """Return the program, unpacked once from Debian's package; nothing is installed."""
    program = TOOLS / "docker-registry" / "usr" / "bin" / "docker-registry"
    if not program.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        fetch = ["apt-get", "-qq", "-oAPT::Sandbox::User=root", "download", "docker-registry"]
        subprocess.run(fetch, cwd=TOOLS, check=True, capture_output=True, timeout=100)
        (package,) = TOOLS.glob("docker-registry_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(TOOLS / "docker-registry")], check=True)
        package.unlink()
    return program


ALICE: Final = ("alice", "canary-7f3a9c51d20e84b6")
_ALICE_HASHED: Final = "$2y$04$9Y6J7XhGZkAvq8oRlxvrVe53hOLBqWT7g3GWet7F88qsZ862BNgFW"  # With bcrypt.


@contextmanager
def running_registry(directory: Path, *, private: bool = False) -> Iterator[str]:
    """Give the address of a real registry that keeps its blobs in `directory`; a private one lets only ALICE in."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = directory / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\nhttp: {{addr: '{address}'}}\n"
        + (f"auth: {{htpasswd: {{realm: private, path: {directory}/users}}}}\n" if private else "")
    )
    (directory / "users").write_text(f"{ALICE[0]}:{_ALICE_HASHED}\n")
    log = (directory / "log").open("wb")
    process = subprocess.Popen([debian_registry(), "serve", str(config)], stdout=log, stderr=log)
    try:
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(10)
        log.close()


@dataclass(frozen=True)
class Private:
    """A registry that lets only ALICE in, with busybox as `team/app:1`."""

    address: str
    folder: Path

    @property
    def image(self) -> str:
        return f"{self.address}/team/app:1"

    @property
    def client(self) -> dict[str, str]:
        """Return the environment of somebody who has logged in there."""
        auth = b64encode(":".join(ALICE).encode()).decode()
        (self.folder / "config.json").write_text(json.dumps({"auths": {self.address: {"auth": auth}}}))
        return {"DOCKER_CONFIG": str(self.folder)}


@contextmanager
def private_registry(directory: Path, *names: str) -> Iterator[Private]:
    """Give a private registry that has busybox under these names."""
    with running_registry(directory) as address:
        for name in names:
            push(address, name, "1", built("busybox"))
    with running_registry(directory, private=True) as address:
        (directory / "client").mkdir()
        yield Private(address, directory / "client")


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    host, _, port = address.partition(":")
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the registry does not start")


def push(address: str, name: str, tag: str, made: Made) -> str:
    """Store an image in a registry; return its manifest's digest."""
    for data in (made.config, *made.layers):
        with _send("POST", f"http://{address}/v2/{name}/blobs/uploads/") as answer:
            place = answer.headers["Location"]
        _send("PUT", f"{place}&digest={digest(data)}", data, "application/octet-stream").close()
    return push_manifest(address, name, tag, made.manifest, MANIFEST_TYPE)


def built(name: str) -> Made:
    """Return an image that `make images` has built."""
    with tarfile.open(IMAGES / f"{name}.tar") as archive:

        def read(member: str) -> bytes:
            found = archive.extractfile(member)
            assert found is not None
            return found.read()

        (listed,) = json.loads(read("manifest.json"))
        return Made(config=read(listed["Config"]), layers=tuple(map(read, listed["Layers"])))


def push_manifest(address: str, name: str, which: str, data: bytes, kind: str) -> str:
    _send("PUT", f"http://{address}/v2/{name}/manifests/{which}", data, kind).close()
    return digest(data)


def _send(method: str, url: str, data: bytes | None = None, kind: str = "") -> Any:
    headers = {"Content-Type": kind} if kind else {}
    return urllib.request.urlopen(urllib.request.Request(url, data=data, method=method, headers=headers), timeout=20)


def index_of(*entries: tuple[bytes, str, str]) -> bytes:
    """An index of (manifest, os, architecture)."""
    manifests = [
        {"mediaType": MANIFEST_TYPE, "digest": digest(data), "size": len(data),
         "platform": {"os": os, "architecture": architecture}}
        for data, os, architecture in entries
    ]  # fmt: skip
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}).encode()


@dataclass
class Asked:
    """One request that the scripted registry got."""

    path: str
    headers: dict[str, str]
    method: str = "GET"
    body: bytes = b""


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Scripted:
    """A registry whose answers the test writes: by path, as a value or a function of the request."""

    address: str = ""
    answers: dict[str, Answer | Callable[[Asked], Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def offer(self, name: str, tag: str, made: Made) -> None:
        """Answer for an image as a registry should."""
        manifest: Answer = (200, {"Content-Type": MANIFEST_TYPE}, made.manifest)
        self.answers[f"/v2/{name}/manifests/{tag}"] = manifest
        self.answers[f"/v2/{name}/manifests/{digest(made.manifest)}"] = manifest
        for data in (made.config, *made.layers):
            self.answers[f"/v2/{name}/blobs/{digest(data)}"] = (200, {}, data)


@contextmanager
def scripted_registry() -> Iterator[Scripted]:
    """Give a scripted registry, served from a thread of the test."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, sent: bytes) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            asked = Asked(self.path, headers, self.command, sent)
            script.asked.append(asked)
            answer = script.answers.get(self.path.partition("?")[0], (404, {}, b"{}"))
            status, headers, body = answer(asked) if callable(answer) else answer
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.address = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
