"""Options of the log driver `syslog`: which server, and in what form.

Pure.  Called by `vault.model.log_options`.  Names, defaults and texts are Docker's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

FACILITIES: Final = {
    name: number
    for number, name in enumerate(
        ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp")
    )
} | {f"local{number}": 16 + number for number in range(8)}
FORMATS: Final = ("", "rfc3164", "rfc5424", "rfc5424micro")
SCHEMES: Final = ("udp", "tcp", "tcp+tls", "unix", "unixgram")
DEFAULT_PORT: Final = 514
SYSLOG_OPTIONS: Final = (
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
)
_MAX_TEXT: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogServer:
    """Where and how lines go."""

    scheme: str = ""  # One of SCHEMES; "" = the local one, by the sockets where it usually listens.
    host: str = ""
    port: int = 0
    path: str = ""  # Of a socket.
    facility: int = FACILITIES["daemon"]
    format: str = ""  # One of FORMATS.
    ca_cert: str = ""  # Files on the node.
    cert: str = ""
    key: str = ""
    verify: bool = True

    @property
    def counts_octets(self) -> bool:
        """Whether the length goes before each message (RFC 5425), instead of a newline behind it."""
        return self.scheme == "tcp+tls" and self.format.startswith("rfc5424")


def syslog_server(options: Mapping[str, str]) -> SyslogServer:
    """Return what the options of the driver mean.  Raises `ValueError` with Docker's text."""
    scheme, host, port, path = _address(options.get("syslog-address", ""))
    if options.get("syslog-format", "") not in FORMATS:
        raise ValueError("Invalid syslog format")
    return SyslogServer(
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        facility=_facility(options.get("syslog-facility", "")),
        format=options.get("syslog-format", ""),
        ca_cert=options.get("syslog-tls-ca-cert", ""),
        cert=options.get("syslog-tls-cert", ""),
        key=options.get("syslog-tls-key", ""),
        verify="syslog-tls-skip-verify" not in options,
    )


def _address(address: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of `tcp://host:514`, `unixgram:///dev/log` and the like."""
    if not address:
        return "", "", 0, ""
    shown = address[:_MAX_TEXT]
    try:
        url: SplitResult = urlsplit(address)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError(f"syslog-address should be in form proto://address, got {shown}") from None
    if url.scheme not in SCHEMES:
        raise ValueError(f"unsupported scheme: '{url.scheme[:_MAX_TEXT]}'")
    if url.scheme in ("unix", "unixgram"):
        if not url.path.startswith("/") or "\0" in url.path:
            raise ValueError(f"syslog-address should be in form proto://address, got {shown}")
        return url.scheme, "", 0, url.path
    if not host:
        raise ValueError(f"syslog-address should be in form proto://address, got {shown}")
    return url.scheme, host, DEFAULT_PORT if port is None else port, ""


def _facility(text: str) -> int:
    if not text:
        return FACILITIES["daemon"]
    if text in FACILITIES:
        return FACILITIES[text]
    if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= 23:
        return int(text)
    raise ValueError("invalid syslog facility")
