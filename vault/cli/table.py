"""Listings: tables with Docker's column widths, `--format` and `--quiet`.  Pure; every `ls` and `ps` ends here."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LEAST_WIDTH = 10
GAP = 3
FORMAT_HELP = """Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template."""
INSPECT_FORMAT_HELP = """Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template."""


def listing(
    rows: Iterable[Mapping[str, Any]],
    *,
    headers: Mapping[str, str],
    columns: Sequence[str],
    form: str | None = None,
    quiet: str | None = None,
) -> str:
    """Return the text of a listing, lines ended.

    rows: fields by name; names that start with `_` are for templates' use only.  headers: field -> heading.
    columns: fields, or templates, of the plain table.  form: what `--format` said.  quiet: the one field to print, if
    asked for.
    """
    items = list(rows)
    form = form or "table"
    if quiet is not None and form in ("table", "json"):
        return "".join(f"{item[quiet]}\n" for item in items)
    if form == "table" and not any("{{" in name for name in columns):
        # What nearly every call prints needs no template.
        cells = [[headers[name] for name in columns], *([str(item[name]) for name in columns] for item in items)]
        return align(["\t".join(row) for row in cells])
    if form == "table":
        form = "table " + "\t".join(name if "{{" in name else f"{{{{.{name}}}}}" for name in columns)
    return _by_template(items, headers, "{{json .}}" if form == "json" else form)


def _by_template(items: Sequence[Mapping[str, Any]], headers: Mapping[str, str], form: str) -> str:
    from vault.cli.template import Row, compile_template

    is_table = form.startswith("table")
    source = form.removeprefix("table") if is_table else form
    source = source.strip(" ").replace("\\t", "\t").replace("\\n", "\n")
    render = compile_template(source)
    lines = [render(Row(item)) for item in items]
    if not is_table:
        return "".join(f"{line}\n" for line in lines)
    # Functions of a template apply to values, not to headings.
    plain = re.sub(r"\{\{(-\s)?\s*(?:json|upper|lower|title|len)\s+(\.\w+)\s*(\s-)?\}\}", r"{{\2}}", source)
    heading = compile_template(plain)(Row({**headers, "_labels": _LabelHeadings()}))
    return align([heading, *lines])


def align(lines: Iterable[str]) -> str:
    """Pad tab-separated cells to columns; the last cell of a line is not padded."""
    cells = [line.split("\t") for text in lines for line in text.split("\n")]
    widths: dict[int, int] = {}
    for row in cells:
        for place, cell in enumerate(row[:-1]):
            widths[place] = max(widths.get(place, LEAST_WIDTH), len(cell) + GAP)
    return "".join(
        "".join(cell.ljust(widths[place]) for place, cell in enumerate(row[:-1])) + row[-1] + "\n" for row in cells
    )


def labels_text(labels: Mapping[str, str] | None) -> str:
    """Return labels as listings show them: `a=1,b=2`."""
    return ",".join(f"{name}={value}" for name, value in sorted((labels or {}).items()))


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """Return a sort key by which `web10` comes after `web9`."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part]


class _LabelHeadings(dict[str, str]):
    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        return name.rpartition(".")[2].replace("-", " ").replace("_", " ") or default

    def __bool__(self) -> bool:
        return True
