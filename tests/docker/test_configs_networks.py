"""`docker config`, `network`, `volume` and `image` against vaultd."""

import json

import pytest

from tests.docker.client import Docker, shape

pytestmark = pytest.mark.machine

CONFIGS = """\
ID  NAME  CREATED  UPDATED
ID  conf  AGO  AGO"""
PRETTY = """\
ID:\t\t\tID
Name:\t\t\tconf
Labels:
 - tier=web
Created at:  \tTIME
Updated at:  \tTIME
Data:
listen 80;"""
NETWORKS = """\
NETWORK ID  NAME  DRIVER  SCOPE
ID  back  overlay  swarm
ID  ingress  overlay  swarm"""


def test_a_config_is_made_shown_and_removed(docker: Docker) -> None:
    assert shape(docker("config", "create", "--label", "tier=web", "conf", "-", stdin=b"listen 80;\n")) == "ID"
    assert shape(docker("config", "ls")) == CONFIGS
    assert shape(docker("config", "inspect", "--pretty", "conf")) == PRETTY
    assert docker("config", "inspect", "--format", "{{json .Spec.Data}}", "conf") == '"bGlzdGVuIDgwOwo="'
    assert docker("config", "ls", "--filter", "label=tier=db", "-q") == ""
    assert docker.refuses("config", "create", "Conf", "-", stdin=b"x") == (
        "Error response from daemon: rpc error: code = AlreadyExists desc = config Conf already exists"
    )
    docker("service", "create", "-q", "--detach", "--name", "w", "--replicas", "0", "--config", "conf", "busybox")
    assert docker.refuses("config", "rm", "conf") == (
        "Error response from daemon: rpc error: code = InvalidArgument desc = "
        "config 'conf' is in use by the following service: w"
    )
    docker("service", "rm", "w")
    said = docker.run("config", "rm", "conf", "nosuch")
    assert (said.code, said.out) == (1, "conf\n")
    assert said.warned == docker.no_such("config", "nosuch")


def test_an_overlay_network_is_made_shown_and_removed(docker: Docker) -> None:
    made = docker("network", "create", "-d", "overlay", "--label", "a=b", "--attachable", "back")
    assert shape(made) == "ID"
    assert shape(docker("network", "ls", "-f", "driver=overlay")) == NETWORKS
    assert docker("network", "ls", "-q", "--no-trunc", "--filter", "label=a=b") == made
    (shown,) = json.loads(docker("network", "inspect", "back"))
    assert (shown["Id"], shown["Scope"], shown["Driver"], shown["Attachable"]) == (made, "swarm", "overlay", True)
    assert (shown["Labels"], shown["Containers"]) == ({"a": "b"}, {})
    (subnet,) = shown["IPAM"]["Config"]
    assert subnet["Gateway"] == subnet["Subnet"].replace("0/24", "1")
    docker("service", "create", "-q", "--detach", "--name", "w", "--replicas", "0", "--network", "back", "busybox")
    assert docker.refuses("network", "rm", "back").splitlines()[0] == (
        "Error response from daemon: rpc error: code = FailedPrecondition desc = network back is in use by service w"
    )
    docker("service", "rm", "w")
    said = docker.run("network", "rm", "back", "nosuch")
    assert (said.code, said.out) == (1, "back\n")
    assert said.warned.splitlines()[0] == docker.no_such("network", "nosuch")


def test_a_subnet_can_be_chosen_and_not_twice(docker: Docker) -> None:
    docker("network", "create", "-d", "overlay", "--subnet", "10.77.0.0/24", "chosen")
    assert docker("network", "inspect", "--format", "{{json .IPAM.Config}}", "chosen") == (
        '[{"Subnet":"10.77.0.0/24","Gateway":"10.77.0.1"}]'
    )
    assert docker.refuses("network", "create", "-d", "overlay", "--subnet", "10.77.0.128/25", "again") == (
        "Error response from daemon: Pool overlaps with other one on this address space: "
        "10.77.0.128/25 and 10.77.0.0/24 of network chosen, choose another subnet"
    )
    assert docker("network", "ls", "-q", "--filter", "name=again") == ""


def test_a_network_is_made_with_options_and_shown_with_its_endpoints(docker: Docker) -> None:
    words = ["--internal", "--opt", "com.docker.network.driver.mtu=1200", "--ip-range", "10.78.0.128/25"]
    docker("network", "create", "-d", "overlay", "--subnet", "10.78.0.0/24", *words, "inner")
    docker("service", "create", "-q", "--detach", "--name", "w", "--replicas", "0", "--network", "inner", "busybox")
    (shown,) = json.loads(docker("network", "inspect", "-v", "inner"))
    assert (shown["Internal"], shown["Options"]["com.docker.network.driver.mtu"]) == (True, "1200")
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.78.0.0/24", "IPRange": "10.78.0.128/25", "Gateway": "10.78.0.1"}]
    assert shown["Services"]["w"]["Tasks"] == []
    docker("service", "rm", "w")
    docker("network", "rm", "inner")


def test_networks_of_one_machine_are_refused_with_what_to_use(docker: Docker) -> None:
    assert docker.refuses("network", "create", "local") == (
        "Error response from daemon: rpc error: code = InvalidArgument desc = "
        'a network of driver "bridge" is for services only with the scope swarm: add --scope swarm, or use overlay'
    )


def test_an_encrypted_network_is_made_by_docker_where_nodes_have_wireguard(docker: Docker) -> None:
    docker("network", "create", "-d", "overlay", "--opt", "encrypted", "secret")
    assert docker("network", "inspect", "--format", "{{.Options}}", "secret").count("encrypted") == 1
    docker("network", "rm", "secret")


@pytest.mark.parametrize("name", ["host", "none", "bridge"])
def test_predefined_networks_are_shown_and_stay(docker: Docker, name: str) -> None:
    assert docker("network", "inspect", "--format", "{{.Name}} {{.Scope}}", name) == f"{name} local"
    assert docker.refuses("network", "rm", name).splitlines()[0] == (
        f"Error response from daemon: {name} is a pre-defined network and cannot be removed"
    )


def test_volumes_are_made_listed_inspected_and_removed(docker: Docker) -> None:
    assert docker("volume", "create", "--label", "a=b", "data") == "data"
    assert shape(docker("volume", "ls")) == "DRIVER  VOLUME NAME\nlocal  data"
    (shown,) = json.loads(docker("volume", "inspect", "data"))
    assert (shown["Labels"], shown["Driver"], shown["Scope"]) == ({"a": "b"}, "local", "local")
    assert shown["Mountpoint"].endswith("/volumes/data/_data")
    said = docker.run("volume", "rm", "data", "nosuch")
    assert (said.code, said.out) == (1, "data\n")
    assert "nosuch" in said.err


def test_images_are_listed_inspected_and_pulled_from_nowhere(docker: Docker) -> None:
    for words in (("images",), ("image", "ls")):
        rows = [line.split() for line in docker(*words, "busybox").splitlines()]
        assert rows[0] == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
        assert rows[1][:2] == ["busybox", "latest"]
    (shown,) = json.loads(docker("image", "inspect", "busybox"))
    assert "busybox:latest" in shown["RepoTags"]
    assert (shown["Os"], shown["Config"]["Cmd"]) == ("linux", ["sh"])
    assert docker("images", "-q", "--no-trunc", "busybox") == shown["Id"]
    assert "No such image: nosuch" in docker.refuses("image", "rm", "nosuch")
    assert "127.0.0.1:1" in docker.refuses("image", "pull", "127.0.0.1:1/nosuch")
