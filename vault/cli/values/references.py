"""`--secret` and `--config`: which value a task sees, where, and with what owner and mode.  Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vault.cli.errors import CommandError
from vault.cli.values.fields import csv_fields
from vault.cli.values.scalars import unsigned

Reference = dict[str, Any]
DEFAULT_MODE = 0o444


def _reader(kind: str) -> Callable[[str], Reference]:
    def read(text: str) -> Reference:
        file: dict[str, Any] = {"Name": "", "UID": "0", "GID": "0", "Mode": DEFAULT_MODE}
        source = ""
        fields = csv_fields(text)
        if len(fields) == 1 and "=" not in fields[0]:
            return {"File": {**file, "Name": fields[0]}, f"{kind.title()}Name": fields[0]}
        for field in fields:
            key, equals, value = field.partition("=")
            if not equals or not key:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            match key.lower():
                case "source" | "src":
                    source = value
                case "target":
                    file["Name"] = value
                case "uid":
                    file["UID"] = value
                case "gid":
                    file["GID"] = value
                case "mode":
                    file["Mode"] = _mode(value)
                case _:
                    raise ValueError(f"invalid field in {kind} request: {key}")
        if not source:
            raise ValueError("source is required")
        file["Name"] = file["Name"] or source
        return {"File": file, f"{kind.title()}Name": source}

    return read


def _mode(text: str) -> int:
    try:
        value = unsigned(text)
    except ValueError as error:
        raise ValueError(f"invalid mode specified: {error}") from None
    if value >= 1 << 32:
        raise ValueError(f'invalid mode specified: strconv.ParseUint: parsing "{text}": value out of range')
    return value


secret_reference = _reader("secret")
config_reference = _reader("config")


def resolved(kind: str, wanted: Sequence[Reference], found: Iterable[Mapping[str, Any]]) -> list[Reference]:
    """Return references with ids filled in, in the order asked for.

    kind: `Secret` or `Config`.  found: objects of the API; a reference may be a name, or a whole id.
    Raises `CommandError` if one is unknown or two have one target.
    """
    objects = list(found)
    names = {item["Spec"]["Name"]: item for item in objects}
    ids = {item["ID"]: item for item in objects}
    targets: set[str] = set()
    result: list[Reference] = []
    for reference in wanted:
        name = reference[f"{kind}Name"]
        target = reference["File"]["Name"]
        if target in targets:
            raise CommandError(f"duplicate {kind.lower()} target for {name} not allowed")
        targets.add(target)
        item = names.get(name) or ids.get(name)
        if item is None:
            raise CommandError(f"{kind.lower()} not found: {name}")
        file = dict(reference["File"])
        if target == name:
            file["Name"] = item["Spec"]["Name"]
        result.append({"File": file, f"{kind}ID": item["ID"], f"{kind}Name": item["Spec"]["Name"]})
    return result


def without(kind: str, references: Iterable[Reference], removed: Iterable[str]) -> list[Reference]:
    """Return the references that `removed` does not mean: names, or ids of 12 characters and more."""
    gone = list(removed)

    def meant(reference: Reference) -> bool:
        name, identifier = reference.get(f"{kind}Name", ""), reference.get(f"{kind}ID", "")
        return any(word in (name, identifier) or (len(word) >= 12 and identifier.startswith(word)) for word in gone)

    return [reference for reference in references if not meant(reference)]
