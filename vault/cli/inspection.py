"""`inspect` of every kind of object: several references, Docker's JSON, `--format`, and errors after what was found."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import click

from vault.cli.errors import ApiError, CommandError, joined

Found = dict[str, Any]


def inspect(references: Iterable[str], form: str | None, fetch: Callable[[str], Found], kind: str = "") -> None:
    """Print the objects that were found as a JSON array or by template, then fail for those that were not.

    kind: service, node, secret or config, of which the API leaves out what is empty; of others it leaves out nothing.
    A template that names what an object never has is refused.
    """
    from vault.cli.shaped import complete, kind_of, shaped
    from vault.cli.template import compact_json, compile_template

    found: list[Found] = []
    errors: list[CommandError] = []
    render = compile_template(form) if form and form != "json" else None
    for reference in references:
        try:
            found.append(fetch(reference))
        except ApiError as error:
            if error.status != 404:
                raise
            errors.append(error)
    if render:
        for item in found:
            click.echo(render(shaped(item, kind_of(kind)) if kind else complete(item)))
    elif form == "json":
        click.echo(compact_json(found))
    else:
        click.echo(json.dumps(found, indent=4, ensure_ascii=False) if found else "[]")
    joined(errors)


def show(
    references: Iterable[str],
    form: str | None,
    fetch: Callable[[str], Found],
    human: Callable[[Found], str] | None,
    kind: str,
) -> None:
    """Print objects as `inspect` does, or each in a human form.  human: makes it; None = it is not asked for."""
    if human is None:
        inspect(references, form, fetch, kind)
        return
    if form:
        raise CommandError("--format is incompatible with human friendly format")
    for reference in references:
        click.echo(human(fetch(reference)))


def label_lines(labels: dict[str, str] | None) -> list[str]:
    """Return the lines that show labels in a human form; none if there are none."""
    if not labels:
        return []
    return ["Labels:", *(f" - {name}={value}" if value else f" - {name}" for name, value in sorted(labels.items()))]


class NotFound(ApiError):
    """Nothing has that name or id; the text is Docker's for services and nodes."""

    def __init__(self, kind: str, reference: str) -> None:
        super().__init__(404, f"{kind} {reference} not found")
        self.args = (f"Error: no such {kind}: {reference}",)
