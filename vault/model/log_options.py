"""Log drivers and their options: what each takes, and what it means.

Pure.  Called by `vault.store.rules_spec` (refuse early) and on the nodes (do it).  Names, defaults and texts are
Docker's; a driver that is not known here is the business of the nodes, which may have others.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.model.log_syslog import SYSLOG_OPTIONS, SyslogServer, syslog_server
from vault.model.sizes import parse_size

BUILT_IN: Final = ("json-file", "local", "syslog", "journald")  # And `none`, which is not to have one.
DEFAULT_DRIVER: Final = "json-file"
MAX_FILES: Final = 999
_ATTRIBUTES: Final = ("labels", "labels-regex", "env", "env-regex", "tag")
_FILES: Final = ("max-size", "max-file", "compress")
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "json-file": (*_FILES, *_ATTRIBUTES),
    "local": (*_FILES, *_ATTRIBUTES),
    "syslog": (*SYSLOG_OPTIONS, *_ATTRIBUTES),
    "journald": _ATTRIBUTES,
}
_CACHE: Final = "cache-"  # Options of the copy that is kept here of what goes elsewhere: those of `local`.
_EVERYWHERE: Final = ("mode", "max-buffer-size", "cache-disabled", *(f"{_CACHE}{name}" for name in _FILES))
_TRUE: Final = ("1", "t", "T", "TRUE", "true", "True")
_FALSE: Final = ("0", "f", "F", "FALSE", "false", "False")
_MAX_TEXT: Final = 256
_MAX_BYTES: Final = 1 << 60


class UnknownDriver(ValueError):
    """A log driver that is none of the built-in ones."""

    def __init__(self, name: str) -> None:
        super().__init__(f"logger: no log driver named '{name}' is registered")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFiles:
    """How a log is kept on the node."""

    max_bytes: int  # Of one file.
    files: int
    compress: bool = False  # Those that are not written to any more.


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is done with a container's output."""

    driver: str  # One of BUILT_IN, or none.
    files: LogFiles
    readable: bool = True  # Whether the API shows it.
    labels: tuple[str, ...] = ()  # Labels and variables of the container that go with each line.
    labels_regex: str = ""
    env: tuple[str, ...] = ()
    env_regex: str = ""
    tag: str = ""  # A template; "" = the driver's default.
    syslog: SyslogServer | None = None  # Set for syslog.


_DEFAULT_FILES: Final = LogFiles(max_bytes=16 << 20, files=2)
_LOCAL_FILES: Final = LogFiles(max_bytes=20 << 20, files=5, compress=True)


def log_settings(name: str, options: Mapping[str, str]) -> LogSettings:
    """Return what a driver and its options mean.  Raises `UnknownDriver`, or `ValueError` with Docker's text."""
    driver = name or DEFAULT_DRIVER
    if driver == "none":
        return LogSettings(driver=driver, files=LogFiles(max_bytes=0, files=0), readable=False)
    _check_everywhere(options)
    if driver not in BUILT_IN:
        raise UnknownDriver(driver)
    known = _OPTIONS[driver]
    for option in sorted(options.keys() - set(_EVERYWHERE)):
        if option not in known:
            where = "log driver local" if driver == "local" else f"{driver} log driver"
            raise ValueError(f"unknown log opt '{option[:_MAX_TEXT]}' for {where}")
    return LogSettings(
        driver=driver,
        files=_files(driver, options),
        readable=not _boolean("cache-disabled", options) if driver in ("syslog", "journald") else True,
        labels=_names(options.get("labels", "")),
        labels_regex=_regex("labels-regex", options),
        env=_names(options.get("env", "")),
        env_regex=_regex("env-regex", options),
        tag=options.get("tag", ""),
        syslog=syslog_server(options) if driver == "syslog" else None,
    )


def _check_everywhere(options: Mapping[str, str]) -> None:
    """Check what every driver takes.  No driver makes a container wait for what is elsewhere, whatever the mode."""
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise ValueError(f"logger: logging mode not supported: {mode[:_MAX_TEXT]}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise ValueError("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        try:
            _size(options["max-buffer-size"], 1024)
        except ValueError as error:
            raise ValueError(f"error parsing option max-buffer-size: {error}") from None
    if options.get("cache-disabled", "") not in ("", *_TRUE, *_FALSE):
        raise ValueError(f"invalid value for option cache-disabled: {options['cache-disabled'][:_MAX_TEXT]}")


def _files(driver: str, options: Mapping[str, str]) -> LogFiles:
    if driver in ("syslog", "journald"):
        own = {name.removeprefix(_CACHE): value for name, value in options.items() if name.startswith(_CACHE)}
        return _local_files(own)
    return _local_files(options) if driver == "local" else _json_files(options)


def _json_files(options: Mapping[str, str]) -> LogFiles:
    max_bytes, files = _DEFAULT_FILES.max_bytes, _DEFAULT_FILES.files
    if "max-size" in options:
        max_bytes = _size(options["max-size"], 1000)
        if max_bytes <= 0:
            raise ValueError("max-size must be a positive number")
    if "max-file" in options:
        files = _count(options["max-file"])
        if files < 1:
            raise ValueError("max-file cannot be less than 1")
    compress = "compress" in options and _parsed_boolean(options["compress"])
    if compress and files == 1:
        raise ValueError("compress cannot be true when max-file is less than 2 or max-size is not set")
    return LogFiles(max_bytes=max_bytes, files=_at_most(files), compress=compress)


def _local_files(options: Mapping[str, str]) -> LogFiles:
    max_bytes, files, compress = _LOCAL_FILES.max_bytes, _LOCAL_FILES.files, _LOCAL_FILES.compress
    if "max-size" in options:
        max_bytes = _said("max-size", options["max-size"], lambda text: _size(text, 1000))
        if max_bytes <= 0:
            raise ValueError("max-size must be a positive number")
    if "max-file" in options:
        files = _said("max-file", options["max-file"], _count)
        if files < 1:
            raise ValueError("max-file cannot be less than 1")
    if "compress" in options:
        try:
            compress = _parsed_boolean(options["compress"])
        except ValueError as error:
            raise ValueError(f"invalid boolean value for compress: {error}") from None
    if compress and files == 1:
        raise ValueError("compression cannot be enabled when max file count is 1")
    return LogFiles(max_bytes=max_bytes, files=_at_most(files), compress=compress)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _regex(option: str, options: Mapping[str, str]) -> str:
    text = options.get(option, "")
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{option} is too long: at most {_MAX_TEXT} characters")
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise ValueError(f"error parsing regexp of {option}: `{text}`") from None
    return text


def _said(option: str, text: str, parse: Callable[[str], int]) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"invalid value for {option}: {text[:_MAX_TEXT]}: {error}") from None


def _size(text: str, unit: int) -> int:
    return parse_size(text, unit=unit, most_bytes=_MAX_BYTES)


def _count(text: str) -> int:
    if re.fullmatch(r"[-+]?[0-9]{1,9}", text) is None:
        raise ValueError(f'strconv.Atoi: parsing "{text[:_MAX_TEXT]}": invalid syntax')
    return int(text)


def _at_most(files: int) -> int:
    if files > MAX_FILES:
        raise ValueError(f"max-file cannot be more than {MAX_FILES}")
    return files


def _boolean(option: str, options: Mapping[str, str]) -> bool:
    return options.get(option, "") in _TRUE


def _parsed_boolean(text: str) -> bool:
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f'strconv.ParseBool: parsing "{text[:_MAX_TEXT]}": invalid syntax')
    return text in _TRUE
