"""`vault lab exec`: this process becomes the command, inside the node or outside all of them.

Not pure.  Nothing stands between the caller and the command, so standard input, terminal, window size, signals and exit
code are the command's own.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from vault.lab.namespaces import enter
from vault.lab.node import Node
from vault.lab.plan import Site

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def become(node: Node, words: Sequence[str]) -> tuple[int, str]:
    """Run a command inside a node in place of this process; returns only when that cannot be: exit code and reason."""
    return _become(words, node.place.net, node.place.uts, node.environment())


def become_outside(at: Site, words: Sequence[str]) -> tuple[int, str]:
    """Run a command on the nodes' network, but on none of them, in place of this process; returns as `become` does."""
    return _become(words, at.switch, None, os.environ)


def _become(words: Sequence[str], net: Path, uts: Path | None, environment: Mapping[str, str]) -> tuple[int, str]:
    enter(net, uts)
    # Python ignores these for itself, and a program keeps ignoring what was ignored when it began.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(words[0], list(words), dict(environment))  # noqa: S606  # No shell is wanted.
    except (FileNotFoundError, NotADirectoryError):
        return NOT_FOUND, f"{words[0]}: command not found"
    except OSError as error:
        return NOT_EXECUTABLE, f"{words[0]}: {(error.strerror or str(error)).lower()}"
