"""`--publish`: ports of a service, in the short and the long form.  Pure."""

import re
from collections.abc import Iterable
from typing import Any

from vault.cli.values.fields import csv_fields

Port = dict[str, Any]
PROTOCOLS = ("tcp", "udp", "sctp")
_LONG = re.compile(r"\w+=\w+(,\w+=\w+)*")


def publish(text: str) -> list[Port]:
    """Return the ports that a `--publish` text asks for."""
    return [_long(text)] if _LONG.search(text) else _short(text)


def _long(text: str) -> Port:
    port: Port = {"Protocol": "tcp", "PublishMode": "ingress"}
    for field in csv_fields(text):
        key, equals, value = field.lower().partition("=")
        if not equals or not key:
            raise ValueError(f"invalid field: {field}")
        match key:
            case "protocol":
                if value not in PROTOCOLS:
                    raise ValueError(f"invalid protocol value '{value}'")
                port["Protocol"] = value
            case "mode":
                if value not in ("ingress", "host"):
                    raise ValueError(f"invalid publish mode value ({value}): must be either 'ingress' or 'host'")
                port["PublishMode"] = value
            case "target":
                port["TargetPort"] = _number("target", value)
            case "published":
                port["PublishedPort"] = _number("published", value)
            case _:
                raise ValueError(f"invalid field key: {key}")
    if not port.get("TargetPort"):
        raise ValueError("missing mandatory field 'target'")
    return port


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"invalid {name} port ({text}): value must be an integer: invalid syntax")
    if int(text) > 65_535:
        raise ValueError(f"invalid {name} port ({text}): value must be an integer: value out of range")
    return int(text)


def _short(text: str) -> list[Port]:
    rest, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    host, _, target = rest.rpartition(":")
    address, colon, published = host.rpartition(":")
    if colon or address:
        raise ValueError("hostip is not supported")
    if not target:
        raise ValueError(f"no port specified: {text}")
    targets = _range(target, "containerPort")
    if not host:
        return [_port(protocol, number, 0) for number in targets]
    publisheds = _range(published, "hostPort")
    if len(targets) == len(publisheds):
        return [_port(protocol, number, outside) for number, outside in zip(targets, publisheds, strict=True)]
    if len(targets) == 1:
        # A range for one port means "any of these"; Docker publishes each.
        return [_port(protocol, targets[0], outside) for outside in publisheds]
    raise ValueError(f"invalid ranges specified for container and host Ports: {target} and {published}")


def _range(text: str, name: str) -> list[int]:
    first, dash, last = text.partition("-")
    ends = [first, last if dash else first]
    if not all(end.isascii() and end.isdigit() and 0 < int(end) <= 65_535 for end in ends) or int(ends[0]) > int(
        ends[1]
    ):
        raise ValueError(f"invalid {name}: {text}")
    return list(range(int(ends[0]), int(ends[1]) + 1))


def _port(protocol: str, target: int, published: int) -> Port:
    port: Port = {"Protocol": protocol, "TargetPort": target, "PublishMode": "ingress"}
    if published:
        port["PublishedPort"] = published
    return port


def flat(texts: Iterable[list[Port]]) -> list[Port]:
    """Return the ports of several `--publish` options."""
    return [port for ports in texts for port in ports]
