"""Settings: options, a file, defaults, and what is refused before anything starts."""

from pathlib import Path

import pytest

from vault.daemon.addresses import Address, advertised
from vault.daemon.settings import BadSetting, settings
from vault.model.errors import BadRequest
from vault.model.generic import discrete, named


def test_an_option_wins_over_the_file_and_labels_are_merged(tmp_path: Path) -> None:
    config = tmp_path / "vaultd.yaml"
    config.write_text("data-root: /srv/vault\nhostname: from-file\nlabels: {zone: a, disk: ssd}\n")
    made = settings({"hostname": "from-option", "run-root": None}, ["zone=b"], config)
    assert made.data_root == Path("/srv/vault")
    assert made.hostname == "from-option"
    assert made.labels == {"zone": "b", "disk": "ssd"}
    assert made.run_root == Path("/run/vault")


def test_generic_resources_come_from_the_option_or_the_file(tmp_path: Path) -> None:
    config = tmp_path / "vaultd.yaml"
    config.write_text("node-generic-resources: [gpu=one, gpu=two, ssd=3]\n")
    assert settings({}, [], config).generic_resources == (named("gpu", "one"), named("gpu", "two"), discrete("ssd", 3))
    assert settings({}, [], config, ["fpga=1"]).generic_resources == (discrete("fpga", 1),)
    assert settings({}, [], None).generic_resources == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("colour: blue\n", "unknown setting 'colour'"),
        ("hostname: [a]\n", "hostname must be a str"),
        ("hostname: 'a: b\n", "is not YAML"),
        ("- a\n", "must hold settings"),
        ("hostname: 'two words'\n", "invalid host name"),
        ("log-level: loud\n", "invalid log level"),
        ("node-generic-resources: gpu=1\n", "node-generic-resources must be a list"),
        ("node-generic-resources: [gpu]\n", "incorrect term gpu, missing '=' or malformed expression: use KIND="),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    config = tmp_path / "vaultd.yaml"
    config.write_text(text)
    with pytest.raises(BadSetting, match=reason) as error:
        settings({}, [], config)
    assert "\n" not in error.value.message


def test_a_missing_file_and_a_label_without_a_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="cannot read the configuration file"):
        settings({}, [], tmp_path / "no.yaml")
    with pytest.raises(BadSetting, match="use KEY=VALUE"):
        settings({}, ["=x"], None)


def test_a_run_root_that_leaves_no_room_for_sockets_is_refused() -> None:
    with pytest.raises(BadSetting, match="choose a shorter --run-root"):
        settings({"run-root": "/" + "x" * 100, "hostname": "h"}, [], None)


FOUND = (
    Address(link="lo", text="127.0.0.1"),
    Address(link="docker0", text="172.17.0.1"),
    Address(link="eth0", text="192.0.2.2"),
)


@pytest.mark.parametrize(
    ("wanted", "address"),
    [("", "192.0.2.2"), ("eth0", "192.0.2.2"), ("lo:2377", "127.0.0.1"), ("198.51.100.7", "198.51.100.7"),
     ("198.51.100.7:2377", "198.51.100.7"), ("[2001:db8::1]:2377", "2001:db8::1"), ("2001:db8::1", "2001:db8::1")],
)  # fmt: skip
def test_an_address_a_link_or_the_only_address_is_advertised(wanted: str, address: str) -> None:
    assert advertised(wanted, FOUND) == address


def test_with_several_addresses_one_must_be_named() -> None:
    several = (*FOUND, Address(link="eth1", text="198.51.100.2"))
    with pytest.raises(BadRequest, match="specify one with --advertise-addr"):
        advertised("", several)
    assert advertised("", FOUND[:1]) == "127.0.0.1"


@pytest.mark.parametrize("wanted", ["0.0.0.0", "nolink", "192.0.2.2:0", "192.0.2.2:99999", ":2377"])
def test_an_address_that_nobody_could_reach_is_refused(wanted: str) -> None:
    with pytest.raises(BadRequest, match="advertise address must be a non-zero IP address"):
        advertised(wanted, FOUND)
