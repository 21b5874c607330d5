"""Replays what a Docker client sent to a real engine, and compares our answers with the engine's.

The vectors were recorded from Docker Engine 20.10.24 (API 1.41); `origin` names the recording and the exchange.
Ids, versions and times differ by nature: ids and versions are translated, times are left out.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.api.client import Daemon

VECTORS = Path(__file__).parent / "vectors"
BY_NATURE = ("CreatedAt", "UpdatedAt", "Created", "StartedAt", "CompletedAt", "Version")
# What other parts of the daemon fill in, and what API 1.41 did not have yet.
NOT_OURS = ("Endpoint", "UpdateStatus", "IPAM", "Options", "Containers", "Peers", "EnableIPv4")
# An empty value and an absent one mean the same; warnings of ours come on top.
SAME_AS_ABSENT = ("Privileges", "DNSConfig", "Warnings")
STALE = ("02-secrets.jsonl, exchange 130", "01-swarm-init.jsonl, exchange 41")
_ID = re.compile(r"\b[0-9a-z]{25}\b")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the answer of the real engine."""

    origin: str
    method: str
    path: str
    query: str
    body: str
    status: int
    reply: str

    @property
    def url(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


def exchanges(name: str) -> list[Exchange]:
    """Return the recorded exchanges of one file."""
    lines = (VECTORS / f"{name}.jsonl").read_text().splitlines()
    return [Exchange(**json.loads(line)) for line in lines]


@dataclass
class Replay:
    """A daemon that is sent recorded requests, and what Docker's ids and versions are called here."""

    daemon: Daemon
    ids: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def send(self, exchange: Exchange) -> tuple[int, Any]:
        """Send one request; return status and answer, and learn the ids and versions in it."""
        url, body = self._ours(exchange.url), self._ours(exchange.body)
        if exchange.origin not in STALE:
            url = re.sub(r"version=(\d+)", lambda found: f"version={self._version(found[1], url)}", url)
        answer = self.daemon.request(exchange.method, url, body.encode())
        reply = parsed(answer.text)
        self._learn(parsed(exchange.reply), reply)
        return answer.status, reply

    def expected(self, exchange: Exchange) -> Any:
        """Return the real engine's answer, with its ids as they are called here."""
        return parsed(self._ours(exchange.reply))

    def _version(self, theirs: str, url: str) -> str:
        """Return our version for theirs; the present one where the recording does not show how theirs came about."""
        path = url.partition("?")[0].removesuffix("/update")
        present = parsed(self.daemon.get(path).text)
        return self.versions.get(theirs) or str(present.get("Version", {}).get("Index", theirs))

    def _ours(self, text: str) -> str:
        return _ID.sub(lambda found: self.ids.get(found[0], found[0]), text)

    def _learn(self, theirs: Any, ours: Any) -> None:
        match theirs, ours:
            case {"Index": int(index)}, {"Index": int(mine)}:
                self.versions[str(index)] = str(mine)
            case dict(), dict():
                for key in ("ID", "Id"):
                    if isinstance(theirs.get(key), str) and isinstance(ours.get(key), str):
                        self.ids.setdefault(theirs[key], ours[key])
                for key in theirs.keys() & ours.keys():
                    self._learn(theirs[key], ours[key])
            case list(), list():
                mine = {_name(one): one for one in ours}
                for one in theirs:
                    if _name(one) in mine:
                        self._learn(one, mine[_name(one)])


def parsed(text: str) -> Any:
    """Return JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def comparable(reply: Any) -> Any:
    """Return an answer without what may differ, lists of objects by name."""
    match reply:
        case dict():
            return {
                key: comparable(value)
                for key, value in reply.items()
                if key not in (*BY_NATURE, *NOT_OURS, *SAME_AS_ABSENT)
            }
        case [dict(), *_]:
            return sorted((comparable(one) for one in reply), key=lambda one: json.dumps(_name(one)))
        case str() if _ID.fullmatch(reply):
            return "an id"
        case _:
            return reply


def _name(one: Any) -> str:
    if not isinstance(one, dict):
        return ""
    return str(one.get("Name") or one.get("Spec", {}).get("Name") or one.get("ID"))
