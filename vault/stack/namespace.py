"""The name of a stack, and what it adds to the names and labels of the stack's objects.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from vault.stack.errors import StackError

NAMESPACE_LABEL = "com.docker.stack.namespace"
IMAGE_LABEL = "com.docker.stack.image"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A stack's name.  Raises `StackError` for one of blanks and quotes only."""

    name: str

    def __post_init__(self) -> None:
        if not self.name.strip(" \t\r\n\v\f\"'"):
            shown = self.name.replace('"', '\\"')
            raise StackError(f'invalid stack name: "{shown}"')

    def scope(self, name: str) -> str:
        """Return the name in the cluster of something the stack calls `name`."""
        return f"{self.name}_{name}"

    def label(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return labels with the stack's own added."""
        return {**labels, NAMESPACE_LABEL: self.name}
