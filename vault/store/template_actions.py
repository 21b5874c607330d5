"""One action of a template: its tokens, and what they say.

Pure.  Used by `vault.store.template_syntax`.  Understood are pipelines of fields, variables, functions and constants.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from vault.store.template_values import TemplateFailed

MAX_DEPTH: Final = 100  # Of parentheses and of branches in one another.
SPACE: Final = b" \t\r\n"
_BLANK = re.compile(rb"[ \t\r\n]*")
_TOKEN = re.compile(
    rb"""(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<field>\$\w*(?:\.[A-Za-z_]\w*)*|(?:\.[A-Za-z_]\w*)+|\.(?![\w.]))"""
    rb"""|(?P<word>[A-Za-z_]\w*)|(?P<number>[-+]?\d{1,18}(?![\w.]))|(?P<sign>:=|[|(),=]))"""
)
_VARIABLE = re.compile(rb"\$[A-Za-z_]\w*")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b'"': b'"', b"\\": b"\\"}
_KEYWORDS = frozenset(
    (b"if", b"with", b"else", b"end", b"range", b"define", b"template", b"block", b"break", b"continue")
)


@dataclass(frozen=True, slots=True)
class Source:
    """A template's text, and whether errors may quote it."""

    text: bytes
    guarded: bool  # It is a secret: errors say only where it is wrong.

    def parse_error(self, at: int, reason: str) -> TemplateFailed:
        """Return what is wrong with the way it is written."""
        line = 1 + self.text.count(b"\n", 0, at)
        return TemplateFailed(
            f"template: expansion:{line}: {'an action is not understood' if self.guarded else reason}"
        )

    def value_error(self, at: int, end: int, reason: str) -> TemplateFailed:
        """Return what is wrong with what the text from `at` to `end` stands for; `at` is where Go says it is."""
        line, column = 1 + self.text.count(b"\n", 0, at), at - (self.text.rfind(b"\n", 0, at) + 1)
        place = f"template: expansion:{line}:{column}: "
        if self.guarded:
            return TemplateFailed(f"{place}an action cannot be filled in")
        return TemplateFailed(f'{place}executing "expansion" at {self._shown(at, end)}: {reason}')

    def _shown(self, at: int, end: int) -> str:
        start = at  # A chain of fields is placed at its second part, and shown as a whole.
        while start and self.text[start - 1 : start] not in (
            b" ",
            b"\t",
            b"\r",
            b"\n",
            b"(",
            b"|",
            b"{",
            b"-",
            b"=",
            b"",
        ):
            start -= 1
        return f"<{self.text[start:end].decode(errors='replace')}>"


