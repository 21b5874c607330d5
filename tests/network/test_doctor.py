"""`vault doctor network`: what is missing on a machine, and what to do."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.network.hosts import scratch_host, sh
from tests.network.mesh_world import datagrams
from vault.network.doctor import examination as doctor
from vault.network.doctor.rules import Finding, Verdict, firewalls, published, report
from vault.network.kernel.programs import NetworkFailed
from vault.network.mesh.node import RECORD, MeshRecord, PublishedPort
from vault.network.wireguard.probe import KERNEL, Probe

LINKS = ("vabcdef+", "meshabcdef")
RULES = """\
table ip filter {
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
\tchain INPUT {
\t\ttype filter hook input priority filter; policy accept;
\t}
}
table ip6 filter {
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table inet mine {
\tchain in {
\t\ttype filter hook input priority filter + 1; policy drop;
\t}
\tchain loose {
\t}
}
"""


def verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {found.subject: found.verdict for found in findings}


def test_what_is_printed_says_under_each_fault_what_to_do() -> None:
    found = [Finding("veth links"), Finding("VXLAN links", Verdict.MISSING, "not supported", "load the module vxlan")]
    assert report(found) == (
        "ok       veth links\nmissing  VXLAN links: not supported\n         -> load the module vxlan\n"
    )


def test_what_the_kernel_refuses_is_missing_in_its_own_words() -> None:
    def refuse() -> None:
        raise OSError(95, "Operation not supported")

    def refuse_too() -> None:
        raise NetworkFailed("nft", "No such file or directory")

    assert doctor.check("x", refuse, "do") == Finding("x", Verdict.MISSING, "operation not supported", "do")
    assert "No such file" in doctor.check("x", refuse_too, "do").said
    assert doctor.check("x", lambda: None, "do") == Finding("x")


def test_rules_of_others_that_drop_forwarded_packets_are_named_with_the_words_that_help() -> None:
    forward, into = firewalls({"nft": RULES}, links=LINKS)
    assert (forward.verdict, forward.said[:38]) == (Verdict.NOTE, "table ip filter chain FORWARD drops wh")
    for rule in ("-i vabcdef+", "-o vabcdef+", "-i meshabcdef", "-o meshabcdef"):
        assert f"iptables -I DOCKER-USER {rule} -j ACCEPT" in forward.advice
    assert (into.verdict, into.said) == (Verdict.NOTE, "table inet mine chain in drops what none of its rules lets in")
    (legacy,) = firewalls({"nft": "", "iptables-legacy": "-P FORWARD DROP\n"}, links=LINKS)
    assert legacy.verdict is Verdict.NOTE
    (free,) = firewalls({"nft": RULES.replace("drop", "accept"), "iptables-legacy": "-P FORWARD ACCEPT\n"}, links=LINKS)
    assert free.verdict is Verdict.OK


def test_a_port_that_another_program_has_is_named_with_its_service() -> None:
    ports = [
        PublishedPort(protocol="tcp", published_port=80, service="web"),
        PublishedPort(protocol="udp", published_port=53, service="dns", taken=True),
    ]
    free, taken = published(ports)
    assert free == Finding("published port 80/tcp of service web")
    assert (taken.subject, taken.verdict) == ("published port 53/udp of service dns", Verdict.NOTE)
    assert "ss -lunp 'sport = :53'" in taken.advice


def test_without_wireguard_only_encrypted_networks_are_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_try_all", list)
    monkeypatch.setattr(doctor, "_firewalls", lambda run_root: [])
    subject = "WireGuard (for networks with --opt encrypted)"
    assert verdicts(doctor.examine(tmp_path, Probe(by="")))[subject] is Verdict.NOTE
    assert verdicts(doctor.examine(tmp_path, Probe(by=KERNEL)))[subject] is Verdict.OK
    silent = doctor.examine(tmp_path, Probe(by=KERNEL, silent=(("192.0.2.7", 7947),)))
    assert verdicts(silent)["encrypted networks: UDP port 7947 of 192.0.2.7"] is Verdict.NOTE


@pytest.mark.machine
def test_this_machine_has_all_it_takes_and_nothing_of_the_tries_is_left(tmp_path: Path) -> None:
    record = MeshRecord(
        subnet="172.30.0.0/30",
        namespace="/x",
        ports=(PublishedPort(protocol="tcp", published_port=80, service="web", taken=True),),
    )
    (tmp_path / RECORD).write_bytes(msgspec.json.encode(record))
    with scratch_host():
        found = doctor.examine(tmp_path, Probe(by=KERNEL))
        assert [each for each in found if each.verdict is Verdict.MISSING] == []
        assert verdicts(found)["published port 80/tcp of service web"] is Verdict.NOTE
        left = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True).stdout
        links = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout.splitlines()
        assert (left, len(links)) == (b"", 1)


@pytest.mark.machine
def test_the_command_ends_with_1_when_overlay_networks_cannot_work(tmp_path: Path) -> None:
    words = [Path(sys.executable).parent / "vault", "-H", f"unix://{tmp_path}/vault.sock", "doctor", "network"]
    with scratch_host():
        sh("ip link add vx type vxlan id 5 dstport 4789 && ip link set vx up")  # The kernel's own socket may be shared.
        fine = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (fine.returncode, fine.stderr) == (0, ""), fine.stdout
        sh("ip link del vx")
        with datagrams() as one:
            one.bind(("0.0.0.0", 4789))
            done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "missing  UDP port 4789 for VXLAN: address already in use" in done.stdout
    other = subprocess.run(
        [words[0], "-H", "tcp://x:1", "doctor", "network"], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1
    assert "run it on the node itself" in other.stderr
