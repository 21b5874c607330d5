"""Record what Docker's client makes of the stack files in `vectors/`; run by hand, never by the tests.

    python -m tests.stack.record_vectors [NAME...]

Needs a `docker` command.  It talks to a fake engine on a socket in a temporary directory, which answers just enough and
notes what is posted.  For each NAME.yml it writes NAME.json: version of the client, `config` (what `stack config`
prints, with the directory as DIR), `posts` (bodies by kind, sorted by name), `stderr`, and the exit code of the deploy.
The texts in refused.txt become refused.json: each with what `stack config` says against it, null if nothing.
"""

import contextlib
import http.server
import json
import os
import pathlib
import socketserver
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from typing import Any

VECTORS = pathlib.Path(__file__).parent / "vectors"
ENVIRONMENT = {"HOME": "/home/user", "TAG": "1.2", "EMPTY": "", "COUNT": "3", "ON": "yes", "FROM_CALLER": "value"}


class Engine(http.server.BaseHTTPRequestHandler):
    """Says that everything named exists, and creates whatever is asked."""

    posts: dict[str, list[Any]]

    def do_HEAD(self) -> None:
        self._answer(200, None)

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        path = url.path.split("/", 2)[-1] if url.path.startswith("/v1.") else url.path.lstrip("/")
        filters = json.loads(urllib.parse.parse_qs(url.query).get("filters", ["{}"])[0])
        kind = path.split("/")[0]
        if path == "info":
            self._answer(200, {"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}})
        elif kind == "networks" and path != "networks":
            self._answer(200, {"Name": path.split("/")[1], "Id": "n", "Scope": "swarm"})
        elif path in ("secrets", "configs"):
            self._answer(200, [{"ID": f"id of {name}", "Spec": {"Name": name}} for name in filters.get("name", {})])
        elif kind in ("secrets", "configs"):
            self._answer(404, {"message": "not found"})
        else:
            self._answer(200, [])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.posts.setdefault(urllib.parse.urlsplit(self.path).path.split("/")[2], []).append(json.loads(body))
        self._answer(201, {"ID": "made", "Id": "made"})

    def handle(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # The client does not wait for the end of a HEAD.
            super().handle()

    def _answer(self, status: int, body: Any) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Api-Version", "1.50")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    """An HTTP server on a unix socket."""

    def get_request(self) -> tuple[Any, Any]:
        request, _ = super().get_request()
        return request, ("local", 0)


def record(path: pathlib.Path) -> None:
    """Write what the client makes of one stack file."""
    posts: dict[str, list[Any]] = {}
    handler = type("Recording", (Engine,), {"posts": posts})
    with tempfile.TemporaryDirectory() as scratch, Server(f"{scratch}/engine", handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{scratch}/engine", **ENVIRONMENT}
        parts = sorted(path.parent.glob(f"{path.stem}.*yml"))  # merged.yml and merged.z.yml are one vector.
        files = [word for part in parts for word in ("-c", part.name)]
        run = {"cwd": path.parent, "env": env, "capture_output": True, "text": True, "check": False}
        version = subprocess.run(["docker", "--version"], **run).stdout.strip()  # type: ignore[call-overload]
        config = subprocess.run(["docker", "stack", "config", *files], **run)  # type: ignore[call-overload]
        command = ["docker", "stack", "deploy", "--detach", "--resolve-image", "never", *files, "demo"]
        deploy = subprocess.run(command, **run)  # type: ignore[call-overload]
        server.shutdown()
    directory = str(path.parent)
    text = json.dumps(
        {
            "client": version,
            "config": config.stdout if config.returncode == 0 else None,
            "posts": {
                kind: sorted(bodies, key=lambda body: str(body["Name"])) for kind, bodies in sorted(posts.items())
            },
            "stderr": deploy.stderr,
            "exit": deploy.returncode,
        },
        indent=1,
        ensure_ascii=False,
    )
    path.with_suffix(".json").write_text(text.replace(directory, "DIR") + "\n")


def record_refusals() -> None:
    """Write what the client has against each text of refused.txt."""
    said = []
    for text in (VECTORS / "refused.txt").read_text().split("\n=====\n"):
        run = subprocess.run(
            ["docker", "stack", "config", "-c", "-"],
            input=text,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        said.append([text, run.stderr.strip() if run.returncode else None])
    (VECTORS / "refused.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    wanted = sys.argv[1:]
    if not wanted or "refused" in wanted:
        record_refusals()
    for vector in sorted(VECTORS.glob("*.yml")):
        if "." not in vector.stem and (not wanted or vector.stem in wanted):
            record(vector)
