"""What an answer means for the history.  Pure, strict: what no manager should answer is `UnexpectedAnswer`."""

from tests.cluster.checker.history import Kind, Outcome

SAYS_UNKNOWN = ("outcome of this write is unknown", "outcome unknown")


class UnexpectedAnswer(Exception):
    """An answer that is right for no state of the cluster."""


def outcome(kind: Kind, status: int, message: str) -> Outcome:
    """Return what a client knows after an answer."""
    match status:
        case 200 | 201 | 204:
            return Outcome.DONE
        case 404 if kind is not Kind.CREATE and "secret" in message:
            return Outcome.ABSENT
        case 409 if kind is Kind.CREATE and "already exists" in message:
            return Outcome.EXISTS
        case 500 if kind is Kind.UPDATE and "update out of sequence" in message:
            return Outcome.STALE
        case 503 if any(words in message for words in SAYS_UNKNOWN):
            return Outcome.UNKNOWN
        case 503:
            return Outcome.REFUSED
        case _:
            raise UnexpectedAnswer(f"{kind}: {status} {message}")