@dataclass(frozen=True, slots=True)
class Constant:
    """A string, a number, true or false."""

    value: bytes | int | bool


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields of the dot, of a variable, or of what a parenthesis gives."""

    of: "Pipeline | None"  # None: the dot, or the variable.
    variable: str  # "$", "$x"; "" = none.
    names: tuple[str, ...]
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments, without what is piped to it."""

    name: str
    arguments: tuple["Operand", ...]
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each with the value of the one before as its last argument."""

    commands: tuple["Operand", ...]
    at: int
    end: int
    sets: tuple[str, ...] = ()  # Variables that take the value; it is not printed then.
    declares: bool = False  # They are new (`:=`), else they are there already (`=`).


Operand = Constant | Fields | Call | Pipeline


class Action:
    """The tokens of one action, taken from the left."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.at = start
        self._source = source
        self._tokens: list[tuple[str, bytes, int, int]] = []
        self._depth = 0
        while (start := _skipped(source.text, start, end)) < end:
            token = _TOKEN.match(source.text, start, end)
            if token is None or token.lastgroup is None:
                raise source.parse_error(start, f"unexpected {chr(source.text[start])!r} in operand")
            kind = token.lastgroup
            self._tokens.append((kind, token[kind], token.start(kind), token.end(kind)))
            start = token.end()
        self._tokens.reverse()
        self._end = end

    @property
    def is_done(self) -> bool:
        """Whether every token was taken."""
        return not self._tokens

    def keyword(self) -> bytes | None:
        """Take and return a keyword; None when something else comes next."""
        if self._tokens and self._tokens[-1][0] == "word" and self._tokens[-1][1] in _KEYWORDS:
            return self._tokens.pop()[1]
        return None

    def pipeline(self, most_variables: int = 1) -> Pipeline:
        """Take all that is left: a pipeline, and the variables that take its value."""
        sets, declares = self._variables(most_variables)
        found = replace(self._pipeline(), sets=sets, declares=declares)
        if self._tokens:
            raise self._source.parse_error(self._tokens[-1][2], "unexpected right paren")
        return found

    def _variables(self, most: int) -> tuple[tuple[str, ...], bool]:
        """Take `$x :=`, `$x =`, or for a range `$key, $value :=`; nothing when something else comes next."""
        for count in range(1, most + 1):
            tokens = [token[1] for token in self._tokens[: -2 * count - 1 : -1]]
            names, signs = tokens[::2], tokens[1::2]
            if len(signs) < count or signs[-1] not in (b":=", b"=") or signs[:-1] != [b","] * (count - 1):
                continue
            if not all(_VARIABLE.fullmatch(name) for name in names):
                raise self._source.parse_error(self._place(), "only a variable takes a value")
            del self._tokens[-2 * count :]
            return tuple(name.decode() for name in names), signs[-1] == b":="
        return (), False

    def _pipeline(self) -> Pipeline:
        at = self._place()
        commands = [self._command()]
        while self._next_is(b"|"):
            self._tokens.pop()
            commands.append(self._command())
        return Pipeline(tuple(commands), at, self._place())

    def _command(self) -> Operand:
        if not self._tokens or self._next_is(b"|", b")"):
            raise self._source.parse_error(self._place(), "missing value for command")
        kind, text, at, end = self._tokens[-1]
        if kind != "word" or text in (b"true", b"false"):
            first = self._operand()
            if self._tokens and not self._next_is(b"|", b")"):
                raise self._source.parse_error(self._place(), "can't give argument to non-function")
            return first
        self._tokens.pop()
        arguments: list[Operand] = []
        while self._tokens and not self._next_is(b"|", b")"):
            end = self._tokens[-1][3]
            arguments.append(self._operand())
        return Call(text.decode(), tuple(arguments), at, end)

    def _operand(self) -> Operand:
        kind, text, at, end = self._tokens.pop()
        match kind:
            case "string":
                return Constant(self._unquoted(text, at))
            case "number":
                return Constant(int(text))
            case "word" if text in (b"true", b"false"):
                return Constant(text == b"true")
            case "word":
                return Call(text.decode(), (), at, end)
            case "field":
                first, *names = text.decode().split(".")
                return Fields(None, first, tuple(name for name in names if name), _place_of(text, at), end)
        if text != b"(":
            raise self._source.parse_error(at, f"unexpected {text.decode()!r} in operand")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._source.parse_error(at, "parentheses are nested too deeply")
        inner = self._pipeline()
        self._depth -= 1
        if not self._next_is(b")"):
            raise self._source.parse_error(at, "unclosed left paren")
        self._tokens.pop()
        if self._tokens and self._tokens[-1][0] == "field" and self._tokens[-1][1].startswith(b"."):
            _, chain, at, end = self._tokens[-1]
            if self._source.text[at - 1 : at] == b")" and chain != b".":
                self._tokens.pop()
                return Fields(inner, "", tuple(chain.decode().split(".")[1:]), at, end)
        return inner

    def _next_is(self, *signs: bytes) -> bool:
        return bool(self._tokens) and self._tokens[-1][0] == "sign" and self._tokens[-1][1] in signs

    def _place(self) -> int:
        return self._tokens[-1][2] if self._tokens else self._end

    def _unquoted(self, text: bytes, at: int) -> bytes:
        if text.startswith(b"`"):
            return text[1:-1]

        def plain(escape: re.Match[bytes]) -> bytes:
            if escape[1] not in _ESCAPES:
                raise self._source.parse_error(at, "a string has an unknown escape")
            return _ESCAPES[escape[1]]

        return re.sub(rb"\\(.)", plain, text[1:-1], flags=re.DOTALL)


def _skipped(text: bytes, start: int, end: int) -> int:
    """Return where the next token begins; `end` if there is none."""
    blank = _BLANK.match(text, start, end)
    return start if blank is None else blank.end()


def _place_of(text: bytes, at: int) -> int:
    """Return where Go says a chain of fields is: at its second part, if it has one."""
    second = text.find(b".", 1)
    return at if second < 0 else at + second
