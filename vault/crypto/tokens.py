"""Join tokens: `SWMTKN-1-<digest>-<secret>`.  The digest pins the root CA on first contact, the secret admits.

Not pure (`new_join_token` draws chance).  Drawn and checked by managers, typed in by operators.
Source: SwarmKit, `ca.GenerateJoinToken`: SHA-256 of the CA's PEM and 16 random bytes, in base 36, 50 and 25 digits.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

from vault.crypto.errors import InvalidJoinToken, UnpinnedAuthority
from vault.crypto.ids import base36

_SECRET_BYTES: Final = 16
_TOKEN: Final = re.compile(r"SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A well-formed token; whether it admits anybody, `check` tells."""

    digest: str  # 50 digits in base 36.
    secret: str = field(repr=False)  # 25 digits in base 36.

    def text(self) -> str:
        """Return the form that operators copy."""
        return f"SWMTKN-1-{self.digest}-{self.secret}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the token that `text()` printed.  Raises `InvalidJoinToken`."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            raise InvalidJoinToken
        return cls(digest=match[1], secret=match[2])

    def check(self, presented: "JoinToken") -> None:
        """Compare with what a joiner presented, in constant time.  Raises `InvalidJoinToken`."""
        if not hmac.compare_digest(self.text(), presented.text()):
            raise InvalidJoinToken

    def check_authority(self, certificate_pem: bytes) -> None:
        """Compare the pinned digest with a CA that answered.  Raises `UnpinnedAuthority`."""
        if not hmac.compare_digest(self.digest, digest_of(certificate_pem)):
            raise UnpinnedAuthority


def new_join_token(certificate_pem: bytes) -> JoinToken:
    """Draw a token for the cluster of this root CA."""
    drawn = int.from_bytes(secrets.token_bytes(_SECRET_BYTES), "big")
    return JoinToken(digest=digest_of(certificate_pem), secret=base36(drawn).zfill(25))


def digest_of(certificate_pem: bytes) -> str:
    """Return SHA-256 of the PEM text as 50 digits in base 36."""
    return base36(int.from_bytes(hashlib.sha256(certificate_pem).digest(), "big")).zfill(50)
