"""Every sentence with which Docker's swarm refuses something, with its status."""

import pytest

from tests.api.client import Daemon
from tests.api.validation import PRECONDITION, TABLE, Refusal, World, port, service


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_a_port_of_the_mesh_needs_a_mesh() -> None:
    daemon = Daemon().with_swarm()
    assert daemon.delete("/networks/ingress").status == 204
    refused = daemon.post("/services/create", service(endpoint={"Ports": [port()]}))
    assert (refused.status, refused.message) == (
        400,
        PRECONDITION + "service needs ingress network, but no ingress network is present",
    )
    assert daemon.post("/services/create", service(endpoint={"Ports": [port(PublishMode="host")]})).status == 201


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_what_docker_refuses_is_refused_with_its_sentence(world: World, row: Refusal) -> None:
    before = world.snapshot()
    method, _, path = world.filled(row.asked).partition(" ")
    answer = world.daemon.request(method, path, world.body(row.posted))
    assert (answer.status, answer.message) == (row.status, world.filled(row.message))
    assert world.snapshot() is before, "what is refused leaves nothing"
