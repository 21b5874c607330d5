"""An event loop whose time passes only when everybody waits, and in which a node can be stopped and go on later.

Nothing sleeps, and a run with the same seed repeats exactly: there are no threads (`to_thread` runs at once), and the
clock jumps to the next timer.  What runs in a context with `NODE` set belongs to that node; while the node is frozen
(SIGSTOP), nothing of it runs, and its timers fire when it goes on.
"""

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
NODE: contextvars.ContextVar[str] = contextvars.ContextVar("NODE", default="")


class _Selector(selectors.SelectSelector):
    """Waits for nothing; moves the clock instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        self._frozen: dict[str, list[Callable[[], None]]] = {}
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context
        held = self._frozen.get(context.get(NODE, ""))
        if held is None:
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        held.append(lambda: self._ready.append(handle))  # type: ignore[attr-defined]
        return handle

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        context = contextvars.copy_context() if context is None else context

        def fire() -> None:
            held = self._frozen.get(context.get(NODE, ""))
            if held is None:
                callback(*args)
            else:
                held.append(lambda: super(VirtualLoop, self).call_soon(late, context=context) and None)

        def late() -> None:
            if not timer.cancelled():
                callback(*args)

        timer = super().call_at(when, fire, context=context)
        return timer

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def freeze(self, node: str) -> None:
        """Stop everything that belongs to a node."""
        self._frozen.setdefault(node, [])

    def thaw(self, node: str) -> None:
        """Let a node go on with all that was due meanwhile."""
        for go in self._frozen.pop(node, ()):
            go()


def start(node: str, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Return the task of a node's that does `work`."""
    context = contextvars.copy_context()
    context.run(NODE.set, node)
    return asyncio.get_running_loop().create_task(work, context=context)


def play(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in virtual time, and end all it has started."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        for node in list(loop._frozen):
            loop.thaw(node)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=30))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
