"""What can go wrong with a plugin; the texts reach who made a secret, and the status of the task that needed it."""

from vault.model.errors import BadRequest, Unavailable

TEXT_CHARACTERS = 512


class PluginNotFound(BadRequest):
    """Nothing on this node says where a plugin of that name is."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f'plugin "{shown(name)}" not found: {why}')


class NotImplementedThere(BadRequest):
    """A plugin does something else."""

    def __init__(self, name: str, capability: str) -> None:
        super().__init__(
            f'plugin "{shown(name)}" does not implement the requested driver: it says nothing of {capability}'
        )


class PluginFailed(Unavailable):
    """A plugin could not be asked, or answered that it has failed."""


def shown(text: str) -> str:
    """Return what others wrote, in one line of limited length, fit for an error."""
    line = " ".join(text.split())
    return "".join(one if one.isprintable() else "?" for one in line[:TEXT_CHARACTERS])
