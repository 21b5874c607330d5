"""What a lab's nodes are doing.  Not pure: looks at processes, asks no vaultd."""

from dataclasses import dataclass

from vault.agent.executors.oci.record import Process
from vault.lab import cuts
from vault.lab.lab import Lab
from vault.lab.node import Node
from vault.lab.processes import is_stopped
from vault.lab.state import Slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One node."""

    node: Node
    vaultd: str  # running | paused | down
    etcd: str  # The same; "-" where there is none.
    states: tuple[str, ...]  # What was done to it, such as `cut from worker1`; () for nothing.
    pid: int | None  # Of vaultd.


def status(lab: Lab) -> list[Row]:
    """Return a row for each node.  Raises `NoSuchLab`."""
    known, nodes = lab.state, lab.nodes
    names = [node.name for node in nodes]
    rows = []
    for node in nodes:
        vaultd, etcd = node.process("vaultd"), node.process("etcd")
        done = cuts.describe(known.cuts, names, node.name) + slowness(known.slow.get(node.name, Slow()))
        done += [f"clock {known.clocks[node.name]:+d}s"] if known.clocks.get(node.name) else []
        rows.append(
            Row(
                node=node,
                vaultd=_condition(vaultd, "down"),
                etcd=_condition(etcd, "-"),
                states=tuple(done),
                pid=None if vaultd is None else vaultd.pid,
            )
        )
    return rows


def slowness(slow: Slow) -> list[str]:
    """Return what `status` says of a slow node, such as `delay 50ms`.  Pure."""
    said = [f"delay {slow.delay_s * 1000:g}ms"] if slow.delay_s else []
    said += [f"rate {slow.rate_bits / 1000:g}kbit"] if slow.rate_bits else []
    return said + ([f"cpu {slow.cpus:g}"] if slow.cpus else [])


def _condition(process: Process | None, missing: str) -> str:
    if process is None:
        return missing
    return "paused" if is_stopped(process) else "running"
