"""Options of the container of a service: environment, hosts, DNS, limits, capabilities, networks.  Pure."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vault.cli.errors import CommandError
from vault.cli.values.fields import csv_fields

_LONG = re.compile(r"\w+=\w+(,\w+=\w+)*")
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]+)*\.?")
ULIMITS = frozenset(
    [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ]
)


def variable(text: str) -> str:
    """Return `NAME=value` or `NAME`; the name is not empty."""
    if not text.partition("=")[0]:
        raise ValueError(f"invalid environment variable: {text}")
    return text


def with_environment(variables: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """Return variables with values; a name alone takes its value from `environ`, or stays a name."""
    return [text if "=" in text or text not in environ else f"{text}={environ[text]}" for text in variables]


def environment_lines(file: str, content: bytes, environ: Mapping[str, str]) -> list[str]:
    """Return the variables of an `--env-file`; `#` begins a comment line, a name alone is taken from `environ`."""
    found: list[str] = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            raise CommandError(f"invalid env file ({file}): invalid utf8 bytes at line {number}") from None
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name.strip():
            raise CommandError(f"invalid env file ({file}): no variable name on line '{line}'")
        if re.search(r"\s", name):
            raise CommandError(f"invalid env file ({file}): variable '{name}' contains whitespaces on line {number}")
        if equals:
            found.append(f"{name}={value}")
        elif name in environ:
            found.append(f"{name}={environ[name]}")
    return found


def last_of_each(variables: Iterable[str]) -> list[str]:
    """Return variables in order, of each name only the last."""
    kept: dict[str, str] = {}
    for text in variables:
        name = text.partition("=")[0]
        if kept.get(name) != text:
            kept.pop(name, None)
            kept[name] = text
    return list(kept.values())


def extra_host(text: str) -> str:
    """Return `host:ip`; `host=ip` and an address in brackets are understood too."""
    separator = "=" if "=" in text else ":"
    host, found, address = text.partition(separator)
    if not found or not host or ":" in host:
        raise ValueError(f'bad format for add-host: "{text}"')
    address = address[1:-1] if len(address) > 2 and address[0] == "[" and address[-1] == "]" else address
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(f'invalid IP address in add-host: "{address}"') from None
    return f"{host}:{address}"


def swarm_host(text: str) -> str:
    """Return `ip host` of `host:ip`, as services keep it."""
    host, _, address = text.partition(":")
    return f"{address} {host}"


def dns_server(text: str) -> str:
    """Return an address in its usual form."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError(f"IP address is not correctly formatted: {text}") from None


def dns_search(text: str) -> str:
    """Return a search domain; `.` is none."""
    trimmed = text.strip(" ")
    if trimmed == "." or (_DOMAIN.fullmatch(trimmed) and re.search("[A-Za-z]", trimmed) and len(trimmed) < 255):
        return trimmed
    raise ValueError(f"{text} is not a valid domain")


def ulimit(text: str) -> dict[str, Any]:
    """Return the limit of `name=soft[:hard]`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    soft, colon, hard = value.partition(":")
    numbers = [soft, hard if colon else soft]
    if not all(re.fullmatch(r"-?\d{1,18}", number) for number in numbers):
        raise ValueError(f"invalid ulimit argument: {text}")
    low, high = int(numbers[0]), int(numbers[1])
    if high != -1 and (low == -1 or low > high):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}")
    return {"Name": name, "Hard": high, "Soft": low}


def network(text: str) -> dict[str, Any]:
    """Return the attachment of `NAME`, or `name=NAME,alias=…,driver-opt=key=value`."""
    if not _LONG.search(text):
        return {"Target": text}
    result: dict[str, Any] = {"Target": ""}
    for field in csv_fields(text):
        key, equals, value = (part.strip() for part in field.partition("="))
        match key.lower() if equals else "":
            case "name":
                result["Target"] = value
            case "alias":
                result.setdefault("Aliases", []).append(value)
            case "driver-opt":
                name, _, option = value.partition("=")
                result.setdefault("DriverOpts", {})[name] = option
            case "":
                raise ValueError(f"invalid field {field}")
            case _:
                raise ValueError(f"invalid field key {key}")
    if not result["Target"]:
        raise ValueError("network name/id is not specified")
    return result


def capability(text: str) -> str:
    """Return a capability in its usual form: `CAP_NET_ADMIN`, or `ALL`."""
    name = text.strip().upper()
    return name if name in ("ALL", "RESET") or name.startswith("CAP_") else f"CAP_{name}"


def capabilities(added: Iterable[str], dropped: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the lists to add and to drop of a new service; adding wins, ALL stands for every other."""
    adds = {capability(name) for name in added} - {"RESET"}
    drops = {capability(name) for name in dropped} - {"RESET"}
    adds = {"ALL"} if "ALL" in adds else adds
    drops = {"ALL"} if "ALL" in drops else drops
    return sorted(adds), sorted(drops - adds)


def changed_capabilities(
    kept_adds: Iterable[str], kept_drops: Iterable[str], added: Iterable[str], dropped: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Return the lists of an updated service.  To add what was dropped only undoes the drop, and vice versa."""
    adds, drops = {capability(name) for name in kept_adds}, {capability(name) for name in kept_drops}
    new_adds, new_drops = {capability(name) for name in added}, {capability(name) for name in dropped}
    adds = set() if "RESET" in new_adds else adds
    drops = set() if "RESET" in new_drops else drops
    new_adds, new_drops = new_adds - {"RESET"}, new_drops - {"RESET"} - new_adds
    for name in new_drops:
        (adds.discard if name in adds else drops.add)(name)
    for name in new_adds:
        (drops.discard if name in drops else adds.add)(name)
    return (["ALL"] if "ALL" in adds else sorted(adds)), (["ALL"] if "ALL" in drops else sorted(drops))


def tagged(image: str) -> str:
    """Return an image reference with `:latest` if it has neither tag nor digest."""
    name = image.rpartition("/")[2]
    return image if not image or ":" in name or "@" in image else f"{image}:latest"
