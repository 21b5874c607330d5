"""The TLS of the API over the network, from files that an operator names: version 1.3, and a certificate at both ends.

Not pure: reads the files.  Called by `vault.cli.hosts` (client) and `vault.daemon.remote_server` (server).
"""

import ssl
from os import PathLike


class UnfitFile(ValueError):
    """A file holds something else than it is given for; the message names it."""


def context_of(
    side: int, *, ca: str | PathLike[str], certificate: str | PathLike[str], key: str | PathLike[str]
) -> ssl.SSLContext:
    """Return what one side of TLS is; the other has to show a certificate of the CA.

    side: `ssl.PROTOCOL_TLS_CLIENT`, which also checks the host's name, or `ssl.PROTOCOL_TLS_SERVER`.
    Raises `UnfitFile`, or `OSError` for a file that cannot be read.
    """
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError:
        raise UnfitFile(f"{ca} holds no CA certificate in PEM") from None
    try:
        # The password keeps OpenSSL from asking for one at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError:
        raise UnfitFile(f"{certificate} and {key} are no certificate and its key, unencrypted, in PEM") from None
    return context
