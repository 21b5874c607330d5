"""A seal that commits to its key: one key derived per message, AES-256-GCM, and a commitment checked first.

Not pure (`seal` draws 24 random bytes).  Called by `records`, `keyring` and `passphrase`, each with its own label and
header.
Layout: header (the caller's) ‖ n (24) ‖ commitment (32) ‖ ciphertext ‖ tag (16).
"""

import hmac
import secrets
from typing import Final

from vault.crypto import _hazmat
from vault.crypto.errors import Altered, UnknownFormat
from vault.crypto.pae import pae

_N_BYTES: Final = 24
_COMMITMENT_BYTES: Final = 32
OVERHEAD_BYTES: Final = _N_BYTES + _COMMITMENT_BYTES + _hazmat.AES_TAG_BYTES


def seal(key: _hazmat.MacKey, label: bytes, header: bytes, context: tuple[bytes, ...], plaintext: bytes) -> bytes:
    """Encrypt under a key used for this message only, bound to header and context.

    key: of 32 bytes.  label: names purpose and format version.  Returns header and 72 bytes more than the plaintext.
    (message key, commitment) = HKDF-Expand-SHA256(key, PAE(label, n), 64): with a key of its own and n of 192 bits
    there is no nonce to collide, and no ciphertext that opens under two keys.
    """
    n = secrets.token_bytes(_N_BYTES)
    derived = key.expand(pae(label, n), 64)
    opening = header + n + derived[32:]
    return opening + _hazmat.aes_gcm_seal(derived[:32], plaintext, pae(opening, *context))


def unseal(
    key: _hazmat.MacKey, label: bytes, header_bytes: int, context: tuple[bytes, ...], sealed: bytes, *, what: str
) -> bytes:
    """Undo `seal`; the header is the first header_bytes of sealed.

    what: names it in the error.
    Raises `UnknownFormat` if it is too short, `Altered` if key, header, context or bytes differ.
    """
    n_end = header_bytes + _N_BYTES
    body = n_end + _COMMITMENT_BYTES
    if len(sealed) < header_bytes + OVERHEAD_BYTES:
        raise UnknownFormat(what)
    derived = key.expand(pae(label, sealed[header_bytes:n_end]), 64)
    if not hmac.compare_digest(derived[32:], sealed[n_end:body]):
        raise Altered(what)
    try:
        return _hazmat.aes_gcm_open(derived[:32], sealed[body:], pae(sealed[:body], *context))
    except _hazmat.Refused:
        raise Altered(what) from None
