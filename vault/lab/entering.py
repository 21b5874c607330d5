"""`vault lab exec`: this process becomes the command, inside the node.

Not pure.  Nothing stands between the caller and the command, so standard input, terminal, window size, signals and exit
code are the command's own.
"""

import os
import signal
from collections.abc import Sequence

from vault.lab.namespaces import enter
from vault.lab.node import Node

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def become(node: Node, words: Sequence[str]) -> tuple[int, str]:
    """Run a command inside a node in place of this process; returns only when that cannot be: exit code and reason."""
    environment = node.environment()
    enter(node.place.net, node.place.uts)
    # Python ignores these for itself, and a program keeps ignoring what was ignored when it began.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(words[0], list(words), environment)  # noqa: S606  # No shell is wanted.
    except (FileNotFoundError, NotADirectoryError):
        return NOT_FOUND, f"{words[0]}: command not found"
    except OSError as error:
        return NOT_EXECUTABLE, f"{words[0]}: {(error.strerror or str(error)).lower()}"
