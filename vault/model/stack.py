"""What is remembered of a stack's last deploy.  The stack itself is its objects, which carry its label.

One record for each deploy that changed something: it has the id that the deploy was given before it was sent to a
leader, so that one whose answer was lost is recognised, and it replaces the record of the deploy before.
"""

import msgspec

from vault.model.base import Object, Shape


class StackSpec(Shape, frozen=True, kw_only=True):
    """The name of a stack."""

    name: str = ""


class StackPart(Shape, frozen=True, kw_only=True):
    """An object of a stack, as a deploy left it."""

    kind: str = ""  # network | secret | config | service
    id: str = msgspec.field(name="ID", default="")
    name: str = ""
    action: str = ""  # create | update | remove | unchanged; "" = the deploy's files do not name it, and it stays.
    index: int = 0  # Commit index of its last change by a user; 0 = of the deploy itself, or of no account (networks).


class StackRecord(Object, frozen=True, kw_only=True):
    """The last deploy of a stack.  `created_at` says when, `version.index` in which commit."""

    spec: StackSpec
    deployed_by: str = ""  # "socket", or the name in the client's certificate.
    parts: tuple[StackPart, ...] = ()  # In the order of the deploy; those it removed among them.
