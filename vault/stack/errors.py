"""What can be wrong with a stack: one sentence each, Docker's where Docker has one.

Raised by this package only; the command line prints the sentence, the API would answer 400.
"""

from http import HTTPStatus

from vault.model.errors import VaultError


class StackError(VaultError):
    """A stack file, or what it names, cannot be used as it is."""

    status = HTTPStatus.BAD_REQUEST


class NotYAML(StackError):
    """The text is not YAML that a stack file may be written in; `line` counts from 1, None if no line is to blame."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(f"yaml: line {line}: {problem}" if line is not None else f"yaml: {problem}")
        self.problem = problem
        self.line = line


class NotInterpolated(StackError):
    """A value holds a `$` that is no variable, or a variable that must be set and is not."""


class NotInSchema(StackError):
    """The document has a key or a type that its compose version does not know; `path` is dotted."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem


class NotLoaded(StackError):
    """A value has the right type and cannot be read all the same, or contradicts another."""


class NotOffered(StackError):
    """A key that needs what no node here has; `why` says what, and what to do instead."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} {why}")
        self.path = path


class NotDeployable(StackError):
    """The cluster lacks what the stack needs, or holds what the stack would have to change."""
