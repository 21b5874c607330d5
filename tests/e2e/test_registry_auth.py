"""Images of a registry that asks who one is, on a real vaultd: credentials come with the service, and stay unseen."""

import json
from base64 import b64encode
from collections.abc import Iterator

import pytest

from tests.e2e.node import WAITS_FOR_TERM, Node
from tests.e2e.search import found_in
from tests.images.registries import ALICE, Private, private_registry

pytestmark = [pytest.mark.machine, pytest.mark.timeout(180)]
PASSWORD = ALICE[1].encode()
FORMS = (PASSWORD, b64encode(PASSWORD)[4:-4], b64encode(":".join(ALICE).encode())[8:-4], PASSWORD.hex().encode())


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    with private_registry(tmp_path_factory.mktemp("private"), "team/app", "team/other", "team/late") as made:
        yield made


def rejected(node: Node, service: str) -> bool:
    """Whether a task of a service was rejected for want of its image."""
    return "No such image: " in node.vault("service", "ps", "--no-trunc", "--format", "{{.Error}}", service).out


def create(node: Node, private: Private, name: str, *more: str, image: str = "") -> None:
    words = ("service", "create", "-d", "-q", "--name", name, "--restart-delay", "100ms", *more)
    node.vault(*words, image or private.image, *WAITS_FOR_TERM, env=private.client)


def test_a_service_brings_the_credentials_that_its_nodes_pull_with(fresh: Node, private: Private) -> None:
    create(fresh, private, "stranger")
    fresh.until(lambda: rejected(fresh, "stranger"), "without credentials there is no image")
    create(fresh, private, "known", "--with-registry-auth")
    fresh.until_running("known", 1)
    said = [
        fresh.vault("service", "inspect", "known"),
        fresh.vault("service", "ps", "--no-trunc", "known"),
        fresh.vault("container", "inspect", fresh.running("known")[0]),
    ]
    assert not any(form.decode() in one.out + one.err for form in FORMS for one in said)
    # Sealed in the store, in no log, no argument, no environment.
    assert [place for form in FORMS for place in found_in(form, fresh.root)] == []
    assert found_in(FORMS[2], private.folder), "the search finds them where they are"
    fresh.vault("service", "rm", "known", "stranger")


def test_an_update_keeps_the_credentials_or_brings_them(fresh: Node, private: Private) -> None:
    """A restart of vaultd in between: they are in the store, not only in memory."""
    other = f"{private.address}/team/other:1"
    create(fresh, private, "web", "--with-registry-auth")
    fresh.until_running("web", 1)
    fresh.kill()
    fresh.start()
    fresh.until_running("web", 1)
    fresh.vault("service", "update", "-q", "--image", other, "web")
    assert fresh.vault("ps", "--format", "{{.Image}}").out == f"{other}\n", "those of the spec before are kept"
    create(fresh, private, "late", image=f"{private.address}/team/late:1")
    fresh.until(lambda: rejected(fresh, "late"), "it has none")
    fresh.vault("service", "update", "-d", "--with-registry-auth", "late", env=private.client)
    fresh.until_running("late", 1)
    fresh.vault("service", "rm", "web", "late")


def test_a_stack_brings_credentials_for_the_registries_of_its_images(fresh: Node, private: Private) -> None:
    stack = {"services": {"web": {"image": private.image, "command": list(WAITS_FOR_TERM)},
                          "own": {"image": "busybox", "command": list(WAITS_FOR_TERM)}}}  # fmt: skip
    (fresh.root / "stack.yml").write_text(json.dumps({"version": "3.8", **stack}))
    fresh.vault("stack", "deploy", "-d", "--with-registry-auth", "-c", "stack.yml", "s", env=private.client)
    fresh.until_running("s_web", 1)
    fresh.until_running("s_own", 1)
    fresh.vault("stack", "rm", "s")
