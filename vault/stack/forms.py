"""How values are written in a stack file: durations, sizes, CPUs, command lines, ports, pairs.

Pure; each function turns a text into what it means, raises `ValueError` with the reason, and is called by
`vault.stack.load`, `vault.stack.convert` and the schema.  The rules are those of Docker's client (Go's `ParseDuration`,
go-units' RAM sizes, shlex).
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION = re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+) ?([a-z]*)", re.IGNORECASE)
_SIZE_SUFFIX = re.compile(r"b|([kmgtp])(?:b|ib)?", re.IGNORECASE)
_CPUS = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+|[0-9]+/[0-9]+)")
_MAX_INT64 = 2**63 - 1
_MAX_TEXT = 256  # No duration, size or port is longer.
_PORT = re.compile(r"[0-9]{1,5}")


def parse_duration(text: str) -> int:
    """Return a duration such as `1m30s` or `500ms` in nanoseconds."""
    if text in ("0", "+0", "-0"):
        return 0
    if len(text) > _MAX_TEXT or _DURATION.fullmatch(text) is None:
        raise ValueError(f'time: invalid duration "{text[:_MAX_TEXT]}"')
    total = sum(int(Fraction(number) * _UNITS_NS[unit]) for number, unit in _DURATION_PART.findall(text))
    if total > _MAX_INT64:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text[0] == "-" else total


def format_duration(duration_ns: int) -> str:
    """Return a duration as Go prints it: `1m30s`, `1.5s`, `100µs`, `0s`."""
    sign, left = ("-", -duration_ns) if duration_ns < 0 else ("", duration_ns)
    if left == 0:
        return "0s"
    if left < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if left >= size:
                return f"{sign}{_decimal(Fraction(left, size))}{unit}"
    minutes, below_ns = divmod(left, 60_000_000_000)
    seconds = _decimal(Fraction(below_ns, 1_000_000_000))
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}s"
    return f"{sign}{minutes}m{seconds}s" if minutes else f"{sign}{seconds}s"


def _decimal(value: Fraction) -> str:
    whole, rest = divmod(value, 1)
    digits = f"{int(rest * 10**9):09}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def is_duration(text: str) -> bool:
    """Return whether `text` is a duration."""
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


def parse_size(text: str) -> int:
    """Return a size such as `50M` or `1.5GiB` in bytes; units are powers of 1024, `b` may follow."""
    match = _SIZE.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise ValueError(f"invalid size: '{text[:_MAX_TEXT]}'")
    number, suffix = match.groups()
    power = 0
    if suffix:
        unit = _SIZE_SUFFIX.fullmatch(suffix)
        if unit is None:
            raise ValueError(f"invalid suffix: '{suffix.lower()}'")
        power = "kmgtp".index(unit[1].lower()) + 1 if unit[1] else 0
    size = int(Fraction(number) * 1024**power)
    if size > _MAX_INT64:
        raise ValueError(f"invalid size: '{text}'")
    return size


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
