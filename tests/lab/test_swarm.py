"""How `up` makes a swarm of its nodes, told by what it types."""

from pathlib import Path

import pytest

from vault.lab import starting
from vault.lab.errors import CommandFailed, NotAnswering
from vault.lab.node import Said
from vault.lab.plan import Place, places, site

PLACES = places(site(Path("/l"), "lab"), managers=2, workers=1)


class Typed:
    """Nodes that do what they are told; worker1 is ready after the second look."""

    def __init__(self, *, ready: bool = True) -> None:
        self.lines: list[str] = []
        self.looks = 0
        self.ready = ready

    def nodes(self) -> list["FakeNode"]:
        return [FakeNode(place, self) for place in PLACES]

    def answer(self, words: tuple[str, ...]) -> str:
        match words:
            case ("swarm", "join-token", "--quiet", role):
                return f"SWMTKN-{role}\n"
            case ("node", "ls", *_):
                self.looks += 1
                late = "Ready" if self.ready and self.looks > 1 else "Unknown"
                return f"manager1 Ready\nmanager2 Ready\nworker1 {late}\n"
        return ""


class FakeNode:
    """A node that writes down what is typed at it."""

    def __init__(self, place: Place, typed: Typed) -> None:
        self.place = place
        self.name = place.name
        self.address = place.address
        self.typed = typed

    def vault(self, *words: str) -> Said:
        if words[:2] not in (("node", "ls"), ("swarm", "join-token")):
            self.typed.lines.append(f"{self.name}: {' '.join(words)}")
        return Said(out=self.typed.answer(words), err="", code=0, raw=b"")


def test_the_others_join_by_the_token_of_their_role_and_all_are_ready_on_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starting, "_LOOK_AGAIN_S", 0)
    typed, said = Typed(), list[str]()
    starting.make_swarm(typed.nodes(), said.append)  # type: ignore[arg-type]
    assert typed.lines == [
        "manager1: swarm init --advertise-addr 10.77.1.1",
        "manager2: swarm join --advertise-addr 10.77.1.2 --token SWMTKN-manager 10.77.1.1:2377",
        "worker1: swarm join --advertise-addr 10.77.2.1 --token SWMTKN-worker 10.77.1.1:2377",
    ]
    assert typed.looks == 2
    assert said == ["manager1 has made a swarm", "manager2 has joined as a manager", "worker1 has joined as a worker"]


def test_a_node_that_does_not_get_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "READY_LIMIT_S", 0)
    with pytest.raises(NotAnswering, match="vaultd on worker1 is not ready"):
        starting.make_swarm(Typed(ready=False).nodes(), lambda line: None)  # type: ignore[arg-type]


def test_a_failed_command_is_told_without_its_token() -> None:
    failed = CommandFailed("worker1", ("swarm", "join", "--token", "SWMTKN-1-secret"), "Error response from daemon: no")
    assert failed.message == "`vault swarm join` failed on worker1: Error response from daemon: no"
