"""Comma-separated `key=value` texts, as `--secret`, `--mount` and `--publish` take them.  Pure."""

import csv


def csv_fields(text: str) -> list[str]:
    """Return the comma-separated fields of a text; a field may be quoted to hold a comma."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(f"parse error on line 1: {error}") from None
    if not rows or not rows[0]:
        raise ValueError("EOF")
    return rows[0]
