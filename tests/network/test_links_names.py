"""Names fit the kernel, subnets avoid what is taken, addresses go round."""

import json
import subprocess
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.network.links.names import (
    POOLS,
    WIRE_POOLS,
    Attachment,
    Binding,
    Names,
    free_address,
    free_subnets,
    free_wires,
    gateway,
    whole_table,
)

SUBNET = IPv4Network("172.20.16.0/20")
TASK = "t" * 25


@given(st.text(min_size=1, max_size=60))
def test_names_fit_the_limit_of_the_kernel_and_take_only_safe_characters(root: str) -> None:
    names = Names(Path("/run") / root.replace("\0", ""))
    assert len(names.link(TASK)) == 15
    assert names.link(TASK).isalnum()
    assert names.link(TASK).isascii()
    assert names.link(TASK).startswith(names.link_prefix)


def test_two_run_roots_have_nothing_in_common() -> None:
    one, other = Names(Path("/run/a")), Names(Path("/run/b"))
    assert one.table != other.table
    assert not one.link_prefix.startswith(other.link_prefix)
    assert one.seed != other.seed


@given(st.integers(min_value=0), st.lists(st.sampled_from(list(POOLS[0].subnets(new_prefix=20))), max_size=30))
def test_a_free_subnet_overlaps_nothing_taken(seed: int, taken: list[IPv4Network]) -> None:
    found = next(free_subnets(taken, seed))
    assert not any(found.overlaps(other) for other in taken)


def test_when_a_pool_is_taken_the_next_one_serves_and_at_last_none() -> None:
    assert next(free_subnets([POOLS[0]], 7)).subnet_of(POOLS[1])
    assert next(free_subnets([IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")], 7)).subnet_of(POOLS[2])
    assert list(free_subnets(POOLS, 7)) == []


@pytest.mark.parametrize(
    ("after", "taken", "expected"),
    [
        ("0.0.0.0", [], "172.20.16.2"),
        ("172.20.16.2", [], "172.20.16.3"),
        ("172.20.16.2", ["172.20.16.3", "172.20.16.4"], "172.20.16.5"),
        ("172.20.31.254", [], "172.20.16.2"),
        ("172.20.31.253", ["172.20.31.254", "172.20.16.2"], "172.20.16.3"),
    ],
)
def test_addresses_go_round_past_what_is_taken(after: str, taken: list[str], expected: str) -> None:
    assert free_address(SUBNET, taken, IPv4Address(after)) == IPv4Address(expected)


def test_what_a_wire_gets_no_task_can_get_at_the_same_moment() -> None:
    assert not any(one.overlaps(other) for one in POOLS for other in WIRE_POOLS)
    assert next(free_wires([WIRE_POOLS[0]], 7)).subnet_of(WIRE_POOLS[1])
    (left,) = free_wires([*WIRE_POOLS[:2], *list(WIRE_POOLS[2].subnets(new_prefix=24))[1:]], 7)
    assert left == IPv4Network("10.239.0.0/24")
    assert list(free_wires(WIRE_POOLS, 7)) == []


def test_a_full_subnet_has_no_address() -> None:
    small = IPv4Network("10.0.0.0/29")
    taken = [str(small[n]) for n in range(2, 7)]
    assert free_address(small, taken, IPv4Address(0)) is None
    assert free_address(small, taken[1:], IPv4Address(0)) == small[2]


def test_neither_gateway_network_nor_broadcast_is_given_to_a_task() -> None:
    seen, last = set(), IPv4Address(0)
    for _ in range(SUBNET.num_addresses + 5):
        found = free_address(SUBNET, (), last)
        assert found is not None
        last = found
        seen.add(last)
    assert len(seen) == SUBNET.num_addresses - 3
    assert not {SUBNET[0], gateway(SUBNET), SUBNET[-1]} & seen


@pytest.mark.machine
def test_nft_itself_accepts_the_table() -> None:
    bindings = tuple(Binding(protocol=kind, published_port=8080, target_port=80) for kind in ("tcp", "udp"))
    tasks = [Attachment(task_id=TASK, address="172.20.16.2", bindings=bindings)]
    for attachments in ([], tasks):
        script = whole_table(Names(Path("/run/vault")), SUBNET, attachments)
        subprocess.run(["nft", "--check", "-f", "-"], input=script.encode(), check=True, capture_output=True)


def test_a_record_of_this_format_is_read_for_ever() -> None:
    """A record that vaultd wrote on 2026-11-22; a newer vaultd must still remove that link."""
    written = (
        '{"task_id":"ttttttttttttttttttttttttt","address":"172.20.16.2",'
        '"bindings":[{"protocol":"tcp","published_port":8080,"target_port":80}]}'
    )
    record = msgspec.json.decode(written, type=Attachment)
    assert record.bindings == (Binding(protocol="tcp", published_port=8080, target_port=80),)
    assert json.loads(msgspec.json.encode(record)) == json.loads(written)
