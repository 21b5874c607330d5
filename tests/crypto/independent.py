"""The vault's constructions, written again from their sources with other code, to check what `vault.crypto` makes.

AES-GCM and X25519 come from libsodium here (from OpenSSL in the vault), HKDF and HPKE from the RFCs by hand.
"""

import hashlib
import hmac

from nacl import bindings


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """RFC 5869, section 2.2."""
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2.3."""
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes((counter,)), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def pae(*pieces: bytes) -> bytes:
    """PASETO's definition, by hand."""
    out = len(pieces).to_bytes(8, "little")
    for piece in pieces:
        out += len(piece).to_bytes(8, "little") + piece
    return out


def aes_256_gcm_open(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """libsodium's AES-256-GCM."""
    return bytes(bindings.crypto_aead_aes256gcm_decrypt(ciphertext, aad, nonce, key))


def aes_256_gcm_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """libsodium's AES-256-GCM."""
    return bytes(bindings.crypto_aead_aes256gcm_encrypt(plaintext, aad, nonce, key))


def open_record(term_key: bytes, place: tuple[bytes, ...], record: bytes) -> bytes:
    """security.md, "At rest, per record", from its sentence."""
    n, commitment, ciphertext = record[5:29], record[29:61], record[61:]
    derived = hkdf_expand(term_key, pae(b"vault/at-rest/1", n), 64)
    assert derived[32:] == commitment
    return aes_256_gcm_open(derived[:32], bytes(12), ciphertext, pae(record[:61], *place))


class Hpke:
    """RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256) and HKDF-SHA256; aead and key length are arguments."""

    def __init__(self, aead_id: int, key_bytes: int) -> None:
        self._suite = b"HPKE" + (0x20).to_bytes(2, "big") + (1).to_bytes(2, "big") + aead_id.to_bytes(2, "big")
        self._key_bytes = key_bytes

    def shared_secret(self, private: bytes, public: bytes, enc: bytes, recipient: bytes) -> bytes:
        """Section 4.1, ExtractAndExpand over one Diffie-Hellman."""
        suite = b"KEM" + (0x20).to_bytes(2, "big")
        dh = bindings.crypto_scalarmult(private, public)
        prk = _extract(suite, b"", b"eae_prk", dh)
        return _expand(suite, prk, b"shared_secret", enc + recipient, 32)

    def key_and_nonce(self, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
        """Section 5.1, KeySchedule without a PSK."""
        context = b"\x00" + _extract(self._suite, b"", b"psk_id_hash", b"")
        context += _extract(self._suite, b"", b"info_hash", info)
        secret = _extract(self._suite, shared, b"secret", b"")
        key = _expand(self._suite, secret, b"key", context, self._key_bytes)
        return key, _expand(self._suite, secret, b"base_nonce", context, 12)


def hpke_open(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """Open what was sealed with AES-256-GCM, empty AAD, sequence 0."""
    hpke, enc = Hpke(2, 32), sealed[:32]
    shared = hpke.shared_secret(private, enc, enc, bindings.crypto_scalarmult_base(private))
    key, nonce = hpke.key_and_nonce(shared, info)
    return aes_256_gcm_open(key, nonce, sealed[32:], b"")


def hpke_seal(ephemeral: bytes, public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal with a chosen ephemeral key."""
    hpke, enc = Hpke(2, 32), bindings.crypto_scalarmult_base(ephemeral)
    key, nonce = hpke.key_and_nonce(hpke.shared_secret(ephemeral, public, enc, public), info)
    return bytes(enc) + aes_256_gcm_seal(key, nonce, plaintext, b"")


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hkdf_extract(salt, b"HPKE-v1" + suite + label + ikm)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return hkdf_expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)
