"""What a machine lacks for overlay networks."""

import asyncio
import errno

import pytest

from vault.network.kernel import nftables
from vault.network.kernel.links import Netlink
from vault.network.kernel.namespaces import in_thread
from vault.network.kernel.nftables import Nftables
from vault.network.kernel.programs import NetworkFailed
from vault.network.overlay import probe as overlay_probe

pytestmark = pytest.mark.machine


def missing() -> list[str]:
    return asyncio.run(in_thread(overlay_probe.missing))


def test_nothing_is_missing_where_overlay_networks_work() -> None:
    assert missing() == []


def test_each_thing_that_is_missing_is_a_sentence_with_the_modules_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_vxlan(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Unknown device type")

    run = Nftables.run

    def no_numgen(self: Nftables, script: str) -> str:
        if "numgen" in script:
            raise NetworkFailed("nft", "Could not process rule: No such file or directory")
        return run(self, script)

    monkeypatch.setattr(Netlink, "add_elsewhere", no_vxlan)
    monkeypatch.setattr(Nftables, "run", no_numgen)
    assert missing() == [
        "this kernel has no VXLAN: load the module vxlan, or install a kernel that has it",
        "this kernel has no packet rules of nft_numgen: load the module nft_numgen, or install a kernel that has it",
    ]


def test_a_missing_library_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "_LIBRARY", "libnowhere.so.1")
    nftables._library.cache_clear()
    try:
        assert missing() == ["libnowhere.so.1 is not installed: install the package nftables"]
    finally:
        monkeypatch.undo()
        nftables._library.cache_clear()
