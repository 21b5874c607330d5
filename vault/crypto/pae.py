"""PAE, pre-authentication encoding: a list of byte strings as one, so that no two lists give the same bytes.

Pure.  Every AAD, MAC input and HKDF info in this package goes through it.
Source: PASETO specification, "Common implementation details", PAE; counts there are below 2^63, and so are ours.
"""

from struct import Struct

_U64 = Struct("<Q")
_U64_BIG = Struct(">Q")


def pae(*pieces: bytes) -> bytes:
    """Return the number of pieces, then each piece behind its length; all counts are 8 bytes, little endian."""
    size = _U64.pack
    parts = [size(len(pieces))]
    for piece in pieces:  # A plain loop: this is on the path of every record, and the quickest form measured.
        parts.append(size(len(piece)))
        parts.append(piece)
    return b"".join(parts)


def number(value: int) -> bytes:
    """Return a count, index or version as a PAE piece: 8 bytes, big endian.  0 <= value < 2^64."""
    return _U64_BIG.pack(value)
