"""`vault lab` on single nodes: start, stop, kill, pause, resume, cut, heal, slow, clock."""

import re
from fractions import Fraction

from vault.cli.command import Kind, argument, command, option, switch
from vault.cli.errors import CommandError
from vault.cli.values.kinds import CPUS, DURATION
from vault.lab.commands import lab_command
from vault.lab.lab import Lab

_RATE_UNITS = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}


def bits_per_second(text: str) -> int:
    """Return bits a second of a rate such as `512kbit` or `1.5mbit`.  Raises `ValueError`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(bit|kbit|mbit|gbit)?", text, re.ASCII)
    if found is None:
        raise ValueError("use a number and bit, kbit, mbit or gbit, such as 512kbit")
    return int(Fraction(found[1]) * _RATE_UNITS[found[2] or "bit"])


RATE = Kind("rate", bits_per_second)


def _what(etcd: bool, all_: bool) -> str:
    if etcd and all_:
        raise CommandError("--etcd and --all exclude each other: name one")
    return "etcd" if etcd else "all" if all_ else "vaultd"


@command("[OPTIONS] NODE", name="start", text="Start a node's vaultd; returns once it answers")
@argument("node")
@lab_command
def start(lab: Lab, *, node: str) -> None:
    """Start vaultd."""
    lab.start(node)


@command("[OPTIONS] NODE", name="stop", text="End a node's vaultd as an operator would; its tasks go on")
@argument("node")
@lab_command
def stop(lab: Lab, *, node: str) -> None:
    """Stop vaultd."""
    lab.stop(node)


@command("[OPTIONS] NODE", name="kill", text="Kill a node's vaultd with kill -9; its tasks go on")
@argument("node")
@switch("--etcd", text="Kill etcd instead")
@switch("--all", "all_", text="As a power cut: vaultd, etcd, tasks and all but the data root")
@lab_command
def kill(lab: Lab, *, node: str, etcd: bool, all_: bool) -> None:
    """Kill."""
    lab.kill(node, _what(etcd, all_))


@command("[OPTIONS] NODE", name="pause", text="Stop a node's vaultd where it is, until it is resumed")
@argument("node")
@switch("--etcd", text="Pause etcd instead")
@switch("--all", "all_", text="Pause vaultd, etcd and tasks")
@lab_command
def pause(lab: Lab, *, node: str, etcd: bool, all_: bool) -> None:
    """Pause."""
    lab.pause(node, _what(etcd, all_))


@command("[OPTIONS] NODE", name="resume", text="Let go on what was paused on a node")
@argument("node")
@lab_command
def resume(lab: Lab, *, node: str) -> None:
    """Resume."""
    lab.resume(node)


@command("[OPTIONS] NODE", name="cut", text="Cut a node off from all others, open connections too")
@argument("node")
@option("--to", text="Cut the link to this node only")
@switch("--one-way", text="Drop only what NODE sends; it still hears the others")
@lab_command
def cut(lab: Lab, *, node: str, to: str | None, one_way: bool) -> None:
    """Cut."""
    lab.cut(node, to, one_way=one_way)


@command("[OPTIONS] [NODE]", name="heal", text="Undo what cut and slow did to a node, or to all nodes")
@argument("node", required=False)
@lab_command
def heal(lab: Lab, *, node: str | None) -> None:
    """Heal."""
    lab.heal(node)


@command("[OPTIONS] NODE", name="slow", text="Slow a node's network or processor; 0 ends that, heal ends all")
@argument("node")
@option("--delay", kind=DURATION, text="Delay each packet by so long, each way (ms|s)")
@option("--rate", kind=RATE, text="Let no more through, each way (kbit|mbit)")
@option("--cpu", kind=CPUS, text="Processors that vaultd and etcd may use together, such as 0.1")
@lab_command
def slow(lab: Lab, *, node: str, delay: int | None, rate: int | None, cpu: int | None) -> None:
    """Slow down."""
    if delay is None and rate is None and cpu is None:
        raise CommandError("say what to slow: --delay, --rate or --cpu")
    if min(delay or 0, cpu or 0) < 0:
        raise CommandError("--delay and --cpu cannot be negative")
    lab.slow(
        node,
        delay_s=None if delay is None else delay / 1e9,
        rate_bits=rate,
        cpus=None if cpu is None else cpu / 1e9,
    )


@command("[OPTIONS] NODE", name="clock", text="Start a node's vaultd again with its wall clock set wrong")
@argument("node")
@option("--offset", kind=DURATION, text="How far it is off, such as +1h or -90s; 0 sets it right")
@lab_command
def clock(lab: Lab, *, node: str, offset: int | None) -> None:
    """Set a clock."""
    if offset is None:
        raise CommandError("say how far the clock is to be off: --offset +1h")
    lab.clock(node, round(offset / 1e9))
