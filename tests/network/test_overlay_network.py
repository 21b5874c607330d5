"""One network on a node against a kernel in memory: order, coalescing, failure."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.network.test_overlay_reach import HERE, endpoint, overlay, service
from vault.model.overlay import OverlayEndpoint
from vault.network.kernel.programs import NetworkFailed
from vault.network.overlay import network as overlay_network
from vault.network.overlay.network import LocalOverlay, Node
from vault.network.overlay.reach import ReachChange
from vault.network.overlay.state import EndpointKey


class FakeLinks:
    """The node's own links."""

    def holder(self, address: object) -> int:
        return 1

    def links(self) -> list[object]:
        return []


class FakeNamespace:
    """Remembers what was programmed; may be slow, or fail."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.entered = threading.Event()  # Set when something is being programmed.
        self.go = threading.Event()
        self.go.set()
        self.fails = 0
        self.lacks = ""  # What a look at the kernel finds.
        self.rules = self

    def ensure(self, spec: object) -> None:
        self._step("ensure")

    def sync(self, change: ReachChange) -> None:
        self._step(f"sync {len(change.neighbours)}")

    def program(self, change: ReachChange) -> None:
        self._step(f"program +{len(change.neighbours)} -{len(change.removed_neighbours)}")

    def run(self, script: str) -> None:
        self._step("whole table" if script.startswith("table") else "table")

    def forget(self, answerers: object) -> None:
        self._step("forget")

    def close(self, *, remove: bool) -> None:
        self._step(f"close {remove}")

    def _step(self, what: str) -> None:
        self.entered.set()
        assert self.go.wait(5)
        if self.fails:
            self.fails -= 1
            raise NetworkFailed("overlay n", "no")
        self.did.append(what)


Story = Callable[[LocalOverlay, FakeNamespace], Awaitable[None]]


def tell(story: Story, monkeypatch: pytest.MonkeyPatch) -> FakeNamespace:
    """Run a story about a network that is not programmed yet."""
    namespace = FakeNamespace()
    monkeypatch.setattr(overlay_network.OverlayNamespace, "open", lambda *_: namespace)
    monkeypatch.setattr(overlay_network, "RETRY_S", 0.001)
    monkeypatch.setattr(overlay_network, "missing", lambda: [namespace.lacks] if namespace.lacks else [])

    async def main() -> None:
        node = Node(HERE, FakeLinks())  # type: ignore[arg-type]
        opened = lambda path: namespace.did.append("opened")  # noqa: E731
        await story(LocalOverlay(Path("/n"), lambda: node, overlay(), opened), namespace)

    asyncio.run(main())
    return namespace


def keys(*numbers: int) -> list[EndpointKey]:
    return [EndpointKey(f"t{number}", "node2") for number in numbers]


def endpoints(*numbers: int) -> list[OverlayEndpoint]:
    return [endpoint(f"t{number}", f"10.0.1.{number}") for number in numbers]


def test_a_network_is_whole_before_it_is_ready_and_only_then_said_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(local: LocalOverlay, namespace: FakeNamespace) -> None:
        local.overlay = overlay(*endpoints(1, 2))
        await local.ready()
        assert namespace.did == ["ensure", "sync 2", "whole table", "opened"]
        await local.ready()
        assert len(namespace.did) == 4

    tell(story, monkeypatch)


def test_changes_that_come_while_one_is_programmed_are_programmed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(local: LocalOverlay, namespace: FakeNamespace) -> None:
        await local.ready()
        namespace.did.clear()
        namespace.entered.clear()
        namespace.go.clear()
        local.tell(overlay(*endpoints(1)), keys(1), ())
        assert await asyncio.to_thread(namespace.entered.wait, 5)
        for number in range(2, 50):
            local.tell(overlay(*endpoints(*range(1, number + 1))), keys(number), ())
        namespace.go.set()
        await local.settle()
        assert namespace.did == ["program +1 -0", "program +48 -0"]

    tell(story, monkeypatch)


def test_rules_are_touched_only_when_what_is_behind_a_virtual_address_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(local: LocalOverlay, namespace: FakeNamespace) -> None:
        await local.ready()
        namespace.did.clear()
        local.tell(overlay(*endpoints(1), services=(service(),)), keys(1), ["web"])
        await local.settle()
        assert namespace.did == ["program +1 -0", "table"]
        local.tell(overlay(*endpoints(1, 2), services=(service(),)), keys(2), ())
        await local.settle()
        assert namespace.did[2:] == ["program +1 -0"]

    tell(story, monkeypatch)


def test_what_fails_is_compared_as_a_whole_until_it_holds_and_complained_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def story(local: LocalOverlay, namespace: FakeNamespace) -> None:
        await local.ready()
        namespace.did.clear()
        namespace.fails = 3
        local.tell(overlay(*endpoints(1)), keys(1), ())
        await local.settle()
        assert namespace.did == ["ensure", "sync 1", "whole table"]

    tell(story, monkeypatch)
    assert [record.message for record in caplog.records] == ["overlay_not_programmed"]


def test_a_network_that_cannot_be_made_says_so_to_its_task_and_works_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(local: LocalOverlay, namespace: FakeNamespace) -> None:
        namespace.fails = 1
        with pytest.raises(NetworkFailed, match="overlay n: no"):
            await local.ready()
        assert namespace.did == []
        await local.ready()
        assert namespace.did == ["ensure", "sync 0", "whole table", "opened"]

    tell(story, monkeypatch)


def test_a_kernel_that_lacks_something_is_named_and_not_what_it_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(local: LocalOverlay, namespace: FakeNamespace) -> None:
        namespace.fails, namespace.lacks = 1, "this kernel has no numgen"
        with pytest.raises(NetworkFailed, match="network set-up failed: overlay n: this kernel has no numgen"):
            await local.ready()

    tell(story, monkeypatch)


def test_it_ends_after_what_is_being_programmed_and_not_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(local: LocalOverlay, namespace: FakeNamespace) -> None:
        await local.ready()
        namespace.did.clear()
        namespace.entered.clear()
        namespace.go.clear()
        local.tell(overlay(*endpoints(1)), keys(1), ())
        assert await asyncio.to_thread(namespace.entered.wait, 5)
        ending = asyncio.create_task(local.close(remove=True))
        await asyncio.sleep(0)
        namespace.go.set()
        await ending
        assert namespace.did == ["program +1 -0", "close True"]

    tell(story, monkeypatch)


def test_another_network_of_the_same_name_waits_for_the_end_of_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = FakeNamespace()
    monkeypatch.setattr(overlay_network.OverlayNamespace, "open", lambda *_: namespace)

    async def main() -> None:
        node = Node(HERE, FakeLinks())  # type: ignore[arg-type]
        ended = asyncio.Event()

        async def end() -> None:
            await ended.wait()
            namespace.did.append("old one ended")

        old = asyncio.create_task(end())
        local = LocalOverlay(Path("/n"), lambda: node, overlay(), lambda path: None, after=old)
        ready = asyncio.create_task(local.ready())
        await asyncio.sleep(0)
        ended.set()
        await ready
        assert namespace.did[0] == "old one ended"

    asyncio.run(main())
