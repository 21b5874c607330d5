"""What a command can fail with.  Each carries the text for standard error and the exit code; `main` prints it."""


class CommandError(Exception):
    """A command could not do what was asked; the text is complete."""

    exit_code = 1


class UsageProblem(CommandError):
    """A flag is unknown or its value is wrong (exit code 125); `command` adds the usage line."""

    exit_code = 125


class Exit(CommandError):
    """End with this exit code and print nothing: the command has said all there is to say."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("")
        self.exit_code = exit_code


class CannotConnect(CommandError):
    """No daemon answers at the address."""

    def __init__(self, host: str) -> None:
        super().__init__(f"Cannot connect to the vault daemon at {host}. Is vaultd running?")


class ConnectionLost(CommandError):
    """The daemon closed the connection or did not answer in time: whether the request was carried out is unknown."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"error during connect to {host}: {reason}")


class ApiError(CommandError):
    """The daemon refused; `message` is its sentence without a prefix."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status
        self.message = message


class BadReference(ApiError):
    """A name or id that can name nothing, and would make another path of a request."""

    def __init__(self, reference: str) -> None:
        super().__init__(404, f"{reference!r} names nothing")
        self.args = (f"invalid reference {reference!r}: use a name or an id",)


def joined(errors: list[CommandError]) -> None:
    """Raise one error with the text of each on a line of its own; return if there is none."""
    if errors:
        raise CommandError("\n".join(str(error) for error in errors))
