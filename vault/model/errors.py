"""Errors named for their condition.

Each carries the HTTP status it has in the API; the text is one sentence, Docker's own where Docker has one, since
clients match on it.  Secret values never reach a message.
"""

from collections.abc import Iterable
from http import HTTPStatus


class VaultError(Exception):
    """Something that a user or an operator can be told in one sentence."""

    status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR  # A type's; only what another node raised carries its own.

    @property
    def message(self) -> str:
        """The sentence, without a status or a prefix."""
        return str(self)


class InvalidArgument(VaultError):
    """What was asked for breaks a rule; the text is `rpc error: code = InvalidArgument desc = …`."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, description: str) -> None:
        super().__init__(f"rpc error: code = InvalidArgument desc = {description}")
        self.description = description


class FailedPrecondition(VaultError):
    """The cluster is not in a state that allows this."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, description: str) -> None:
        super().__init__(f"rpc error: code = FailedPrecondition desc = {description}")
        self.description = description


class PermissionDenied(VaultError):
    """Reserved for the cluster itself; the text is `rpc error: code = PermissionDenied desc = …`."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, description: str) -> None:
        super().__init__(f"rpc error: code = PermissionDenied desc = {description}")
        self.description = description


class BadRequest(VaultError):
    """A request that Docker answers with 400 and a plain sentence."""

    status = HTTPStatus.BAD_REQUEST


class AlreadyExists(VaultError):
    """Another object of that kind has the name."""

    status = HTTPStatus.CONFLICT

    def __init__(self, description: str) -> None:
        super().__init__(f"rpc error: code = AlreadyExists desc = {description}")
        self.description = description


class Conflict(VaultError):
    """A node-local object (image, volume, container) is in the way."""

    status = HTTPStatus.CONFLICT


class NotFound(VaultError):
    """No object answers to the reference."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, kind: str, reference: str) -> None:
        super().__init__(f"{kind} {reference} not found")
        self.kind = kind
        self.reference = reference


class NoSuch(VaultError):
    """A node-local object is missing; the text is Docker's `No such image: x`."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, kind: str, reference: str) -> None:
        super().__init__(f"No such {kind}: {reference}")
        self.kind = kind
        self.reference = reference


class Ambiguous(VaultError):
    """A reference matches more than one object."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, kind: str, reference: str, count: int) -> None:
        super().__init__(f"{kind} {reference} is ambiguous ({count} matches found)")


class OutOfSequence(VaultError):
    """The object was changed since the caller read it."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR  # Docker's; clients match on the text.

    def __init__(self) -> None:
        super().__init__("rpc error: code = Unknown desc = update out of sequence")


class InUse(InvalidArgument):
    """A secret or config that services still refer to."""

    def __init__(self, kind: str, name: str, services: Iterable[str]) -> None:
        names = list(services)
        noun = "service" if len(names) == 1 else "services"
        super().__init__(f"{kind} '{name}' is in use by the following {noun}: {', '.join(names)}")


class Unimplemented(VaultError):
    """Asked for something Docker does not do either, or that this release does not do yet; the text says which."""

    status = HTTPStatus.NOT_IMPLEMENTED

    def __init__(self, description: str) -> None:
        super().__init__(f"rpc error: code = Unimplemented desc = {description}")
        self.description = description


class Unavailable(VaultError):
    """This node cannot answer now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class NotAManager(Unavailable):
    """Cluster state was asked of a node that has none."""

    def __init__(self) -> None:
        super().__init__(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
            "to connect this node to swarm and try again."
        )


class WorkerNode(NotAManager):
    """Cluster state was asked of a worker."""

    def __init__(self) -> None:
        Unavailable.__init__(
            self,
            "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. "
            "Please run this command on a manager node or promote the current node to a manager.",
        )


class ManagerNotReady(Unavailable):
    """Cluster state was asked of a node that is about to be a manager, or cannot reach the others."""

    def __init__(self) -> None:
        super().__init__(
            "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster."
        )


