"""The sentences with which Go's decoders refuse JSON and base64, for bodies that ours has refused.  Pure.

Clients match on Docker's texts, and Docker's are those of Go's `encoding/json` and `encoding/base64`.
Called by `vault.api.bodies` and `filters`, only once a body is known to be bad.
"""

import binascii
import re
from collections.abc import Iterator

from vault.model.errors import BadRequest

END = "unexpected end of JSON input"
MAX_DEPTH = 10_000
_SPACE = " \t\r\n"
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/]")
_NEWLINES = b"\r\n"


class BadSyntax(Exception):
    """Carries Go's sentence."""


def json_fault(body: bytes) -> str | None:
    """Return the sentence with which Go refuses `body` as JSON; None when its syntax is right."""
    characters = _Characters(body.decode("utf-8", errors="replace"))
    try:
        _value(characters)
        rest = characters.skip_space()
        if rest is not None:
            return _invalid(rest, "after top-level value")
    except BadSyntax as fault:
        return str(fault)
    return None


def base64_bytes(text: bytes) -> bytes:
    """Decode standard base64 as Go does (newlines ignored); raise `BadRequest` with Go's text.

    Source: Go 1.22, encoding/base64, `decodeQuantum`.
    """
    offset = base64_fault(text)
    if offset is not None:
        raise BadRequest(f"illegal base64 data at input byte {offset}")
    return binascii.a2b_base64(text)


def base64_fault(text: bytes) -> int | None:
    """Return the offset at which Go finds standard base64 to be illegal; None when it is right."""
    position, length = 0, len(text)

    def skip() -> None:
        nonlocal position
        while position < length and text[position] in _NEWLINES:
            position += 1

    while True:
        filled = 0
        while filled < 4:
            skip()
            if position == length:
                return None if filled == 0 else position - filled
            character = text[position : position + 1]
            position += 1
            if _BASE64.match(character):
                filled += 1
                continue
            if character != b"=" or filled < 2:
                return position - 1
            if filled == 2:
                skip()
                if position == length:
                    return length
                if text[position : position + 1] != b"=":
                    return position - 1
                position += 1
            skip()
            return None if position == length else position


class _Characters:
    """A text and a position in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def next(self) -> str:
        """Return the next character and step over it; raise `BadSyntax` at the end."""
        if self.position >= len(self.text):
            raise BadSyntax(END)
        character = self.text[self.position]
        self.position += 1
        return character

    def next_token(self) -> str:
        """Return the next character that is no space and step over it."""
        if self.skip_space() is None:
            raise BadSyntax(END)
        return self.next()

    def skip_space(self) -> str | None:
        """Step over space; return the character after it, or None at the end."""
        while self.position < len(self.text) and self.text[self.position] in _SPACE:
            self.position += 1
        return self.text[self.position] if self.position < len(self.text) else None


def _value(characters: _Characters) -> None:
    """Step over one value.  Keeps its own stack: input decides the depth."""
    frames: list[Iterator[None]] = [_one(characters)]
    while frames:
        if len(frames) > MAX_DEPTH:
            raise BadSyntax("exceeded max depth")
        if next(frames[-1], StopIteration) is StopIteration:
            frames.pop()
        else:
            frames.append(_one(characters))


def _one(characters: _Characters) -> Iterator[None]:
    """Step over one value; yield where a value inside it begins."""
    character = characters.next_token()
    match character:
        case "{":
            yield from _object(characters)
        case "[":
            yield from _array(characters)
        case '"':
            _string(characters)
        case "t" | "f" | "n":
            _literal(characters, _LITERALS[character])
        case _ if character == "-" or character in "0123456789":
            _number(characters, character)
        case _:
            raise BadSyntax(_invalid(character, "looking for beginning of value"))


def _object(characters: _Characters) -> Iterator[None]:
    character = characters.next_token()
    if character == "}":
        return
    while True:
        if character != '"':
            raise BadSyntax(_invalid(character, "looking for beginning of object key string"))
        _string(characters)
        character = characters.next_token()
        if character != ":":
            raise BadSyntax(_invalid(character, "after object key"))
        yield
        character = characters.next_token()
        if character == "}":
            return
        if character != ",":
            raise BadSyntax(_invalid(character, "after object key:value pair"))
        character = characters.next_token()


def _array(characters: _Characters) -> Iterator[None]:
    if characters.skip_space() == "]":
        characters.next()
        return
    while True:
        yield
        character = characters.next_token()
        if character == "]":
            return
        if character != ",":
            raise BadSyntax(_invalid(character, "after array element"))


def _string(characters: _Characters) -> None:
    while True:
        character = characters.next()
        if character == '"':
            return
        if character == "\\":
            escape = characters.next()
            if escape == "u":
                for _ in range(4):
                    digit = characters.next()
                    if digit not in "0123456789abcdefABCDEF":
                        raise BadSyntax(_invalid(digit, "in \\u hexadecimal character escape"))
            elif escape not in 'bfnrt\\/"':
                raise BadSyntax(_invalid(escape, "in string escape code"))
        elif character < " ":
            raise BadSyntax(_invalid(character, "in string literal"))


def _literal(characters: _Characters, word: str) -> None:
    for expected in word[1:]:
        character = characters.next()
        if character != expected:
            raise BadSyntax(_invalid(character, f"in literal {word} (expecting {_quoted(expected)})"))


def _number(characters: _Characters, first: str) -> None:
    if first == "-":
        first = characters.next()
        if first not in "0123456789":
            raise BadSyntax(_invalid(first, "in numeric literal"))
    if first != "0":
        _digits(characters)
    if characters.text[characters.position : characters.position + 1] == ".":
        characters.next()
        _expect_digit(characters, "after decimal point in numeric literal")
    if characters.text[characters.position : characters.position + 1] in ("e", "E"):
        characters.next()
        if characters.text[characters.position : characters.position + 1] in ("+", "-"):
            characters.next()
        _expect_digit(characters, "in exponent of numeric literal")


def _expect_digit(characters: _Characters, where: str) -> None:
    digit = characters.next()
    if digit not in "0123456789":
        raise BadSyntax(_invalid(digit, where))
    _digits(characters)


def _digits(characters: _Characters) -> None:
    while characters.text[characters.position : characters.position + 1] in tuple("0123456789"):
        characters.position += 1


def _invalid(character: str, where: str) -> str:
    return f"invalid character {_quoted(character)} {where}"


def _quoted(character: str) -> str:
    """Return a character as Go's decoder quotes it."""
    special = {"'": "'\\''", '"': "'\"'", "\\": "'\\\\'", "\n": "'\\n'", "\t": "'\\t'", "\r": "'\\r'"}
    if character in special:
        return special[character]
    if character < " " or character == "\x7f":
        return f"'\\x{ord(character):02x}'"
    return f"'{character}'"
