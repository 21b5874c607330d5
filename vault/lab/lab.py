"""A lab: made, used and ended by these calls.

Not pure; blocking.  Called by `vault.lab.commands` and by tests.  Every change holds the lab's lock; what was cut or
slowed is in the lab's record, and the kernel is told the whole of it each time, so that a call may be repeated after
any failure.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from vault.agent.executors.oci.record import Process, identify
from vault.lab import cgroups, clocks, cuts, ending, starting, state
from vault.lab.errors import Broken, LabError, LabExists, NoSuchLab, NoSuchNode
from vault.lab.launching import launch_vaultd, wait_until_answers
from vault.lab.namespaces import identity
from vault.lab.node import Node
from vault.lab.plan import DEFAULT_BASE, DEFAULT_NAME, Site, check_disk, places, site
from vault.lab.processes import send, wait_gone
from vault.lab.slowing import slow_down
from vault.lab.state import Slow, State

WHATS: Final = ("vaultd", "etcd", "both", "all")
_STOP_LIMIT_S: Final = 30.0


class NotRunning(LabError):
    """There is no such process to send a signal to."""

    def __init__(self, node: str, what: str) -> None:
        super().__init__(f"{what} does not run on {node}: see `vault lab status`")
        self.node = node


class Lab:
    """The lab of a name; whether there is one shows with the first call.

    root: directory that holds labs, by default $VAULT_LAB_ROOT or /var/lib/vault-lab.
    """

    def __init__(self, name: str = DEFAULT_NAME, root: Path | None = None) -> None:
        base = root or Path(os.environ.get("VAULT_LAB_ROOT") or DEFAULT_BASE)
        self.site: Site = site(base.resolve(), name)

    def up(
        self,
        *,
        managers: int = 3,
        workers: int = 2,
        disk_bytes: int = 0,
        join: bool = True,
        log_level: str = "info",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Make the lab and, with `join`, a swarm of its nodes.  What fails half way leaves nothing.

        disk_bytes: size of each node's own file system, 0 for none.  say: told of each step.  Raises `LabError`.
        """
        nodes = places(self.site, managers=managers, workers=workers)
        check_disk(disk_bytes)
        with state.locked(self.site, create=True):
            if self.site.record.exists() or ending.remains(self.site):
                raise LabExists(self.site.name)
            made = State(managers=managers, workers=workers, disk_bytes=disk_bytes, log_level=log_level)
            try:
                state.write(self.site, made)
                starting.bring_up(self.site, nodes, made, join=join, say=say)
                state.write(self.site, msgspec.structs.replace(made, ready=True))
            except BaseException:  # Ctrl-C too: what runs and is mounted would outlive this process.
                say("Failed: removing what was made")
                ending.take_down(self.site)
                raise

    def down(self) -> bool:
        """End the lab: its processes, mounts, namespaces and files; False when there is none."""
        with state.locked(self.site) as there:
            if there:
                ending.take_down(self.site)
        return there

    @property
    def state(self) -> State:
        """What the lab is and what was done to it.  Raises `NoSuchLab`."""
        found = state.read(self.site)
        if found is None:
            raise NoSuchLab(self.site.name)
        return found

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Its nodes, managers first."""
        return tuple(Node(place=place) for place in state.places_of(self.site, self.state))

    def node(self, name: str) -> Node:
        """Return a node.  Raises `NoSuchNode`."""
        nodes = self.nodes
        for node in nodes:
            if node.name == name:
                return node
        raise NoSuchNode(name, [node.name for node in nodes])

    def living(self, name: str) -> Node:
        """Return a node that commands can enter.  Raises `LabError` when a restart of the machine ended the lab."""
        node = self.node(name)
        if identity(node.place.net) is None:
            raise Broken(self.site.name)
        return node

    def outside(self) -> Site:
        """Return the place of the network that commands outside all nodes enter.  Raises `LabError`, as `living`."""
        if state.read(self.site) is None:
            raise NoSuchLab(self.site.name)
        if identity(self.site.switch) is None:
            raise Broken(self.site.name)
        return self.site

    def start(self, name: str, *, env: Mapping[str, str] | None = None, wait: bool = True) -> None:
        """Start a node's vaultd, and return once it answers unless told not to `wait`."""
        with self._changing() as known:
            node = self.node(name)
            if node.process("vaultd") is not None:
                raise LabError(f"vaultd runs on {name} already: `vault lab stop {name}` ends it")
            offset_s = known.clocks.get(name, 0)
            process = launch_vaultd(
                node.place,
                log_level=known.log_level,
                environment={**os.environ, **clocks.environment(node.place, offset_s), **(env or {})},
                wrong_clock=offset_s != 0,
            )
        if wait:
            wait_until_answers(node.place, process)

    def stop(self, name: str) -> None:
        """End a node's vaultd as an operator would, with TERM; its tasks go on."""
        with self._changing():
            process = self._process(self.node(name), "vaultd")
            send([process], signal.SIGTERM)
            send([process], signal.SIGCONT)  # A stopped process hears nothing else.
            if not wait_gone(process, _STOP_LIMIT_S):
                raise LabError(f"vaultd on {name} has not ended within {_STOP_LIMIT_S:.0f} s: kill it, and see its log")

    def kill(self, name: str, what: str = "vaultd", *, sig: int = signal.SIGKILL) -> None:
        """Send a signal to a node's vaultd, etcd or both; with KILL, return once they are gone.

        what: vaultd, etcd, both, or all: a power cut, after which only the data root is left of the node.
        """
        with self._changing():
            node = self.node(name)
            if what == "all" and sig == signal.SIGKILL:
                ending.cut_power(node.place)
                return
            processes = self._processes(node, what)
            send(processes, sig)
            if sig == signal.SIGKILL:
                for process in processes:
                    wait_gone(process, _STOP_LIMIT_S)

    def pause(self, name: str, what: str = "vaultd") -> None:
        """Stop a node's vaultd, etcd, both, or all (tasks too) where they are, until `resume`."""
        with self._changing():
            send(self._processes(self.node(name), what), signal.SIGSTOP)

    def resume(self, name: str, what: str = "all") -> None:
        """Let go on what `pause` stopped."""
        with self._changing():
            send(self._processes(self.node(name), what), signal.SIGCONT)

    def cut(self, name: str, to: str | None = None, *, one_way: bool = False) -> None:
        """Drop packets between a node and another, or all others; one way: only those that the node sends."""
        with self._changing() as known:
            names = [self.node(each).name for each in (name, to) if each is not None]
            if len(set(names)) != len(names):
                raise LabError(f"{name} cannot be cut from itself: name another node")
            made = cuts.cut(known.cuts, [node.name for node in self.nodes], name, to=to, one_way=one_way)
            self._write(known, cuts=made)
            cuts.apply(self.site, made)

    def heal(self, name: str | None = None) -> None:
        """Undo what `cut` and `slow` did to a node, or to all."""
        with self._changing() as known:
            wanted = [self.node(name)] if name is not None else self.nodes
            healed = cuts.heal(known.cuts, name)
            slow = {each: how for each, how in known.slow.items() if each not in {node.name for node in wanted}}
            self._write(known, cuts=healed, slow=slow)
            cuts.apply(self.site, healed)
            for node in wanted:
                slow_down(node.place, Slow())

    def slow(
        self, name: str, *, delay_s: float | None = None, rate_bits: int | None = None, cpus: float | None = None
    ) -> None:
        """Delay a node's packets, limit their rate, or its processor time; 0 ends that, None leaves it as it is."""
        with self._changing() as known:
            node = self.node(name)
            before = known.slow.get(name, Slow())
            wanted = Slow(
                delay_s=before.delay_s if delay_s is None else delay_s,
                rate_bits=before.rate_bits if rate_bits is None else rate_bits,
                cpus=before.cpus if cpus is None else cpus,
            )
            self._write(known, slow={**known.slow, name: wanted})
            slow_down(node.place, wanted)

    def clock(self, name: str, offset_s: int) -> None:
        """Set a vaultd's wall clock off by so many seconds, 0 for right; it is started again for that."""
        with self._changing() as known:
            node = self.node(name)
            clocks.check(offset_s)
            self._write(known, clocks={**known.clocks, name: offset_s})
            runs = node.process("vaultd") is not None
        if runs:
            self.stop(name)
            self.start(name)

    @contextmanager
    def _changing(self) -> Iterator[State]:
        with state.locked(self.site) as there:
            if not there:
                raise NoSuchLab(self.site.name)
            known = self.state
            if identity(self.site.switch) is None:
                raise Broken(self.site.name)
            yield known

    def _write(self, known: State, **changes: object) -> None:
        state.write(self.site, msgspec.structs.replace(known, **changes))

    def _process(self, node: Node, what: str) -> Process:
        process = node.process(what)
        if process is None:
            raise NotRunning(node.name, what)
        return process

    def _processes(self, node: Node, what: str) -> list[Process]:
        if what == "all":
            pids = [*cgroups.daemons(node.place), *cgroups.task_processes(node.place)]
            return [process for pid in pids if (process := identify(pid)) is not None]
        if what == "both":
            found = [process for each in ("vaultd", "etcd") if (process := node.process(each)) is not None]
            if not found:
                raise NotRunning(node.name, "vaultd or etcd")
            return found
        return [self._process(node, what)]
