"""Where the API is served over the network, as `vaultd --host` and the TLS options say.  Pure.

Without the three files nothing is served: whoever may call the API is root on this node, so plain TCP is never spoken.
The operator's CA for this has nothing to do with the swarm's own.  Called by `vault.daemon.settings`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.model.errors import VaultError

DEFAULT_PORT: Final = 2376
_HOST = re.compile(r"tcp://(?:\[(?P<six>[0-9a-fA-F:]+)\]|(?P<plain>[^:/\[\]]*))(?::(?P<port>\d{1,5}))?/?")


class BadRemote(VaultError):
    """The address or the certificates of `vaultd --host` cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Where the API is served besides the socket, and by which certificates."""

    address: str  # "" = every address of this node.
    port: int
    ca: Path  # Signs the clients.
    certificate: Path
    key: Path


def remote_of(host: str, *, ca: str, certificate: str, key: str) -> Remote | None:
    """Return what `--host` and the TLS options ask for; None when they are not given.  Raises `BadRemote`."""
    files = {"--tlscacert": ca, "--tlscert": certificate, "--tlskey": key}
    given, missing = [name for name in files if files[name]], [name for name in files if not files[name]]
    if not host:
        if given:
            raise BadRemote(f"{given[0]} is for --host: say which address to serve, as --host tcp://0.0.0.0:2376")
        return None
    found = _HOST.fullmatch(host)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise BadRemote(f"invalid --host {host!r}: use tcp://ADDRESS:PORT (the unix socket is always served)")
    if missing:
        raise BadRemote(
            f"--host {host} needs {' and '.join(missing)}: the API is served over the network by mutual TLS only"
        )
    address = found["six"] or found["plain"] or ""
    return Remote(address=address, port=port, ca=Path(ca), certificate=Path(certificate), key=Path(key))
