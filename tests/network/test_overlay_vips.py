"""Rules for virtual addresses: what a change says, and what the kernel makes of it."""

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tests.network.hosts import scratch_host, sh
from vault.network.kernel.nftables import Nftables
from vault.network.kernel.programs import NetworkFailed
from vault.network.overlay.reach import ReachChange, VirtualService
from vault.network.overlay.vips import changed_table, whole_table

GATEWAYS = (ip_address("10.0.1.1"), ip_address("fd00::1"))
WEB = VirtualService(vips=("10.0.1.2", "fd00::2"), backends=("10.0.1.11", "10.0.1.12", "fd00::11"))


def test_no_change_is_no_script() -> None:
    assert changed_table(ReachChange()) == ""


def test_what_is_no_address_gets_into_no_script() -> None:
    evil = VirtualService(vips=("10.0.1.2 }; flush ruleset",), backends=())
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        changed_table(ReachChange(services={"web": (None, evil)}))
    script = changed_table(ReachChange(services={"a; flush ruleset": (None, WEB)}))
    assert "flush" not in script


@pytest.fixture
def rules() -> Iterator[Nftables]:
    with scratch_host():
        opened = Nftables()
        yield opened
        opened.close()


def table() -> str:
    return sh("nft list table inet vault")


@pytest.mark.machine
def test_changes_lead_to_the_table_that_is_made_at_once(rules: Nftables) -> None:
    more = VirtualService(vips=WEB.vips, backends=(*WEB.backends, "10.0.1.13"))
    api = VirtualService(vips=("10.0.1.3",), backends=())
    rules.run(whole_table({"web": WEB}, {"10.0.1.11"}, GATEWAYS, "vxlan0"))
    rules.run(changed_table(ReachChange(services={"web": (WEB, more), "api": (None, api)}, own={"10.0.1.12"})))
    rules.run(changed_table(ReachChange(removed_own={"10.0.1.11"})))
    changed = table()
    rules.run(whole_table({"api": api, "web": more}, {"10.0.1.12"}, GATEWAYS, "vxlan0"))
    assert normal(changed) == normal(table())
    rules.run(changed_table(ReachChange(services={"web": (more, None), "api": (api, None)}, removed_own={"10.0.1.12"})))
    emptied = table()
    rules.run(whole_table({}, (), GATEWAYS, "vxlan0"))
    assert normal(emptied) == normal(table())


def normal(text: str) -> str:
    """Return a listing with chains and elements in one order."""
    blocks = sorted(text.replace("table inet vault {", "").rstrip().removesuffix("}").split("\n\n"))
    return "\n".join(" ".join(sorted(block.replace(",", " ").split())) for block in blocks)


@pytest.mark.machine
def test_an_address_passes_from_one_service_to_another_in_one_change(rules: Nftables) -> None:
    rules.run(whole_table({"web": WEB}, (), GATEWAYS, "vxlan0"))
    for before, after in (("web", "a"), ("a", "z")):
        rules.run(changed_table(ReachChange(services={before: (WEB, None), after: (None, WEB)})))
        assert f"jump service_{after}_4" in table()
        assert f"service_{before}_4" not in table()


@pytest.mark.machine
def test_a_script_that_fails_changes_nothing_and_says_why(rules: Nftables) -> None:
    rules.run(whole_table({"web": WEB}, (), GATEWAYS, "vxlan0"))
    before = table()
    with pytest.raises(NetworkFailed, match=r"network set-up failed: nft: .*No such file or directory"):
        rules.run("flush chain inet vault service_web_4\nadd rule inet vault nowhere accept\n")
    assert table() == before
