"""A short tag of a value, for the name of the object that holds it: who sees the name learns nothing of the value.

Pure.  Keyed, since with a plain hash in a name anybody who sees it could try passwords against it, without asking us.
The same value of the same object has the same tag for ever, whichever manager leads and whichever data key seals.
"""

from typing import Final

from vault.crypto import _hazmat
from vault.crypto.keys import KEY_BYTES, RootKey
from vault.crypto.pae import pae
from vault.crypto.plaintext import Plaintext

TAG_CHARACTERS: Final = 10  # Of [0-9a-f]: 40 bits, enough to tell the values of one object apart.
_LABEL: Final = b"vault/content-tag/1"


def content_tag(root: RootKey, *, cluster_id: str, kind: str, name: str, value: Plaintext) -> str:
    """Return the first `TAG_CHARACTERS` of HMAC-SHA256(key, PAE(kind, name, value)) in hexadecimal.

    key: HKDF-Expand-SHA256(root key, PAE(label, cluster id)).  name: what the object is called without the tag; under
    another name the same value has another tag, so that it does not show when two secrets are equal.
    """
    key = _hazmat.MacKey(_hazmat.hkdf_expand(root.reveal(), pae(_LABEL, cluster_id.encode()), KEY_BYTES))
    return key.mac(pae(kind.encode(), name.encode(), value.reveal())).hex()[:TAG_CHARACTERS]
