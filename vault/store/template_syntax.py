"""How a template is written: text with actions in braces, in the form Go's text/template gives them.

Pure.  Used by `vault.store.template`.  Understood are actions that print or set a variable, `if`, `with` and `range`
with `else`, comments and trim marks; anything else is refused by name, never left in the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from vault.store.template_actions import MAX_DEPTH, SPACE, Action, Pipeline, Source

MAX_ACTIONS: Final = 10_000  # About 0.1 s.
_ACTION = re.compile(
    rb"\{\{(-[ \t\r\n])?((?:\"(?:\\.|[^\"\\\n])*\"|`[^`]*`|[^\"`}]|\}(?!\}))*?)([ \t\r\n]-)?\}\}", re.DOTALL
)
_COMMENT = re.compile(rb"/\*.*?\*/", re.DOTALL)


class Word(StrEnum):
    """What begins a branch."""

    IF = "if"
    WITH = "with"  # Like `if`, with the dot moved.
    RANGE = "range"  # Once for each value there is, with the dot moved.


@dataclass(frozen=True, slots=True)
class Branch:
    """One part or the other."""

    word: Word
    condition: Pipeline
    then: "tuple[Node, ...]"
    otherwise: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Leave:
    """`break` or `continue`: the rest of a turn of the innermost range is left out."""

    goes_on: bool  # With the next turn.


Node = bytes | Pipeline | Branch | Leave


@dataclass(slots=True)
class _Open:
    """A branch that has yet to end."""

    word: Word
    condition: Pipeline
    at: int
    chained: bool  # It is the `else if` of the one below, and ends with it.
    then: list[Node] = field(default_factory=list)
    otherwise: list[Node] | None = None

    @property
    def nodes(self) -> list[Node]:
        """Where what comes next belongs."""
        return self.then if self.otherwise is None else self.otherwise

    def branch(self) -> Branch:
        """Return it, ended."""
        return Branch(self.word, self.condition, tuple(self.then), tuple(self.otherwise or ()))


def parse(source: Source) -> tuple[Node, ...]:
    """Return the parts of a template; raises `TemplateFailed`."""
    top: list[Node] = []
    stack: list[_Open] = []
    for count, piece in enumerate(_pieces(source)):
        if count > 2 * MAX_ACTIONS:  # Text stands before each.
            raise source.parse_error(0, f"more than {MAX_ACTIONS} actions")
        here = stack[-1].nodes if stack else top
        if isinstance(piece, bytes):
            here.append(piece)
            continue
        match piece.keyword():
            case b"if" | b"with" | b"range" as word:
                _begin(source, stack, piece, Word(word.decode()))
            case b"break" | b"continue" as word:
                if not piece.is_done or all(one.word is not Word.RANGE or one.otherwise is not None for one in stack):
                    raise source.parse_error(piece.at, f"{{{{{word.decode()}}}}} outside {{{{range}}}}")
                here.append(Leave(word == b"continue"))
            case b"else":
                _else(source, stack, piece)
            case b"end":
                if not stack or not piece.is_done:
                    raise source.parse_error(piece.at, "unexpected {{end}}")
                while True:
                    closed = stack.pop()
                    (stack[-1].nodes if stack else top).append(closed.branch())
                    if not closed.chained:
                        break
            case None:
                here.append(piece.pipeline())
            case word:
                raise source.parse_error(piece.at, f"{word.decode()} is not supported: use if, with and range")
    if stack:
        raise source.parse_error(len(source.text), "unexpected EOF")
    return tuple(top)


def _begin(source: Source, stack: list[_Open], piece: Action, word: Word, *, chained: bool = False) -> None:
    if len(stack) == MAX_DEPTH:
        raise source.parse_error(piece.at, "branches are nested too deeply")
    condition = piece.pipeline(most_variables=2 if word is Word.RANGE else 1)
    stack.append(_Open(word, condition, piece.at, chained=chained))


def _else(source: Source, stack: list[_Open], piece: Action) -> None:
    if not stack or stack[-1].otherwise is not None:
        raise source.parse_error(piece.at, "unexpected {{else}}")
    stack[-1].otherwise = []
    if (word := piece.keyword()) in (b"if", b"with"):
        _begin(source, stack, piece, Word(word.decode()), chained=True)
    elif word is not None or not piece.is_done:
        raise source.parse_error(piece.at, "unexpected operand after {{else}}")


def _pieces(source: Source) -> Iterator[bytes | Action]:
    """Yield text and actions in turn, trimmed; comments are left out."""
    text, at, trim = source.text, 0, False
    while (start := text.find(b"{{", at)) >= 0:
        action = _ACTION.match(text, start)
        if action is None:
            raise source.parse_error(start, "unclosed action")
        before = text[at:start].lstrip(SPACE) if trim else text[at:start]
        yield before.rstrip(SPACE) if action[1] else before
        at, trim = action.end(), bool(action[3])
        if _COMMENT.fullmatch(action[2]) is None:
            yield Action(source, action.start(2), action.end(2))
    yield text[at:].lstrip(SPACE) if trim else text[at:]
