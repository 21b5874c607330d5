"""/vault/v1/swarm/data-key: under which data key records are sealed, and a new one on demand.

Docker has nothing like it.  The manager that leads answers, wherever it is asked; no answer carries a key.
"""

from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.context import Context, Endpoint
from vault.model.cluster import DataKeyStatus


class DataKey:
    """Handlers of /vault/v1/swarm/data-key."""

    def __init__(self, context: Context) -> None:
        self.manager = context.manager

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint("GET", "/vault/v1/swarm/data-key", self.inspect, replies=DataKeyStatus),
            Endpoint("POST", "/vault/v1/swarm/data-key/rotate", self.rotate, replies=DataKeyStatus),
        ]

    async def inspect(self, request: Request) -> Response:
        """Show the number and age of the newest data key, and how many records are sealed under older ones."""
        return answers.json(self.manager.store().data_key())

    async def rotate(self, request: Request) -> Response:
        """Make a new data key; records under older ones are sealed anew in the background."""
        store = self.manager.store()
        await store.rotate_keyring()
        return answers.json(store.data_key())
