"""A port that a service publishes answers on the node, leads to each of its tasks, and is gone with it."""

import socket

import pytest

from tests.e2e.node import Node
from vault.network.links.names import Names

pytestmark = pytest.mark.machine

SERVES = "mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"


def answer(address: str, port: int) -> str:
    """Return the body of a page, or "" when nobody answers."""
    try:
        with socket.create_connection((address, port), 2) as one:
            one.settimeout(2)
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: one.recv(4096), b"")).partition(b"\r\n\r\n")[2].decode().strip()
    except OSError:
        return ""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        return int(one.getsockname()[1])


def test_a_published_port_leads_to_every_task_and_goes_on_while_vaultd_is_away(fresh: Node) -> None:
    port = free_port()
    said = fresh.vault(
        "service", "create", "--detach", "--name", "web", "--publish", f"{port}:80", "--replicas", "2", "busybox", "sh",
        "-c", SERVES,
    )  # fmt: skip
    assert said.err == ""
    fresh.until_running("web", 2)
    names = {container[:12] for container in fresh.running("web")}
    fresh.until(lambda: {answer("127.0.0.1", port) for _ in range(2)} == names, "both tasks answer")
    assert {answer(fresh.address, port) for _ in range(2)} == names
    refused = fresh.vault("service", "create", "--detach", "--name", "b", "-p", f"{port}:80", "busybox", code=1)
    assert f"port '{port}' is already in use by service 'web' (" in refused.err
    fresh.kill()
    assert {answer("127.0.0.1", port) for _ in range(2)} == names
    fresh.start()
    fresh.vault("service", "scale", "--detach", "web=1")
    fresh.until_running("web", 1)
    (left,) = fresh.running("web")
    fresh.until(lambda: {answer("127.0.0.1", port) for _ in range(4)} == {left[:12]}, "the task that is left answers")
    fresh.vault("service", "rm", "web")
    link = Names(fresh.run_root).mesh_link
    fresh.until(lambda: link not in [name for _, name in socket.if_nameindex()], "the mesh ends with its last port")
    with socket.socket() as one:
        one.bind(("0.0.0.0", port))
