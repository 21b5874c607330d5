"""`--mount`: volumes, directories of the host and tmpfs.  Pure, but for the working directory of relative sources."""

import os
from typing import Any

from vault.cli.values.fields import csv_fields
from vault.cli.values.scalars import byte_size

_SWITCHES = ("readonly", "ro", "volume-nocopy", "bind-create-src")
_RECURSIVE = '(must be "enabled" or "disabled")'


def mount(text: str) -> dict[str, Any]:
    """Return the mount that a `--mount` text asks for."""
    if not text.strip():
        raise ValueError("value is empty")
    result: dict[str, Any] = {"Type": "volume"}
    for field in csv_fields(text.strip()):
        key, value = _pair(field)
        _apply(result, key, value, field)
    kind = result["Type"]
    for options, owner in (("BindOptions", "bind"), ("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")):
        if options in result and kind != owner:
            raise ValueError(f"cannot mix '{owner}-*' options with mount type '{kind}'")
    if not result.get("Target"):
        raise ValueError("target is required")
    return result


def _pair(field: str) -> tuple[str, str | None]:
    key, equals, value = field.partition("=")
    if key != key.strip():
        raise ValueError(f"invalid option '{key.strip()}' in '{field}': option should not have whitespace")
    if equals and not value.strip():
        raise ValueError(f"invalid value for '{key}': value is empty")
    if equals and value != value.strip():
        raise ValueError(f"invalid value for '{key}' in '{field}': value should not have whitespace")
    if not equals and key.lower() not in _SWITCHES:
        raise ValueError(f"invalid field '{field}' must be a key=value pair")
    return key.lower(), value if equals else None


def _apply(result: dict[str, Any], key: str, value: str | None, field: str) -> None:
    text = value or ""
    match key:
        case "type":
            result["Type"] = text.lower()
        case "source" | "src":
            result["Source"] = os.path.abspath(text) if text.startswith(".") else text
        case "target" | "dst" | "destination":
            result["Target"] = text
        case "readonly" | "ro":
            if _switch(key, value):
                result["ReadOnly"] = True
        case "bind-propagation":
            result.setdefault("BindOptions", {})["Propagation"] = text.lower()
        case "bind-recursive":
            if text not in ("enabled", "disabled"):
                raise ValueError(f"invalid value for {key}: {text} {_RECURSIVE}")
            if text == "disabled":
                result.setdefault("BindOptions", {})["NonRecursive"] = True
        case "bind-create-src":
            result.setdefault("BindOptions", {})["CreateMountpoint"] = _switch(key, value)
        case "volume-subpath":
            result.setdefault("VolumeOptions", {})["Subpath"] = text
        case "volume-nocopy":
            result.setdefault("VolumeOptions", {})["NoCopy"] = _switch(key, value)
        case "volume-label":
            name, _, label = text.partition("=")
            result.setdefault("VolumeOptions", {}).setdefault("Labels", {})[name] = label
        case "tmpfs-size":
            result.setdefault("TmpfsOptions", {})["SizeBytes"] = _size(key, text)
        case "tmpfs-mode":
            result.setdefault("TmpfsOptions", {})["Mode"] = _octal(key, text)
        case _:
            raise ValueError(f"unknown option '{key}' in '{field}'")


def _switch(key: str, value: str | None) -> bool:
    if value in (None, "1", "true"):
        return True
    if value in ("0", "false"):
        return False
    raise ValueError(
        f"invalid value for '{key}': invalid boolean value (\"{value}\"): must be one of "
        '"true", "1", "false", or "0" (default "true")'
    )


def _size(key: str, text: str) -> int:
    try:
        return byte_size(text)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {text}") from None


def _octal(key: str, text: str) -> int:
    if not text or not set(text) <= set("01234567") or len(text) > 6:
        raise ValueError(f"invalid value for {key}: {text}")
    return int(text, 8)
