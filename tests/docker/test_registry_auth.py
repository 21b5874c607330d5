"""Images of a private registry, by the `docker` command: somebody who has logged in, and `--with-registry-auth`."""

import json
from collections.abc import Iterator

import pytest

from tests.docker.client import Docker
from tests.e2e.node import WAITS_FOR_TERM
from tests.images.registries import ALICE, Private, private_registry

pytestmark = [pytest.mark.machine, pytest.mark.timeout(180)]


@pytest.fixture
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    """A registry of this test alone: the shared node may have no image of it yet."""
    with private_registry(tmp_path_factory.mktemp("private"), "team/app", "team/other") as made:
        yield made


def test_a_service_pulls_what_only_its_owner_may_see(docker: Docker, private: Private) -> None:
    words = ("service", "create", "-d", "-q", "--with-registry-auth", "--name")
    said = docker.run(*words, "mine", private.image, *WAITS_FOR_TERM, env=private.client)
    assert said.code == 0, said
    docker.node.until_running("mine", 1)
    other = private.image.replace("team/app", "team/other")
    said = docker.run("service", "update", "-d", "--image", other, "mine")  # It keeps what it has.
    assert said.code == 0, said
    docker.node.until(lambda: other in docker("ps", "--format", "{{.Image}}"), "the other image is pulled, too")
    assert ALICE[1] not in docker("service", "inspect", "mine")


def test_a_stack_deploys_private_images_service_by_service(docker: Docker, private: Private) -> None:
    services = {"web": {"image": private.image, "command": list(WAITS_FOR_TERM)}}
    (docker.home / "stack.yml").write_text(json.dumps({"version": "3.8", "services": services}))
    said = docker.run("stack", "deploy", "--with-registry-auth", "-c", "stack.yml", "s", env=private.client)
    assert said.code == 0, said
    docker.node.until_running("s_web", 1)
    docker("stack", "rm", "s")
