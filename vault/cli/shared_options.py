"""Options that many commands share, declared once."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from vault.cli.client import Client
from vault.cli.command import option, switch
from vault.cli.table import FORMAT_HELP, INSPECT_FORMAT_HELP, listing
from vault.cli.values.kinds import FILTER
from vault.cli.wire import filters

Function = TypeVar("Function", bound=Callable[..., Any])
pass_client = click.make_pass_decorator(Client)


def list_options(function: Function) -> Function:
    """`--filter`, `--format` and `--quiet` of a listing."""
    function = option(
        "-f", "--filter", "wanted", kind=FILTER, many=True, text="Filter output based on conditions provided"
    )(function)
    function = option("--format", "form", text=FORMAT_HELP)(function)
    return switch("-q", "--quiet", text="Only display IDs")(function)


def format_option(function: Function) -> Function:
    """`--format` of an `inspect`."""
    return option("-f", "--format", "form", text=INSPECT_FORMAT_HELP)(function)


def pretty_option(function: Function) -> Function:
    """`--pretty` of an `inspect`."""
    return switch("--pretty", text="Print the information in a human friendly format")(function)


def detach_option(function: Function) -> Function:
    """`--detach` of a command that waits for a service."""
    return switch("-d", "--detach", text="Exit immediately instead of waiting for the service to converge")(function)


def no_trunc_option(function: Function) -> Function:
    """`--no-trunc` of a listing."""
    return switch("--no-trunc", text="Do not truncate output")(function)


def asked(wanted: Sequence[tuple[str, str]]) -> str | None:
    """Return the filters query for `--filter` options."""
    return filters(wanted)


def show(
    rows: Sequence[Mapping[str, Any]],
    *,
    headers: Mapping[str, str],
    columns: Sequence[str],
    form: str | None,
    quiet: bool,
    identity: str = "ID",
) -> None:
    """Print a listing; `identity` is the field that `--quiet` prints."""
    text = listing(rows, headers=headers, columns=columns, form=form, quiet=identity if quiet else None)
    click.echo(text, nl=False)


def now_s() -> float:
    """The clock of this process, seconds since 1970; commands pass it on to pure functions."""
    return time.time()
