"""A stack in one line, for tests."""

import textwrap
from collections.abc import Mapping

from vault.stack.errors import StackError
from vault.stack.load import Source, Stack, load

DIRECTORY = "/stack"


def files(contents: Mapping[str, bytes]) -> "Files":
    return Files(contents)


class Files:
    """A file system with these files; remembers what was read."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents = contents
        self.read: list[str] = []

    def __call__(self, path: str) -> bytes:
        self.read.append(path)
        if path not in self.contents:
            raise StackError(f"open {path}: no such file or directory")
        return self.contents[path]


def stack(*texts: str, env: Mapping[str, str] | None = None, contents: Mapping[str, bytes] | None = None) -> Stack:
    """Return what stack files with these texts say; `contents` are the files they name."""
    sources = [
        Source(name=f"{number}.yml", text=textwrap.dedent(text).encode(), directory=DIRECTORY)
        for number, text in enumerate(texts)
    ]
    return load(sources, env or {}, Files(contents or {}))


def service(keys: str, *, version: str = "3.13", rest: str = "") -> str:
    """Return a stack file with one service `web` of these keys, and what else is to stand below it."""
    body = textwrap.indent(textwrap.dedent(keys).strip("\n"), "    ")
    return f'version: "{version}"\nservices:\n  web:\n    image: busybox\n{body}\n{textwrap.dedent(rest)}\n'
