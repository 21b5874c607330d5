"""What an operator sets: options, then the file named by `--config`, then defaults.  Checked before anything starts."""

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vault.daemon.remote import Remote, remote_of
from vault.model.errors import VaultError
from vault.model.generic import GenericResource, from_amounts
from vault.model.generic_words import read

DATA_ROOT = Path("/var/lib/vault")
RUN_ROOT = Path("/run/vault")
SOCKET_PATH_MAX = 107  # Bytes in `sockaddr_un.sun_path`, less the final NUL.
TASK_SOCKET = "/tasks/0123456789abcdefghijklmno/attach"  # The longest socket path we make under the run root.
_HOSTNAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?")
_KEYS = {
    "data-root": str, "run-root": str, "hostname": str, "labels": dict, "log-level": str, "group": str,
    "allow-swappable-mounts": bool, "node-generic-resources": list,
    "host": str, "tlscacert": str, "tlscert": str, "tlskey": str,
}  # fmt: skip
LOG_LEVELS = ("debug", "info", "warning", "error")


class BadSetting(VaultError):
    """An option or a line of the configuration file cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one vaultd."""

    data_root: Path = DATA_ROOT
    run_root: Path = RUN_ROOT
    hostname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)  # Engine labels of this node.
    log_level: str = "info"
    group: str = "vault"  # May use the socket, if the machine has such a group.
    allow_swappable_mounts: bool = False
    generic_resources: tuple[GenericResource, ...] = ()  # What this node has beside processors and memory.
    remote: Remote | None = None  # Where the API is served over the network.

    @property
    def socket(self) -> Path:
        """The API's socket."""
        return self.run_root / "vault.sock"


def settings(
    options: Mapping[str, Any], labels: Sequence[str], config: Path | None, generic: Sequence[str] = ()
) -> Settings:
    """Return the settings; an option wins over the file.  Raises `BadSetting` in one sentence."""
    given = _read(config) if config else {}
    given |= {key: value for key, value in options.items() if value is not None}
    merged = _labels([f"{k}={v}" for k, v in given.pop("labels", {}).items()]) | _labels(labels)
    made = Settings(
        data_root=Path(given.get("data-root", DATA_ROOT)).absolute(),
        run_root=Path(given.get("run-root", RUN_ROOT)).absolute(),
        hostname=given.get("hostname") or socket.gethostname(),
        labels=merged,
        log_level=given.get("log-level", "info"),
        group=given.get("group", "vault"),
        allow_swappable_mounts=given.get("allow-swappable-mounts", False),
        generic_resources=_generic_resources(generic or given.get("node-generic-resources", ())),
        remote=remote_of(
            given.get("host", ""),
            ca=given.get("tlscacert", ""),
            certificate=given.get("tlscert", ""),
            key=given.get("tlskey", ""),
        ),
    )
    _check(made)
    return made


def _read(path: Path) -> dict[str, Any]:
    try:
        given = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise BadSetting(f"cannot read the configuration file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise BadSetting(f"{path} is not YAML" + (f": see line {mark.line + 1}" if mark else "")) from None
    if not isinstance(given, dict):
        raise BadSetting(f"{path} must hold settings as KEY: VALUE lines")
    for key, value in given.items():
        if key not in _KEYS:
            raise BadSetting(f"{path}: unknown setting {key!r}: use one of {', '.join(sorted(_KEYS))}")
        if not isinstance(value, _KEYS[key]):
            raise BadSetting(f"{path}: {key} must be a {_KEYS[key].__name__}, not {type(value).__name__}")
    return given


def _labels(words: Sequence[str]) -> dict[str, str]:
    labels = {}
    for word in words:
        key, _, value = word.partition("=")
        if not key.strip():
            raise BadSetting(f"invalid label {word!r}: use KEY=VALUE")
        labels[key] = value
    return labels


def _generic_resources(words: Sequence[Any]) -> tuple[GenericResource, ...]:
    try:
        return from_amounts(read([str(word) for word in words]))
    except ValueError as error:
        raise BadSetting(f"invalid node generic resource: {error}: use KIND=NUMBER or KIND=NAME") from None


def _check(made: Settings) -> None:
    if made.log_level not in LOG_LEVELS:
        raise BadSetting(f"invalid log level {made.log_level!r}: use one of {', '.join(LOG_LEVELS)}")
    if _HOSTNAME.fullmatch(made.hostname) is None:
        raise BadSetting(f"invalid host name {made.hostname!r}: use letters, digits, dots and dashes, 63 at most")
    length = len(str(made.run_root).encode()) + len(TASK_SOCKET)
    if length > SOCKET_PATH_MAX:
        raise BadSetting(
            f"the run root {made.run_root} is {length - SOCKET_PATH_MAX} bytes too long for the sockets under it: "
            "choose a shorter --run-root"
        )
