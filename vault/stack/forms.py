"""How values are written in a stack file: CPUs, numbers, command lines, ports.

Pure; each function turns a text into what it means, raises `ValueError` with the reason, and is called by
`vault.stack.load`, `vault.stack.convert` and the schema.  The rules are those of Docker's client (shlex for words).
Durations and sizes are read by `vault.model.durations` and `vault.model.sizes`.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from vault.model.durations import parse_duration

_CPUS = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+|[0-9]+/[0-9]+)")
_MAX_INT64 = 2**63 - 1
_MAX_TEXT = 256  # No number of CPUs or port is longer.
_PORT = re.compile(r"[0-9]{1,5}")


def is_duration(text: str) -> bool:
    """Return whether `text` is a duration."""
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


def parse_cpus(text: str) -> int:
    """Return a number of CPUs such as `0.50` in billionths."""
    match = _CPUS.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None or re.search("/0*$", text):
        raise ValueError(f"failed to parse {text[:_MAX_TEXT]} as a rational number")
    nano = Fraction(text) * 10**9
    if nano.denominator != 1:
        raise ValueError("value is too precise")
    if abs(nano.numerator) > _MAX_INT64:
        raise ValueError(f"failed to parse {text} as a rational number")
    return nano.numerator


def number_text(value: int | float) -> str:
    """Return a number as Go prints it: 1.0 is `1`, 1e3 is `1000`, 1e21 is `1e+21`."""
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


def split_command(text: str) -> tuple[str, ...]:
    """Return the words of a command line: quotes, backslashes and comments as in a shell, nothing expanded."""
    words: list[str] = []
    word: list[str] | None = None
    characters = iter(text)
    for character in characters:
        if character in " \t\r\n":
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        if character == "#" and word is None:
            next((skipped for skipped in characters if skipped == "\n"), None)
            continue
        word = [] if word is None else word
        match character:
            case "\\":
                word.append(_after_backslash(characters))
            case '"' | "'":
                word.extend(_quoted(characters, character))
            case _:
                word.append(character)
    if word is not None:
        words.append("".join(word))
    return tuple(words)


def _after_backslash(characters: Iterator[str]) -> str:
    character = next(characters, None)
    if character is None:
        raise ValueError("EOF found after escape character")
    return character


def _quoted(characters: Iterator[str], quote: str) -> list[str]:
    """Return the characters up to the closing quote; a backslash escapes in double quotes only."""
    inside: list[str] = []
    for character in characters:
        if character == quote:
            return inside
        inside.append(_after_backslash(characters) if character == "\\" and quote == '"' else character)
    raise ValueError("EOF found when expecting closing quote")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """One port of a short form such as `8080:80/udp`; published 0 = any."""

    ip: str
    published: int
    target: int
    protocol: str


def parse_port(text: str) -> tuple[PublishedPort, ...]:
    """Return the ports of `[[ip:]published:]target[/protocol]`, where both may be ranges, in Docker's order."""
    if len(text) > _MAX_TEXT:
        raise ValueError(f"invalid containerPort: {text[:_MAX_TEXT]}")
    left, _, target_text = text.rpartition(":")
    ip, _, published_text = left.rpartition(":")
    target_text, _, protocol = target_text.partition("/")
    protocol = protocol.lower() or "tcp"
    if not target_text:
        raise ValueError(f"no port specified: {text}<empty>")
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    first, last = _port_range(target_text, "containerPort")
    published_first, published_last = _port_range(published_text, "hostPort") if published_text else (0, 0)
    if published_text and last - first != published_last - published_first and last != first:
        raise ValueError(f"invalid ranges specified for container and host Ports: {target_text} and {published_text}")
    ip = _address(ip)
    if first == last:  # Every published port of a range leads to the one target.
        pairs = [(published, first) for published in range(published_first, published_last + 1)]
    else:
        pairs = [
            (published_first + index if published_text else 0, target)
            for index, target in enumerate(range(first, last + 1))
        ]
        pairs.sort(key=lambda pair: str(pair[1]))  # Docker's client sorts them as text.
    return tuple(
        PublishedPort(ip=ip, published=published, target=target, protocol=protocol) for published, target in pairs
    )


def is_port(text: str) -> bool:
    """Return whether `text` is a short form of a port."""
    try:
        parse_port(text)
    except ValueError:
        return False
    return True


def _port_range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not _PORT.fullmatch(first) or (dash and not _PORT.fullmatch(last)):
        raise ValueError(f"invalid {what}: {text}")
    begin, end = int(first), int(last if dash else first)
    if not 0 <= begin <= end <= 65535:
        raise ValueError(f"invalid {what}: {text}")
    return begin, end


def _address(text: str) -> str:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if inner:
        try:
            ipaddress.ip_address(inner)
        except ValueError:
            raise ValueError(f"invalid IP address: {text}") from None
    return inner
