"""Rotation of the CA, of tokens and of keys while clients write, and while the leader changes."""

import hashlib
from typing import Any

from tests.cluster.nemesis.base import Fault
from tests.cluster.world import RECOVERS_S, NotInTime

DATA_KEY = "/vault/v1/swarm/data-key"
SEALED_A_SECOND = 150  # Records, at the least, while clients write.


class _Rotation(Fault):
    lingers_s = (0.0, 0.5)


class RotateCA(_Rotation):
    """`swarm ca --rotate`: every node has a certificate of the new CA afterwards, and nobody was left behind."""

    name = "CA rotated"

    def do(self) -> None:
        self.before = self._digest()
        self.world.vault(self.world.leader(), "swarm", "ca", "--rotate", "--quiet")

    def _digest(self) -> str:
        for name in self.world.managers:
            shown = self.world.ask(name, "GET", "/swarm")
            if shown is not None:
                return hashlib.sha256(shown["TLSInfo"]["TrustRoot"].encode()).hexdigest()
        raise NotInTime("no manager shows the CA")

    def _done(self) -> bool:
        shown = self.world.ask(self.world.leader(), "GET", "/swarm")
        if shown is None or shown.get("RootRotationInProgress"):
            return False
        root = shown["TLSInfo"]["TrustRoot"]
        nodes = self.world.nodes().values()
        return self._digest() != self.before and all(
            one["Description"]["TLSInfo"]["TrustRoot"] == root for one in nodes
        )

    def check(self) -> None:
        try:
            self.world.until(self._done, "the new CA is everybody's")
        except NotInTime as error:
            shown = self.world.ask(self.world.leader(), "GET", "/swarm") or {}
            trusts = {
                name: hashlib.sha256(one["Description"]["TLSInfo"]["TrustRoot"].encode()).hexdigest()[:8]
                for name, one in self.world.nodes().items()
            }
            now = (shown.get("RootRotationInProgress"), self.before[:8], self._digest()[:8], trusts)
            raise NotInTime(f"in progress, CA before, CA now, trusted: {now}; {error}") from None


class RotateCAWhileLeaderDies(RotateCA):
    """The leader is killed in the middle of a rotation of the CA: the next one goes on where it stopped."""

    name = "leader killed during rotation of the CA"

    def do(self) -> None:
        self.before = self._digest()
        self.node = self.world.leader()
        self.world.vault(self.node, "swarm", "ca", "--rotate", "--detach")
        self.world.lab.kill(self.node, "both")

    def undo(self) -> None:
        if self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)


class RotateTokens(_Rotation):
    """Join tokens are rotated: the old one is refused, the new one admits."""

    name = "join tokens rotated"

    def do(self) -> None:
        via = self.world.leader()
        self.old = self.world.vault(via, "swarm", "join-token", "-q", "worker").out.strip()
        self.new = self.world.vault(via, "swarm", "join-token", "--rotate", "-q", "worker").out.strip()

    def check(self) -> None:
        """The same token from every manager, and not the old one."""
        for name in self.world.managers:
            assert self.world.vault(name, "swarm", "join-token", "-q", "worker").out.strip() == self.new != self.old


class RotateUnlockKey(_Rotation):
    """Autolock on, the unlock key rotated, a manager restarted: it stays locked until it gets the key."""

    name = "unlock key rotated"

    def do(self) -> None:
        via = self.world.leader()
        self.world.vault(via, "swarm", "update", "--autolock=true")
        self.old = self.world.vault(via, "swarm", "unlock-key", "-q").out.strip()
        self.key = self.world.vault(via, "swarm", "unlock-key", "--rotate", "-q").out.strip()
        assert self.key != self.old
        self.node = self.some(self.world.followers())
        self._lock()
        # A manager that died before it had seen the new key is opened by the old one, and says so.
        said = self._unlock(self.key)
        if said:
            assert "the key of before" in said, said
            assert self._unlock(self.old) == ""

    def _lock(self) -> None:
        """Start the node again; it must be locked."""
        self.world.lab.kill(self.node, "both")
        self.world.lab.start(self.node)
        said = self.world.vault(self.node, "node", "ls", code=None)
        assert said.code != 0
        assert "locked" in said.err, said

    def _unlock(self, key: str) -> str:
        """Unlock the node; return what it says against that."""
        said = self.world.vault(self.node, "swarm", "unlock", stdin=f"{key}\n".encode(), code=None)
        return said.err.strip() if said.code else ""

    def undo(self) -> None:
        self.world.until_whole()
        self._lock()
        assert self._unlock(self.old) != "", "the old key opens nothing once the new one is known"
        assert self._unlock(self.key) == ""
        self.world.until_whole()
        self.world.vault(self.world.leader(), "swarm", "update", "--autolock=false")

    def check(self) -> None:
        """Without autolock a restarted manager needs no key."""
        self.world.lab.kill(self.node, "both")
        self.world.lab.start(self.node)
        self.world.until_whole()


class RotateDataKey(_Rotation):
    """The data key is rotated twice: soon every record is sealed under the newest, and the older keys are gone."""

    name = "data key rotated"

    def do(self) -> None:
        before = self._shown(self.world.leader())["Term"]
        for via in (self.some(self.world.followers()), self.world.leader()):
            self.term = int(self.world.vault(via, "swarm", "data-key", "--rotate", "--detach", "-q").out)
        assert self.term == before + 2, "each rotation makes one key"

    def check(self) -> None:
        """Every manager says that nothing is left to do, and says it of the same key."""
        within_s = RECOVERS_S + self._shown(self.world.leader())["OlderRecords"] / SEALED_A_SECOND
        for name in self.world.managers:
            what = f"all is sealed under the newest key, says {name}"
            self.world.until(lambda name=name: self._done(name), what, timeout_s=within_s)

    def _done(self, name: str) -> bool:
        shown = self.world.ask(name, "GET", DATA_KEY)
        if shown is None:
            return False
        assert shown["Term"] == self.term, "a key that was acknowledged stays the newest"
        return shown["Records"] > 0 == shown["OlderRecords"] == shown["OlderKeys"]

    def _shown(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] | None = self.world.ask(name, "GET", DATA_KEY)
        assert found is not None, f"{name} shows no data key"
        return found


class RotateDataKeyWhileLeaderDies(RotateDataKey):
    """The leader is killed while records are sealed anew: the next one goes on where it stopped."""

    name = "leader killed during rotation of the data key"

    def do(self) -> None:
        self.node = self.world.leader()
        self.world.vault(self.node, "swarm", "data-key", "--rotate", "--detach", "-q")
        made = self.world.ask(self.node, "POST", f"{DATA_KEY}/rotate")
        self.world.lab.kill(self.node, "both")
        assert made is not None, "the second rotation was not acknowledged"
        assert made["OlderRecords"] == made["Records"] > 0
        self.term = made["Term"]

    def undo(self) -> None:
        if self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)


ROTATIONS = (
    RotateCA, RotateCAWhileLeaderDies, RotateTokens, RotateUnlockKey, RotateDataKey, RotateDataKeyWhileLeaderDies,
)  # fmt: skip
