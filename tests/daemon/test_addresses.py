"""Which address a node advertises and listens on, from what an operator says and what the machine has."""

import pytest

from vault.daemon.addresses import Address, advertised, listened, toward
from vault.model.errors import BadRequest

ONE = (Address(link="lo", text="127.0.0.1"), Address(link="eth0", text="10.0.0.5"))


@pytest.mark.parametrize(
    ("wanted", "address", "listens"),
    [
        ("", "10.0.0.5", "0.0.0.0:2377"),
        ("0.0.0.0:2377", "10.0.0.5", "0.0.0.0:2377"),
        ("0.0.0.0", "127.23.0.1", "127.23.0.1:2377"),  # For this machine alone.
        ("", "127.23.0.1", "127.23.0.1:2377"),
        ("10.0.0.5", "10.0.0.5", "10.0.0.5:2377"),
        ("10.0.0.5:4000", "10.0.0.5", "10.0.0.5:4000"),
        ("eth0", "10.0.0.5", "10.0.0.5:2377"),
        ("eth0:4000", "10.0.0.5", "10.0.0.5:4000"),
        ("[fd00::1]:4000", "fd00::1", "[fd00::1]:4000"),
    ],
)
def test_a_manager_listens_where_it_is_told(wanted: str, address: str, listens: str) -> None:
    assert listened(wanted, address, ONE) == listens


@pytest.mark.parametrize("wanted", ["nolink", "1.2.3", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0.5:x"])
def test_what_is_no_place_to_listen_is_refused_in_docker_s_words(wanted: str) -> None:
    with pytest.raises(BadRequest, match=r"^listen address must be an IP address or network interface"):
        listened(wanted, "10.0.0.5", ONE)


@pytest.mark.parametrize("wanted", ["0.0.0.0", "::", "nolink", "10.0.0.5:0", "10.0.0.5:99999"])
def test_what_is_no_address_to_advertise_is_refused_in_docker_s_words(wanted: str) -> None:
    with pytest.raises(BadRequest, match=r"^advertise address must be a non-zero IP address or network interface"):
        advertised(wanted, ONE)


def test_the_way_to_a_manager_tells_the_address_and_nowhere_none() -> None:
    assert toward("127.0.0.1:2377") == toward("127.23.9.9") == "127.0.0.1"
    assert toward("manager.example") == toward("") == ""
