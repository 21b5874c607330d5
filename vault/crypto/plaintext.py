"""Bytes that must not leak by accident: `Plaintext`, and `Guarded`, which keys build on.

Pure.  Used wherever a secret's value or a key is held in memory.  `reveal()` is the only way out, and
`tests/crypto/test_reveal.py` keeps the list of functions that may call it.
"""

import hmac
from typing import NoReturn


class Guarded:
    """Bytes without `repr`, `str`, `format`, `pickle`, `copy`, `hash` or comparison by accident.

    Wiping memory is best effort in Python and not claimed.
    """

    __slots__ = ("_value",)
    _value: bytes

    def __init__(self, value: bytes) -> None:
        if not isinstance(value, bytes):
            raise TypeError(f"{type(self).__name__} takes bytes, not {type(value).__name__}")
        object.__setattr__(self, "_value", value)

    def reveal(self) -> bytes:
        """Return the bytes themselves.  Each caller is on a list that a test checks."""
        return self._value

    def __len__(self) -> int:
        return len(self.reveal())

    def __eq__(self, other: object) -> bool:
        """Compare in constant time; comparing with anything but the same type is a bug and raises TypeError."""
        if type(other) is not type(self):
            raise TypeError(f"{type(self).__name__} compares only with its own type")
        assert isinstance(other, Guarded)
        return hmac.compare_digest(self.reveal(), other.reveal())

    __hash__ = None  # type: ignore[assignment]  # A hash of the value would leak through dict order and timing.

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} bytes)"

    def __str__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} does not turn into text: call reveal() where that is meant")

    def __format__(self, spec: str) -> NoReturn:
        raise TypeError(f"{type(self).__name__} does not format: call reveal() where that is meant")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __copy__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not copied: pass the object itself")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not copied: pass the object itself")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not pickled")


class Plaintext(Guarded):
    """The value of a secret or config, or a private key's text, while it is in memory."""

    __slots__ = ()