class NoLeader(Unavailable):
    """No manager leads, or none that this one can reach."""

    def __init__(self) -> None:
        super().__init__(
            "The swarm does not have a leader. It's possible that too few managers are online. "
            "Make sure more than half of the managers are online."
        )


class NotLeading(Unavailable):
    """Only a leader may do this, and this manager does not lead: nothing was done, so it may be asked again."""

    def __init__(self, leader: str = "") -> None:
        super().__init__("another manager leads the swarm now, and nothing was done: try again")
        self.leader = leader  # The node that does, as far as is known here.


class CertificatesExpired(Unavailable):
    """This node was away for so long that its certificate has ended."""

    def __init__(self) -> None:
        super().__init__("Swarm certificates have expired. To replace them, leave the swarm and join again.")


class JoinTimedOut(Unavailable):
    """`swarm join` was not finished in time; it goes on."""

    def __init__(self) -> None:
        super().__init__(
            "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. "
            'Use the "docker info" command to see the current swarm status of your node.'
        )


class NotLocked(VaultError):
    """`swarm unlock` on a node that is not locked."""

    status = HTTPStatus.CONFLICT

    def __init__(self) -> None:
        super().__init__("swarm is not locked")


class WrongUnlockKey(VaultError):
    """The unlock key is not the one that this manager's key file is sealed under."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, hint: str = "") -> None:
        super().__init__("swarm could not be unlocked: invalid key provided" + (f": {hint}" if hint else ""))


class AlreadyInSwarm(Unavailable):
    """`swarm init` on a node that is in a swarm."""

    def __init__(self) -> None:
        super().__init__(
            'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.'
        )


class NotInSwarm(Unavailable):
    """`swarm leave` on a node that is in none."""

    def __init__(self) -> None:
        super().__init__("This node is not part of a swarm")


class LastManagerLeaving(Unavailable):
    """`swarm leave` without force on the only manager."""

    def __init__(self) -> None:
        super().__init__(
            "You are attempting to leave the swarm on a node that is participating as a manager. Removing the last "
            "manager erases all current state of the swarm. Use `--force` to ignore this message."
        )


class ManagerLeaving(Unavailable):
    """`swarm leave` without force on one of several managers."""

    def __init__(self, *, reachable: int, unreachable: int) -> None:
        text = "You are attempting to leave the swarm on a node that is participating as a manager. "
        if reachable - 2 <= unreachable:
            text += (
                f"Removing this node leaves {reachable - 1} managers out of {reachable + unreachable}. "
                "Without a Raft quorum your swarm will be inaccessible. "
            )
        super().__init__(
            text + "The only way to restore a swarm that has lost consensus is to reinitialize it with "
            "`--force-new-cluster`. Use `--force` to suppress this message."
        )


class LockedLeaving(Unavailable):
    """`swarm leave` without force on a locked manager; perhaps it is the last one."""

    def __init__(self) -> None:
        super().__init__(
            "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."
        )


class UnreadLeaving(Unavailable):
    """`swarm leave` without force on a node whose membership cannot be read; perhaps it is the last manager."""

    def __init__(self, why: VaultError) -> None:
        super().__init__(f"{why.message}: what this node is in the swarm is not known. Use `--force` to leave it.")


class OutcomeUnknown(Unavailable):
    """A write was sent and its answer lost; reading tells whether it happened."""

    def __init__(self) -> None:
        super().__init__("the outcome of this write is unknown: look at the object before you try again")


class OutcomeForgotten(Unavailable):
    """As `OutcomeUnknown`, said by a leader that was asked again and does not look far enough back to tell."""

    def __init__(self) -> None:
        super().__init__(OutcomeUnknown().message)


class StoreDamaged(VaultError):
    """A committed record cannot be trusted; the text names it."""


class DiskFull(Unavailable):
    """The store could not make a write durable for want of space; nothing was written."""

    def __init__(self) -> None:
        super().__init__("no space left for the store: free space under the data root and try again")
