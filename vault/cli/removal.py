"""`rm` of several objects: each is tried, each success is printed, each failure is a line of the error."""

from collections.abc import Callable, Iterable

import click

from vault.cli.errors import ApiError, CommandError, joined


class NothingRemoved(Exception):
    """What was to be removed is not there, and its user takes that for well: it is not printed as removed."""


def remove_each(references: Iterable[str], remove: Callable[[str], None]) -> None:
    """Remove each reference and print it; fail at the end with every error."""
    errors: list[CommandError] = []
    for reference in references:
        try:
            remove(reference)
        except NothingRemoved:
            continue
        except ApiError as error:
            errors.append(error)
        else:
            click.echo(reference)
    joined(errors)
