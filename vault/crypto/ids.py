"""Identifiers: 25 characters of [0-9a-z], drawn at random.

Not pure (draws chance); deciders take `new_id` as an argument instead of importing it.
"""

import secrets

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RANDOM_BYTES = 40
_CHARACTERS = 25
_UNEVEN = bytes(range(252, 256))
_TO_DIGIT = bytes(ord(_DIGITS[number % 36]) for number in range(256))


def base36(value: int) -> str:
    """Return a number >= 0 in base 36, lower case, without leading zeros (0 is "0")."""
    digits = []
    while True:
        value, digit = divmod(value, 36)
        digits.append(_DIGITS[digit])
        if not value:
            return "".join(reversed(digits))


def new_id() -> str:
    """Return a fresh identifier, 25 characters of [0-9a-z], about 129 bits of chance.

    Each of 40 random bytes below 252 = 7 * 36 is one digit, evenly; the others are dropped.  Fewer than 25 are left
    about once in 10^18 draws; then all is drawn again.
    """
    while True:
        digits = secrets.token_bytes(_RANDOM_BYTES).translate(_TO_DIGIT, _UNEVEN)
        if len(digits) >= _CHARACTERS:
            return digits[:_CHARACTERS].decode("ascii")
