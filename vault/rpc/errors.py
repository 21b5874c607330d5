"""What can end a call, each one sentence; whether a request may have been carried out is in the type.

`CannotReach`, `PeerRefused` and `VersionMismatch` are raised before a request left; after `CallBroken` and `NoAnswer`
nobody knows whether it was carried out.  No message carries bytes of a message or of an exception from elsewhere.
"""

from http import HTTPStatus

from vault.model.errors import Unavailable, VaultError


class CallEnded(Unavailable):
    """The other end is done: nothing more will come, and nothing more is read."""

    def __init__(self, text: str = "the other end closed the call") -> None:
        super().__init__(text)


class CallBroken(CallEnded):
    """The connection under a call is gone; whether what was sent last arrived is not known."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"the connection with {address} broke: {why}")
        self.address = address
        self.why = why


class NoAnswer(Unavailable):
    """A request was sent and not answered in time; whether it was carried out is not known."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(f"{address} did not answer within {timeout_s:g} s")
        self.address = address
        self.timeout_s = timeout_s


class CannotReach(Unavailable):
    """No connection came about; nothing was sent."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"cannot reach {address}: {why}")
        self.address = address
        self.why = why


class PeerRefused(CannotReach):
    """A TLS connection was refused for who one of the two ends is: another cluster, another role, no certificate."""


class CertificatesExpired(PeerRefused):
    """One end's certificate is past its date; `ours` tells which."""

    def __init__(self, address: str, *, ours: bool) -> None:
        super().__init__(address, "its certificate has expired")
        self.ours = ours
        if ours:
            self.args = ("Swarm certificates have expired. To replace them, leave the swarm and join again.",)


class VersionMismatch(CannotReach):
    """The two ends speak no common version of this protocol; nothing was sent."""

    def __init__(self, address: str, *, ours: int, theirs: int) -> None:
        newer = "this node" if ours < theirs else address
        super().__init__(
            address, f"it speaks version {theirs} of the control protocol, this node version {ours}: upgrade {newer}"
        )
        self.ours = ours
        self.theirs = theirs


class RemoteRefusal(VaultError):
    """A `VaultError` that the other end raised: its status, its sentence, and the name of its type."""

    def __init__(self, status: HTTPStatus, text: str, kind: str) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind


class NotLeader(Unavailable):
    """The manager asked does not lead; `leader` (node id) at `address` does, "" when not known."""

    def __init__(self, leader: str, address: str) -> None:
        super().__init__(
            "this manager does not lead the cluster"
            + (f": ask {leader} at {address}" if leader else " and knows of no leader: try again")
        )
        self.leader = leader
        self.address = address


class NotAdmitted(VaultError):
    """The identity of a caller does not allow this method."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, method: str) -> None:
        super().__init__(f"rpc error: code = PermissionDenied desc = this node may not call {method}")
        self.method = method


class NoSuchMethod(VaultError):
    """A method that this manager does not have."""

    status = HTTPStatus.NOT_IMPLEMENTED

    def __init__(self) -> None:
        super().__init__("rpc error: code = Unimplemented desc = this manager knows no such method: upgrade it")


class TooManyCalls(Unavailable):
    """A bound of the server on calls or connections was reached."""

    def __init__(self) -> None:
        super().__init__("too many calls from this node are open: try again when some have ended")


class MessageTooLarge(VaultError):
    """A message is longer than the protocol allows; it was not sent."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a message of {size_bytes} bytes is longer than the {limit_bytes} that one may have")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class UnexpectedMessage(VaultError):
    """What arrived is no message of the type that was waited for."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, expected: str) -> None:
        super().__init__(f"a message arrived that is no {expected}: run one version of vault on every node")
        self.expected = expected


class HandlerFailed(VaultError):
    """A handler failed in a way that nobody foresaw; its log has the place."""

    def __init__(self) -> None:
        super().__init__("the manager failed while it answered: its log names the place")
