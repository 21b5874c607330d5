"""`vault events`: what changes in the swarm, and what happens to this node's containers, as it happens."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from vault.cli.client import Client
from vault.cli.command import command, option
from vault.cli.commands.logs import SINCE, UNTIL
from vault.cli.services.logs import moment
from vault.cli.shared_options import asked, now_s, pass_client
from vault.cli.table import INSPECT_FORMAT_HELP
from vault.cli.values.kinds import FILTER

_SECOND_NS = 1_000_000_000


@command("[OPTIONS]", name="events", text="Get real time events from the server")
@option("-f", "--filter", "wanted", kind=FILTER, many=True, text="Filter output based on conditions provided")
@option("--format", "form", text=INSPECT_FORMAT_HELP)
@option("--since", text=SINCE.replace("logs", "events"))
@option("--until", text=UNTIL.replace("logs", "events"))
@pass_client
def events(
    client: Client, wanted: tuple[tuple[str, str], ...], form: str | None, since: str | None, until: str | None
) -> None:
    """Print events until the time that was asked for, or for ever; with --since, first the last ones since then."""
    from vault.cli.template import compile_template

    render = compile_template("{{json .}}" if form == "json" else form) if form else event_text
    begin, end = (moment(given, now_s()) if given else None for given in (since, until))
    answer = client.stream("GET", "/events", {"filters": asked(wanted), "since": begin, "until": end})
    for line in lines_of(answer.body):
        sys.stdout.write(render(json.loads(line)) + "\n")
        sys.stdout.flush()  # Whoever reads them waits for the next one.


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a body that comes in pieces."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line for line in lines if line)


def event_text(event: Mapping[str, Any]) -> str:
    """Return an event as `docker events` prints it, in UTC.  Pure."""
    seconds, nanoseconds = divmod(event.get("timeNano") or 0, _SECOND_NS)
    at = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
    actor = event.get("Actor") or {}
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    text = f"{at} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    return f"{text} ({attributes})" if attributes else text
