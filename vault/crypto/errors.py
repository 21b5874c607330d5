"""What can go wrong with keys, seals, tokens and certificates; each one sentence that says what to do.

No message ever carries bytes of the input: it may have been a secret.
"""

from datetime import datetime, timedelta
from http import HTTPStatus

from vault.model.errors import VaultError


class CryptoError(VaultError):
    """Something sealed, signed or typed in could not be accepted."""


class UnknownFormat(CryptoError):
    """The bytes do not begin like anything this version writes, or end too early or too late."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is cut short or was written by another version: restore it, or upgrade this node")
        self.what = what


class Altered(CryptoError):
    """A seal does not open: other bytes, another place, or another key than it was made with."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was altered, moved or sealed under another key: restore it from a backup or another manager"
        )
        self.what = what


class UnknownTerm(CryptoError):
    """A record is sealed under a data key that the keyring does not hold."""

    def __init__(self, term: int) -> None:
        super().__init__(f"no data key for term {term}: this manager's keyring is older than the record")
        self.term = term


class KeyringFull(CryptoError):
    """There is no room for another data key while so many older ones are in use."""

    status = HTTPStatus.CONFLICT

    def __init__(self, terms: int) -> None:
        super().__init__(
            f"the swarm keeps {terms} data keys already: wait until its records are sealed under the newest, "
            "and rotate it then"
        )
        self.terms = terms


class WrongLength(CryptoError):
    """A key is not as long as its kind asks for."""

    def __init__(self, what: str, *, expected: int, got: int) -> None:
        super().__init__(f"{what} must be {expected} bytes, not {got}")
        self.what = what
        self.expected = expected
        self.got = got


class MalformedUnlockKey(CryptoError):
    """The text is not an unlock key at all."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self) -> None:
        super().__init__("invalid key: an unlock key begins with SWMKEY-1- and is printed by `vault swarm unlock-key`")


class WrongUnlockKey(CryptoError):
    """The key is well formed but does not open this node's key file."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, key_version: int) -> None:
        super().__init__(
            "swarm could not be unlocked: invalid key provided"
            f" (this node's key file waits for version {key_version} of the unlock key: if that was rotated while this "
            "manager was off, give the key of before)"
        )
        self.key_version = key_version


class WrongPassphrase(CryptoError):
    """The passphrase does not open what was wrapped with one."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self) -> None:
        super().__init__("the passphrase does not open this backup: check it and try again")


class InvalidJoinToken(CryptoError):
    """The text is no join token, or not one of this cluster."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self) -> None:
        super().__init__("A valid join token is necessary to join this cluster")


class UnpinnedAuthority(CryptoError):
    """The certificate authority that answered is not the one the join token names."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self) -> None:
        super().__init__("remote CA does not match fingerprint of the join token: check the address and the token")


class InvalidCertificate(CryptoError):
    """A certificate or a request for one breaks the form we issue."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, why: str) -> None:
        super().__init__(f"the certificate is not acceptable: {why}")
        self.why = why


class CertificateExpired(InvalidCertificate):
    """All is right with a certificate but that its time is over; the text is Docker's."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, not_after: datetime) -> None:
        super().__init__("it has expired")
        self.args = ("Swarm certificates have expired. To replace them, leave the swarm and join again.",)
        self.not_after = not_after


class CertificateNotYetValid(InvalidCertificate):
    """All is right with a certificate but that its time has not come: a clock is wrong."""

    def __init__(self, not_before: datetime) -> None:
        super().__init__("it is not valid yet: set this node's clock, or the clock of the manager that issued it")
        self.not_before = not_before


class ClockSkew(CryptoError):
    """This node's clock and a manager's are too far apart for certificates to work."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, apart: timedelta, *, behind: bool) -> None:
        where = "behind" if behind else "ahead of"
        super().__init__(
            f"this node's clock is {spoken(apart)} {where} the manager's, too far for certificates to work: "
            "set the clock and try again"
        )
        self.apart = apart
        self.behind = behind


class UnusableAuthority(CryptoError):
    """A root CA that an operator gave cannot become the cluster's."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, why: str) -> None:
        super().__init__(f"rpc error: code = InvalidArgument desc = {why}")
        self.why = why


def spoken(span: timedelta) -> str:
    """Return a span of time in its two largest units: "1h 12m", "3 days 4h", "40s"."""
    seconds = int(span.total_seconds())
    parts = (
        (seconds // 86400, " day" if seconds // 86400 == 1 else " days"),
        (seconds // 3600 % 24, "h"),
        (seconds // 60 % 60, "m"),
        (seconds % 60, "s"),
    )
    told = [f"{count}{unit}" for count, unit in parts if count]
    return " ".join(told[:2]) or "0s"
