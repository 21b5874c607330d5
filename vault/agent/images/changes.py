"""The `--change` instructions of `image import`, in the Dockerfile's words.

Pure.  Source: `docker import`, which takes CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME
and WORKDIR.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from vault.agent.images.errors import BadChange
from vault.model.durations import parse_duration

_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TEXT_MAX: Final = 64 << 10
_HEALTH_FLAGS: Final = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
    "retries": "Retries",
}
_LEAST_NS: Final = 1_000_000
_PORT: Final = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?", re.IGNORECASE)


def apply(changes: Sequence[str]) -> dict[str, Any]:
    """Return the `config` of an image made with these instructions.  Raises `BadChange` naming the instruction."""
    config: dict[str, Any] = {"Env": [_PATH]}
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        name, rest = word.upper(), rest.strip()
        if len(change) > _TEXT_MAX:
            raise BadChange("a change is too long")
        if not rest:
            raise BadChange(f"{name or 'a change'} needs a value")
        match name:
            case "CMD" | "ENTRYPOINT":
                config[name.capitalize()] = _command(rest)
            case "ENV":
                config["Env"] = _with_env(config["Env"], _pairs(name, rest))
            case "HEALTHCHECK":
                config["Healthcheck"] = _healthcheck(rest)
            case "LABEL":
                config.setdefault("Labels", {}).update(_pairs(name, rest))
            case "EXPOSE":
                config.setdefault("ExposedPorts", {}).update({_port(port): {} for port in rest.split()})
            case "VOLUME":
                config.setdefault("Volumes", {}).update({path: {} for path in _list(rest) or _words(name, rest)})
            case "USER" | "WORKDIR" | "STOPSIGNAL":
                config[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[name]] = rest
            case _:
                raise BadChange(f"{name[:32]} is not a valid change command")
    return config


def _command(text: str) -> list[str]:
    """Return a command: a JSON list as it stands, anything else for a shell."""
    return _list(text) or ["/bin/sh", "-c", text]


def _healthcheck(text: str) -> dict[str, Any]:
    """Read `NONE`, or `[--interval=5s --retries=3 …] CMD command`."""
    check: dict[str, Any] = {}
    word, _, rest = text.partition(" ")
    while word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        field = _HEALTH_FLAGS.get(name)
        if field is None or not equals:
            raise BadChange(f"HEALTHCHECK has no flag {word[:32]}")
        check[field] = _health_value(field, value)
        word, _, rest = rest.strip().partition(" ")
    rest = rest.strip()
    match word.upper():
        case "NONE" if not rest and not check:
            return {"Test": ["NONE"]}
        case "CMD" if rest:
            words = _list(rest)
            return {"Test": ["CMD-SHELL", rest] if words is None else ["CMD", *words], **check}
    raise BadChange("HEALTHCHECK takes NONE alone, or flags and CMD with a command")


def _health_value(field: str, text: str) -> int:
    try:
        value = int(text) if field == "Retries" else parse_duration(text)
    except ValueError:
        raise BadChange(f"HEALTHCHECK has a wrong {field}: {text[:32]}") from None
    if value < (1 if field == "Retries" else _LEAST_NS):
        raise BadChange(f"HEALTHCHECK has a {field} that is too small: {text[:32]}")
    return value


def _list(text: str) -> list[str] | None:
    try:
        return msgspec.json.decode(text, type=list[str]) or None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _words(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise BadChange(f"{name} has a quote that does not end") from None


def _pairs(name: str, text: str) -> dict[str, str]:
    """Read `key=value key="other value"`, or the old form `key value`."""
    words = _words(name, text)
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise BadChange(f"{name} must have two arguments")
        return {key: value.strip()}
    pairs = [word.partition("=") for word in words]
    if not all(key and equals for key, equals, _ in pairs):
        raise BadChange(f"{name} takes KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _with_env(env: Sequence[str], pairs: dict[str, str]) -> list[str]:
    kept = [line for line in env if line.partition("=")[0] not in pairs]
    return kept + [f"{key}={value}" for key, value in pairs.items()]


def _port(text: str) -> str:
    match = _PORT.fullmatch(text)
    if match is None or not 0 < int(match[1]) <= 65535:
        raise BadChange(f"invalid containerPort: {text[:32]}")
    return f"{match[1]}/{(match[2] or 'tcp').lower()}"
