"""Sealing, keys, tokens and certificates; every byte format of the vault that must not be read or altered.

One construction per purpose:

| purpose                          | construction                                                   | module         |
|----------------------------------|----------------------------------------------------------------|----------------|
| a record at rest                 | HKDF-Expand-SHA256 per record, AES-256-GCM, key commitment     | `records`      |
| the keyring, under the root key  | the same, under another label                                  | `keyring`      |
| the root key, under a passphrase | Argon2id, then the same, under another label                   | `passphrase`   |
| the root key, under an unlock key| the same, under another label                                  | `unlocking`    |
| the set of live records          | sum mod 2^256 of HMAC-SHA256                                   | `integrity`    |
| a value, in its object's name    | HMAC-SHA256, shortened, under a key of its own                 | `content_tag`  |
| this node's key file             | SecretBox (XSalsa20-Poly1305) under the unlock key             | `keyfile`      |
| a value on its way to one node   | HPKE, RFC 9180: X25519, HKDF-SHA256, AES-256-GCM               | `node_seal`    |
| what makes a node a manager      | the same, under another label                                  | `manager_seal` |
| a node's WireGuard key           | the same, under another label                                  | `wireguard_seal` |
| who a node is                    | ECDSA P-256 certificates under the cluster's root CA           | `certificates` |
| a root CA that takes over        | its name and key under the old root: a cross certificate       | `authorities`  |
| etcd's peers                     | ECDSA P-256 certificates under a CA of their own, and a CRL    | `peers`        |
| who may join                     | a random secret, beside a digest that pins the root CA         | `tokens`       |
| every input of a MAC or an AAD   | PAE, an injective encoding of a list of byte strings           | `pae`          |

Pure but for randomness: nothing here opens a file, logs, or reads a clock.  Only `_hazmat` imports `cryptography` and
`nacl`.  Checking raises a named error from `errors` and never returns a bool; no error carries input bytes.
"""

from vault.crypto.plaintext import Plaintext

__all__ = ["Plaintext"]
