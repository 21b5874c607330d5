"""A `docker` command pointed at a vaultd's socket, and its output in a form that can be compared.

Expected texts were recorded from Docker 20.10.24 with the same commands; `shape` blanks out what no two runs share.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.node import Node

_BLANKS = (
    (re.compile(r"SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}"), "TOKEN"),
    (re.compile(r"\b[0-9a-z]{25}\b"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ][0-9:.]+(Z| \+0000 utc)"), "TIME"),
    (re.compile(r"(Less than a second|About a minute|\d+ (second|minute)s?)( ago)?", re.IGNORECASE), "AGO"),
    (re.compile(r'"Index": ?\d+'), '"Index": N'),
    (re.compile(r" {2,}"), "  "),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)
_SHORT_ID = re.compile(r"^[0-9a-z]{12}\b", re.MULTILINE)
_PROGRESS = ("overall progress: ", "verify: Waiting ")
_SLOT = re.compile(r"\d+/\d+:")
NOT_ON_A_REGISTRY = (
    "image {0} could not be accessed on a registry to record\n"
    "its digest. Each node will access {0} independently,\n"
    "possibly leading to different nodes running different\n"
    "versions of the image."
)


def shape(text: str) -> str:
    """Return a text with ids, times and the widths of columns made alike, and progress left out."""
    for pattern, blank in _BLANKS:
        text = pattern.sub(blank, text)
    lines = (line for line in _SHORT_ID.sub("ID", text).splitlines() if not line.startswith(_PROGRESS))
    return "\n".join(line for line in lines if not _SLOT.match(line)).strip()


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    out: str
    err: str
    code: int

    @property
    def shape(self) -> str:
        """What it printed on standard output, made comparable."""
        return shape(self.out)

    @property
    def warned(self) -> str:
        """What it printed on standard error, made comparable."""
        return shape(self.err)


class Client:
    """One `docker` command, and the socket it talks to."""

    def __init__(self, command: str, socket: str, home: Path) -> None:
        self.command, self.socket, self.home = command, socket, home

    def run(self, *words: str, stdin: bytes = b"", cwd: Path | None = None, env: dict[str, str] | None = None) -> Said:
        """Run one command, whatever comes of it."""
        done = subprocess.run(
            [self.command, *words],
            input=stdin,
            capture_output=True,
            timeout=60,
            cwd=cwd or self.home,
            env=self.environment() | (env or {}),
        )
        return Said(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode)

    def __call__(self, *words: str, stdin: bytes = b"", cwd: Path | None = None) -> str:
        """Run one command that has to work; return what it printed, without the last newline."""
        said = self.run(*words, stdin=stdin, cwd=cwd)
        assert said.code == 0, f"docker {' '.join(words)}: {said}"
        return said.out.rstrip("\n")

    def refuses(self, *words: str, stdin: bytes = b"", cwd: Path | None = None, code: int = 1) -> str:
        """Run one command that has to fail; return what it said, made comparable."""
        said = self.run(*words, stdin=stdin, cwd=cwd)
        assert said.code == code, f"docker {' '.join(words)}: {said}"
        return said.warned

    def environment(self) -> dict[str, str]:
        """Return what the command finds in its environment: our socket, and no settings of the person running this."""
        home = str(self.home)
        return {"DOCKER_HOST": self.socket, "DOCKER_CONFIG": home, "HOME": home, "PATH": os.environ["PATH"]}

    @property
    def is_old(self) -> bool:
        """Whether this is 20.10, which words what is missing by itself and knows no `--format json`."""
        return "version 20.10" in self.run("--version").out

    def no_such(self, kind: str, name: str) -> str:
        """Return how this client says that `name` is missing when it removes or shows it."""
        if self.is_old:
            return f"Error: No such {kind}: {name}"
        return f"Error response from daemon: {kind} {name} not found"


class Docker(Client):
    """One `docker` command, and the node it talks to."""

    def __init__(self, command: str, node: Node, home: Path) -> None:
        super().__init__(command, node.socket, home)
        self.node = node

    def clear(self) -> None:
        """Remove what a test left, and wait for its containers to end."""
        for kind, filters in (("service", ()), ("secret", ()), ("config", ()), ("network", ("-f", "driver=overlay"))):
            listed = self(kind, "ls", "--format", "{{.Name}}", *filters).split()
            found = [name for name in listed if name != "ingress"]
            if found:
                self(kind, "rm", *found)
        self.node.until(lambda: self("ps", "-aq") == "", "no container is left")
