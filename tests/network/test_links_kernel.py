"""Programs that `vault.network.links.network` runs, on the event loop that vaultd has."""

import asyncio
from typing import Any

import pytest
import uvloop

from vault.network.links import kernel


def test_a_program_may_end_before_we_look_at_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a program has ended, and with it the pipe of its input, before anything is written there."""
    start = asyncio.create_subprocess_exec

    async def late(*words: str, **streams: Any) -> asyncio.subprocess.Process:
        process = await start(*words, **streams)
        await process.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", late)
    assert uvloop.run(kernel.run("echo", "done")) == "done\n"
