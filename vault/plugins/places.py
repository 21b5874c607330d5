"""Where plugins are: sockets and spec files, where Docker looks for them.

Not pure: reads those directories, in a few system calls; nothing is kept, so a plugin may come and go.
"""

import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec

from vault.plugins.errors import PluginFailed, PluginNotFound, shown

SOCKETS: Final = Path("/run/docker/plugins")
SPECS: Final = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
SPEC_BYTES: Final = 64 * 1024
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")


class _Tls(
    msgspec.Struct,
    rename={"insecure": "InsecureSkipVerify", "ca": "CAFile", "certificate": "CertFile", "key": "KeyFile"},
):
    insecure: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""


class _Spec(msgspec.Struct):
    """A file NAME.json."""

    address: str = msgspec.field(name="Addr", default="")
    tls: _Tls | None = msgspec.field(name="TLSConfig", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to connect to."""

    socket: str = ""  # Path; else:
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, address: str, source: Path, tls: ssl.SSLContext | None = None) -> Self:
        """Return what `unix://PATH` or `tcp://HOST:PORT` says; raises `PluginFailed`."""
        try:
            url = urlsplit(address)
            if url.scheme == "unix" and url.path.startswith("/"):
                return cls(socket=url.path)
            if url.scheme == "tcp" and url.hostname and url.port:
                return cls(host=url.hostname, port=url.port, tls=tls)
        except ValueError:
            pass
        raise PluginFailed(
            f"{source} names no address of a plugin: write unix:///PATH or tcp://HOST:PORT, not '{shown(address)}'"
        )

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


def find(name: str, *, sockets: Path = SOCKETS, specs: tuple[Path, ...] = SPECS) -> Place:
    """Return where a plugin is.  Raises `PluginNotFound`, and `PluginFailed` for a spec that cannot be used."""
    if _NAME.fullmatch(name) is None:
        raise PluginNotFound(name, "use letters, digits, '_', '.' and '-'")
    for path in _paths(sockets, name, "sock"):
        if _is_socket(path):
            return Place(socket=str(path))
    for kind in ("spec", "json"):
        for directory in specs:
            for path in _paths(directory, name, kind):
                if (text := _text(path)) is not None:
                    return Place.of(text.strip(), path) if kind == "spec" else _described(text, path)
    looked = ", ".join(map(str, (sockets, *specs)))
    raise PluginNotFound(name, f"the manager that leads has no such socket or spec in {looked}")


def _paths(directory: Path, name: str, ending: str) -> tuple[Path, Path]:
    return directory / f"{name}.{ending}", directory / name / f"{name}.{ending}"


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _text(path: Path) -> str | None:
    """Return what is in a spec; None when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(SPEC_BYTES).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise PluginFailed(f"cannot read {path}: {shown(str(error))}") from None


def _described(text: str, path: Path) -> Place:
    try:
        spec = msgspec.json.decode(text, type=_Spec)
    except msgspec.MsgspecError as error:  # Its text shows no content.
        raise PluginFailed(f"{path} is no description of a plugin: {shown(str(error))}") from None
    return Place.of(spec.address, path, None if spec.tls is None else _context(spec.tls, path))


def _context(tls: _Tls, path: Path) -> ssl.SSLContext:
    try:
        made = ssl.create_default_context(cafile=tls.ca or None)
        if tls.insecure:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if tls.certificate:
            made.load_cert_chain(tls.certificate, tls.key or None)
    except (OSError, ValueError) as error:
        raise PluginFailed(f"{path}: its TLS files cannot be used: {shown(str(error))}") from None
    return made
