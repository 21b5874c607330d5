"""`vault logs`: what a container of this node has written."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, TypeVar

from vault.cli.client import Client
from vault.cli.command import argument, command, option, switch
from vault.cli.errors import CommandError
from vault.cli.services.logs import frames, moment
from vault.cli.shared_options import now_s, pass_client

Function = TypeVar("Function", bound=Callable[..., Any])
SINCE = 'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'
UNTIL = 'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'


def log_options(function: Function) -> Function:
    """Options of both `logs` commands."""
    for declare in (
        switch("--details", text="Show extra details provided to logs"),
        switch("-f", "--follow", text="Follow log output"),
        option("--since", text=SINCE),
        option("-n", "--tail", default="all", shown='"all"', text="Number of lines to show from the end of the logs"),
        switch("-t", "--timestamps", text="Show timestamps"),
    ):
        function = declare(function)
    return function


def log_query(
    *, details: bool, follow: bool, since: str | None, tail: str, timestamps: bool, until: str | None = None
) -> dict[str, str | None]:
    """Return the query of a request for logs."""
    now = now_s()
    return {
        "stdout": "1",
        "stderr": "1",
        "follow": "1" if follow else None,
        "since": moment(since, now) if since else None,
        "until": moment(until, now) if until else None,
        "timestamps": "1" if timestamps else None,
        "details": "1" if details else None,
        "tail": tail,
    }


def copy_out(pieces: Iterable[bytes], *, tty: bool) -> None:
    """Write logs to where they were written; a terminal's logs have no frames."""
    if tty:
        for piece in pieces:
            write(sys.stdout.buffer, piece)
        return
    for stream, payload in frames(pieces):
        write(output_of(stream, payload), payload)


def output_of(stream: int, payload: bytes) -> BinaryIO:
    """Return our output for a stream of a container.  Raises `CommandError` for an error of the daemon."""
    if stream == 3:
        raise CommandError(f"error from daemon in stream: {payload.decode(errors='replace').strip()}")
    return sys.stderr.buffer if stream == 2 else sys.stdout.buffer


def write(output: BinaryIO, data: bytes) -> None:
    """Write at once, so that a follower sees lines as they come."""
    output.write(data)
    output.flush()


@command("[OPTIONS] CONTAINER", name="logs", text="Fetch the logs of a container")
@argument("container")
@log_options
@option("--until", text=UNTIL)
@pass_client
def logs(client: Client, /, container: str, **given: Any) -> None:
    """Print what a container has written."""
    found = client.get(f"/containers/{container}/json")
    tty = bool((found.get("Config") or {}).get("Tty"))
    answer = client.stream("GET", f"/containers/{found['Id']}/logs", log_query(**given))
    copy_out(answer.body, tty=tty)
