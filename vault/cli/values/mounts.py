"""`--mount`: volumes, directories of the host, tmpfs and images.

Pure, but for the working directory of relative sources.
"""

import os
from typing import Any

from vault.cli.values.fields import csv_fields
from vault.cli.values.scalars import byte_size

_SWITCHES = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src")
_RECURSIVE = {
    "enabled": None,  # What is below a read-only mount is read-only too where the kernel can do that.
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}
_OWNERS = {"BindOptions": "bind", "VolumeOptions": "volume", "ImageOptions": "image", "TmpfsOptions": "tmpfs"}


def mount(text: str) -> dict[str, Any]:
    """Return the mount that a `--mount` text asks for."""
    if not text.strip():
        raise ValueError("value is empty")
    result: dict[str, Any] = {"Type": "volume"}
    for field in csv_fields(text.strip()):
        key, value = _pair(field)
        _apply(result, key, value, field)
    kind = result["Type"]
    for options, owner in _OWNERS.items():
        if options in result and kind != owner:
            raise ValueError(f"cannot mix '{owner}-*' options with mount type '{kind}'")
    _check_recursion(result)
    if not result.get("Target"):
        raise ValueError("target is required")
    return result


def _check_recursion(result: dict[str, Any]) -> None:
    options = result.get("BindOptions") or {}
    for word in ("writable", "readonly"):
        if options.get(_RECURSIVE[word]) and not result.get("ReadOnly"):
            raise ValueError(f"option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction")
    if options.get("ReadOnlyForceRecursive") and options.get("Propagation") != "rprivate":
        raise ValueError(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
        )


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
        case "consistency":
            result["Consistency"] = text.lower()
        case "bind-nonrecursive":
            raise ValueError("bind-nonrecursive is deprecated, use bind-recursive=disabled instead")
        case "bind-recursive":
            if text not in _RECURSIVE:
                raise ValueError(
                    f'invalid value for {key}: {text} (must be "enabled", "disabled", "writable", or "readonly")'
                )
            if (option := _RECURSIVE[text]) is not None:
                result.setdefault("BindOptions", {})[option] = True
        case "bind-create-src":
            result.setdefault("BindOptions", {})["CreateMountpoint"] = _switch(key, value)
        case "volume-subpath":
            result.setdefault("VolumeOptions", {})["Subpath"] = text
        case "volume-nocopy":
            result.setdefault("VolumeOptions", {})["NoCopy"] = _switch(key, value)
        case "volume-label":
            _set(result.setdefault("VolumeOptions", {}).setdefault("Labels", {}), text)
        case "volume-driver":
            _volume_driver(result)["Name"] = text
        case "volume-opt":
            _set(_volume_driver(result).setdefault("Options", {}), text)
        case "image-subpath":
            result.setdefault("ImageOptions", {})["Subpath"] = text
        case "tmpfs-size":
            result.setdefault("TmpfsOptions", {})["SizeBytes"] = _size(key, text)
        case "tmpfs-mode":
            result.setdefault("TmpfsOptions", {})["Mode"] = _octal(key, text)
        case _:
            raise ValueError(f"unknown option '{key}' in '{field}'")


def _volume_driver(result: dict[str, Any]) -> dict[str, Any]:
    driver: dict[str, Any] = result.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})
    return driver


def _set(values: dict[str, str], text: str) -> None:
    """Set KEY=VALUE; without a key nothing is set."""
    name, _, value = text.partition("=")
    if name:
        values[name] = value


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
