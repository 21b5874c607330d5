"""Where the daemon is: a unix socket here, or a machine elsewhere, by mutual TLS.  I/O only; used by `client`.

`ssl` is imported for `tcp://` alone, since it would double the start-up time of every other command.
"""

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from vault.cli.errors import CannotConnect, CommandError

if TYPE_CHECKING:
    import ssl

DEFAULT_HOST = "unix:///run/vault/vault.sock"
DEFAULT_PORT = 2376
CONNECT_LIMIT_S = 10.0
_HOW = "give --tlscacert, --tlscert and --tlskey, or keep ca.pem, cert.pem and key.pem in $VAULT_CERT_PATH"
REFUSED = "the daemon refused this client's certificate: use one that the CA of its --tlscacert signed"
_ALERTS = (
    "CERTIFICATE_REQUIRED",
    "UNKNOWN_CA",
    "BAD_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED",
    "UNSUPPORTED_CERTIFICATE",
)


class TLSFiles(NamedTuple):
    """Paths of a CA, a certificate and its key."""

    ca: str = ""
    certificate: str = ""
    key: str = ""


class Place(NamedTuple):
    """An address: a socket's path, or a host and port."""

    path: str = ""
    name: str = ""
    port: int = 0


def default_host() -> str:
    """Return the address of the daemon: `$VAULT_HOST`, or the system's socket."""
    return os.environ.get("VAULT_HOST") or DEFAULT_HOST


def default_files(ca: str | None, certificate: str | None, key: str | None) -> TLSFiles:
    """Return the TLS files: as given, else by `$VAULT_TLSCACERT`…, else in `$VAULT_CERT_PATH` or `~/.vault`."""
    folder = os.environ.get("VAULT_CERT_PATH") or os.path.join(os.path.expanduser("~"), ".vault")
    wanted = (
        (ca, "VAULT_TLSCACERT", "ca.pem"),
        (certificate, "VAULT_TLSCERT", "cert.pem"),
        (key, "VAULT_TLSKEY", "key.pem"),
    )
    return TLSFiles(*(given or os.environ.get(name) or os.path.join(folder, file) for given, name, file in wanted))


def place_of(host: str) -> Place:
    """Return where an address points.  Raises `CommandError` for one that cannot be read."""
    scheme, separator, rest = host.partition("://")
    if separator and scheme == "unix" and rest:
        return Place(path=rest)
    if separator and scheme == "tcp":
        name, colon, port = rest.removesuffix("/").rpartition(":")
        if not colon or port.endswith("]"):  # No port; of an IPv6 address, the colon was inside.
            name, port = rest.removesuffix("/"), str(DEFAULT_PORT)
        bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
        if bare and "/" not in bare and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return Place(name=bare, port=int(port))
    raise CommandError(
        f"unable to parse daemon host {host!r}: use unix:///path/to/vault.sock, or tcp://HOST:PORT with certificates"
    )


def connect(host: str, place: Place, files: TLSFiles) -> socket.socket:
    """Return a connection to the daemon.  Raises `CannotConnect`, or a `CommandError` that says what to mend."""
    if place.path:
        return _connect_unix(host, place.path)
    context = _context(host, files)
    try:
        plain = socket.create_connection((place.name, place.port), timeout=CONNECT_LIMIT_S)
    except socket.gaierror:
        raise CommandError(f"{host}: there is no host of that name") from None
    except OSError:
        raise CannotConnect(host) from None
    try:
        return context.wrap_socket(plain, server_hostname=place.name)
    except OSError as error:
        plain.close()
        raise CommandError(f"error during connect to {host}: {tls_reason(error) or 'the connection broke'}") from None


def tls_reason(error: OSError) -> str:
    """Return why TLS failed, and what to do; "" for what is no failure of TLS."""
    verify = getattr(error, "verify_message", "")
    reason = getattr(error, "reason", "") or ""
    if "mismatch" in verify.lower() or "not valid for" in verify:
        return "the daemon's certificate is for another host: connect by a name or address that is in it"
    if "expired" in verify or "not yet valid" in verify:
        return f"the daemon's certificate cannot be used now ({verify}): renew it, or set the clock"
    if verify:
        return "the daemon's certificate is not of the CA in --tlscacert: give the CA that signed it"
    if any(word in reason for word in _ALERTS):
        return REFUSED
    if "VERSION" in reason or "HTTP_REQUEST" in reason or "RECORD" in reason:
        return "no TLS 1.3 is spoken there: is that vaultd's --host?"
    if isinstance(error, TimeoutError):
        return f"no TLS within {CONNECT_LIMIT_S:.0f} seconds: is that vaultd's --host?"
    return f"TLS failed ({reason.lower().replace('_', ' ')})" if reason else ""


def _connect_unix(host: str, path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except PermissionError:
        raise CommandError(
            f"permission denied while trying to connect to the vault daemon socket at {host}: "
            "run this as root or as a member of the socket's group"
        ) from None
    except OSError:
        raise CannotConnect(host) from None
    return sock


def _context(host: str, files: TLSFiles) -> "ssl.SSLContext":
    import ssl

    from vault.rpc.tls_files import UnfitFile, context_of

    for path in files:
        if not os.path.isfile(path):
            raise CommandError(f"{host} is reached by certificates, and {path or 'one of them'} is missing: {_HOW}")
        if not os.access(path, os.R_OK):
            raise CommandError(f"{path} cannot be read: permission denied")
    try:
        return context_of(ssl.PROTOCOL_TLS_CLIENT, ca=files.ca, certificate=files.certificate, key=files.key)
    except UnfitFile as error:
        raise CommandError(str(error)) from None
