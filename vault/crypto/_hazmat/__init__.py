"""The primitives, as functions from bytes to bytes: the only package that imports `cryptography` and `nacl`.

`pki` has those of certificates.  Nothing here decides on formats, labels or lengths of messages; the callers in
`vault.crypto` do.  Each function that checks raises `Refused`, which callers turn into a named error of their own.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from nacl.exceptions import CryptoError as NaclError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

AES_TAG_BYTES = 16
HPKE_OVERHEAD_BYTES = 32 + AES_TAG_BYTES
BOX_NONCE_BYTES = SecretBox.NONCE_SIZE
BOX_OVERHEAD_BYTES = BOX_NONCE_BYTES + SecretBox.MACBYTES

_SHA256 = hashes.SHA256()
_ZERO_NONCE = bytes(12)
_HPKE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Refused(Exception):
    """A primitive did not accept its input; says nothing more on purpose."""


class MacKey:
    """HMAC-SHA256 under one key of 32 bytes, keyed once and copied for each message.  Source: RFC 2104."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = HMAC(key, _SHA256)

    def mac(self, message: bytes) -> bytes:
        """Return the 32 bytes."""
        state = self._keyed.copy()
        state.update(message)
        return state.finalize()

    def expand(self, info: bytes, length: int) -> bytes:
        """HKDF-Expand with SHA-256; length: 1 to 8160 bytes.  Source: RFC 5869, section 2.3."""
        block = expanded = self.mac(info + b"\x01")
        for number in range(2, -(-length // len(block)) + 1):
            block = self.mac(block + info + bytes((number,)))
            expanded += block
        return expanded[:length]


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256 under a key that is used once.  key: 32 uniform bytes."""
    return MacKey(key).expand(info, length)


def aes_gcm_seal(one_time_key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """AES-256-GCM with nonce 0; returns ciphertext and tag (16).  The key must never seal twice.

    Source: NIST SP 800-38D.
    """
    return AESGCM(one_time_key).encrypt(_ZERO_NONCE, plaintext, associated)


def aes_gcm_open(one_time_key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Undo `aes_gcm_seal`.  Raises `Refused`."""
    try:
        return AESGCM(one_time_key).decrypt(_ZERO_NONCE, ciphertext, associated)
    except (InvalidTag, ValueError):
        raise Refused from None


def box_seal(key: bytes, plaintext: bytes) -> bytes:
    """XSalsa20-Poly1305 under a fresh random nonce; returns nonce (24), tag (16) and ciphertext.

    Source: NaCl, `crypto_secretbox`.
    """
    return bytes(SecretBox(key).encrypt(plaintext))


def box_open(key: bytes, sealed: bytes) -> bytes:
    """Undo `box_seal`.  Raises `Refused`."""
    try:
        return SecretBox(key).decrypt(sealed)
    except (NaclError, ValueError, TypeError):
        raise Refused from None


def argon2id_key(passphrase: bytes, salt: bytes, *, passes: int, memory_kib: int) -> bytes:
    """32 bytes by Argon2id, one lane.  salt: 16 bytes; passes >= 1; memory_kib >= 8.  Source: RFC 9106."""
    return argon2id.kdf(32, passphrase, salt, opslimit=passes, memlimit=memory_kib * 1024)


def x25519_generate() -> bytes:
    """Return a new private key, 32 bytes.  Source: RFC 7748."""
    return X25519PrivateKey.generate().private_bytes_raw()


def x25519_public(private_key: bytes) -> bytes:
    """Return the public half of a 32-byte private key."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def hpke_seal(public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
    """HPKE base mode, one shot, empty AAD; returns encapsulated key (32), ciphertext and tag (16).

    Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.  Source: RFC 9180, section 6.1.
    Raises `Refused` for a public key of small order.
    """
    try:
        return _HPKE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public_key), info)
    except ValueError:
        raise Refused from None


def hpke_open(private_key: bytes, sealed: bytes, info: bytes) -> bytes:
    """Undo `hpke_seal`.  Raises `Refused`."""
    try:
        return _HPKE.decrypt(sealed, X25519PrivateKey.from_private_bytes(private_key), info)
    except (InvalidTag, ValueError):
        raise Refused from None
