"""What `vault doctor network` makes of what it read.  Pure."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

_CHAIN: Final = re.compile(r"^\s*chain (\S+) \{")
_TABLE: Final = re.compile(r"^table (\S+) (\S+) \{")
_DROPS: Final = re.compile(r"hook (forward|input) .*policy drop;")
_LEGACY_DROPS: Final = re.compile(r"^-P FORWARD (DROP|REJECT)$", re.MULTILINE)


class Verdict(StrEnum):
    """What a finding means."""

    OK = "ok"
    NOTE = "note"  # Something will not work as one might expect; the rest does.
    MISSING = "missing"  # Overlay networks cannot work.


class Finding(NamedTuple):
    """One thing that was looked at."""

    subject: str
    verdict: Verdict = Verdict.OK
    said: str = ""
    advice: str = ""


class Published(Protocol):
    """A published port, as the mesh has recorded it."""

    @property
    def protocol(self) -> str: ...
    @property
    def published_port(self) -> int: ...
    @property
    def service(self) -> str: ...
    @property
    def taken(self) -> bool: ...
    @property
    def why(self) -> str:
        """What is in the way; "" = another program."""
        ...


def report(findings: Iterable[Finding]) -> str:
    """Return what is printed: a line each, and under what is not as it should be, what to do."""
    lines = []
    for found in findings:
        said = f": {found.said}" if found.said else ""
        lines.append(f"{found.verdict:<8} {found.subject}{said}")
        if found.advice:
            lines.append(f"{'':<8} -> {found.advice}")
    return "".join(f"{line}\n" for line in lines)


def sentence(error: Exception) -> str:
    """Return why something was refused."""
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def firewalls(rules: Mapping[str, str], *, links: tuple[str, ...]) -> list[Finding]:
    """Judge which rules of others drop what published ports, and VXLAN, need.

    rules: what `nft list chains` and `iptables-legacy -S FORWARD` print.  links: ours, as iptables names them.
    """
    subject, found = "forwarding for tasks and published ports", []
    for chain in _dropping(rules.get("nft", ""), "forward"):
        found.append(Finding(subject, Verdict.NOTE, *_through(chain, links)))
    if _LEGACY_DROPS.search(rules.get("iptables-legacy", "")):
        found.append(Finding(subject, Verdict.NOTE, *_through("iptables-legacy chain FORWARD", links)))
    for chain in _dropping(rules.get("nft", ""), "input"):
        said = f"{chain} drops what none of its rules lets in"
        advice = "let in UDP 4789 and TCP 2377 from the other nodes, on managers TCP 2380 too"
        found.append(Finding("packets for this node", Verdict.NOTE, said, advice))
    return found or [Finding(subject)]


def published(ports: Iterable[Published]) -> list[Finding]:
    """Judge the ports that services publish on this node."""
    found = []
    for port in ports:
        subject = f"published port {port.published_port}/{port.protocol} of service {port.service}"
        if not port.taken:
            found.append(Finding(subject))
            continue
        if port.why:
            advice = "other nodes publish the port, if their kernel can"
            found.append(Finding(subject, Verdict.NOTE, port.why, advice))
            continue
        letter = {"tcp": "t", "udp": "u", "sctp": "S"}.get(port.protocol, "")
        advice = (
            f"end that program: ss -l{letter}np 'sport = :{port.published_port}' names it; other nodes publish the port"
        )
        found.append(Finding(subject, Verdict.NOTE, "another program of this node has it", advice))
    return found


def silent(peers: Iterable[tuple[str, int]]) -> list[Finding]:
    """Judge the nodes on encrypted networks with which this one has not exchanged keys, by address and UDP port."""
    advice = (
        "let UDP 7946 and 7947 through between the nodes, and see whether vaultd runs there; keys are rotated after it"
    )
    return [
        Finding(f"encrypted networks: UDP port {port} of {address}", Verdict.NOTE, "no keys were exchanged yet", advice)
        for address, port in peers
    ]


def _through(chain: str, links: tuple[str, ...]) -> tuple[str, str]:
    said = (
        f"{chain} drops what none of its rules lets through: "
        "without one for ours, tasks do not reach the world, and published ports answer on this node itself only"
    )
    both = ", ".join(f"iptables -I DOCKER-USER {way} {link} -j ACCEPT" for link in links for way in ("-i", "-o"))
    return said, f"with Docker: {both}; with another firewall, its own words for that"


def _dropping(listed: str, hook: str) -> list[str]:
    """Return the chains at a hook whose policy is to drop, of IPv4 and of both versions."""
    found, family, table, chain = [], "", "", ""
    for line in listed.splitlines():
        if named := _TABLE.match(line):
            family, table = named.groups()
        elif begun := _CHAIN.match(line):
            chain = begun[1]
        elif (drops := _DROPS.search(line)) and drops[1] == hook and family in ("ip", "inet"):
            found.append(f"table {family} {table} chain {chain}")
    return found
