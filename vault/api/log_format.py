"""Lines of logs as bytes, and the query that asks for them.  Pure.

A frame: stream (1 stdout, 2 stderr), three zeros, length of the payload (4 bytes, big-endian), payload.
Called by `vault.api.logs`.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from urllib.parse import quote_plus

from starlette.requests import Request

from vault.api.context import flag
from vault.api.ports import LogLine, LogQuery
from vault.api.times import seconds
from vault.model.errors import BadRequest
from vault.model.task import Task

QUERY = ("stdout", "stderr", "follow", "since", "until", "timestamps", "tail", "details")
NO_STREAM = "must specify at least one of 'stdout' or 'stderr'"
MAX_TAIL = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What comes before each line."""

    timestamps: bool
    details: bool


def style_of(request: Request) -> Style:
    """Return what the query asks to come before each line."""
    return Style(timestamps=flag(request, "timestamps"), details=flag(request, "details"))


def log_query(request: Request, *, strict: bool) -> LogQuery:
    """Return which lines the query asks for; raise `BadRequest` when it asks for neither stream.

    strict: a `tail` that is no number is refused, as Docker does for services; for a container it means all.
    """
    stdout, stderr = flag(request, "stdout"), flag(request, "stderr")
    if not stdout and not stderr:
        raise BadRequest(NO_STREAM)
    tail = request.query_params.get("tail", "") or "all"
    number = tail.isascii() and tail.isdigit() and len(tail) < 20
    if strict and not number and tail != "all":
        raise BadRequest('tail value must be a positive integer or "all"')
    return LogQuery(
        stdout=stdout,
        stderr=stderr,
        since_s=seconds(request.query_params.get("since", "")) or 0.0,
        until_s=seconds(request.query_params.get("until", "")),
        tail=min(int(tail), MAX_TAIL) if number else None,
        follow=flag(request, "follow"),
    )


def frame(task: Task | None, line: LogLine, style: Style, *, framed: bool) -> bytes:
    """Return a line with what comes before it; in a frame, or bare as a terminal's is."""
    start = b""
    if style.timestamps:
        start = f"{stamp(line)} ".encode()
    if style.details:
        start += f"{details(task, line.details)} ".encode()
    payload = start + line.data
    if not framed:
        return payload
    return struct.pack(">BxxxL", line.stream, len(payload)) + payload


def stamp(line: LogLine) -> str:
    """Return a line's time, RFC 3339 in UTC with nine digits."""
    moment = line.timestamp.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}{line.nanosecond:03d}Z"


def details(task: Task | None, given: Mapping[str, str]) -> str:
    """Return `key=value,…` sorted and URL-escaped: a line's own, and which node, service and task it is of."""
    attributes = dict(given)
    if task is not None:
        attributes |= {
            "com.docker.swarm.node.id": task.node_id,
            "com.docker.swarm.service.id": task.service_id,
            "com.docker.swarm.task.id": task.id,
        }
    return ",".join(f"{quote_plus(key)}={quote_plus(attributes[key])}" for key in sorted(attributes))
