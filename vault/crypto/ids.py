"""Identifiers: 25 characters of [0-9a-z], drawn at random.

Not pure (draws chance); deciders take `new_id` as an argument instead of importing it.
"""

import secrets

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RANDOM_BYTES = 17
_CHARACTERS = 25


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

    17 random bytes with the top bit set give 27 digits; digits 1 to 25 (from 0) are uniform, the first is not.
    Source: SwarmKit, `identity.NewID`.
    """
    drawn = int.from_bytes(secrets.token_bytes(_RANDOM_BYTES), "big") | 1 << (_RANDOM_BYTES * 8 - 1)
    return base36(drawn)[1 : _CHARACTERS + 1]
