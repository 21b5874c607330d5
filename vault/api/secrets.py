"""/secrets: created, listed, labelled and removed; never read back.

The bytes of a value become `Plaintext` as they are decoded, and go to the store and nowhere else.
"""

from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import TooLarge, read
from vault.api.context import Context, Endpoint, id_for, posted_version
from vault.api.filters import named, parse_filters
from vault.api.lookup import find_secret, made_already
from vault.api.values import EMPTY, PostedSecret, secret_of
from vault.model.ids import Kind
from vault.model.names import SECRET_MAX_BYTES
from vault.model.secret import Secret, SecretSpec
from vault.store import rules
from vault.store.changes import Change, PutValue
from vault.store.snapshot import Snapshot

FILTERS = ("id", "name", "names", "label")
MAX_BODY_BYTES = 2 * 1024 * 1024  # Base64 of the largest value, and labels.


class Secrets:
    """Handlers of /secrets."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint("GET", "/secrets", self.listing, replies=list[Secret], query=("filters",)),
            Endpoint("POST", "/secrets/create", self.create, 201, posts=PostedSecret, creates=True),
            Endpoint("GET", "/secrets/{id}", self.inspect, replies=Secret),
            Endpoint("DELETE", "/secrets/{id}", self.remove, 204),
            Endpoint("POST", "/secrets/{id}/update", self.update, posts=PostedSecret, query=("version",)),
        ]

    async def listing(self, request: Request) -> Response:
        """List secrets."""
        snapshot = self.context.manager.store().committed
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        found = list(snapshot.secrets.values())
        if filters:
            found = [one for one in found if named(filters, one.spec.name, one.id, one.spec.labels)]
        return answers.json(sorted(found, key=lambda secret: secret.id))

    async def create(self, request: Request) -> Response:
        """Create a secret."""
        store = self.context.manager.store()
        posted = await self._read(request)
        spec, value = _spec_of(posted), posted.data or EMPTY
        rules.check_secret(spec, len(value))
        if spec.driver is not None:
            await self.context.check_driver(spec.driver.name)
        secret_id = id_for(request, self.context.new_id)

        def build(snapshot: Snapshot) -> tuple[Change, ...]:
            if made_already(request, snapshot, Kind.SECRET, secret_id):
                return ()
            return (rules.new_secret(snapshot, secret_id, spec), PutValue(Kind.SECRET, secret_id, value))

        await store.submit(build)
        return answers.created(secret_id)

    async def inspect(self, request: Request) -> Response:
        """Show a secret, without its value."""
        snapshot = self.context.manager.store().committed
        return answers.json(find_secret(snapshot, request.path_params["id"]))

    async def remove(self, request: Request) -> Response:
        """Remove a secret that no service refers to."""
        reference = request.path_params["id"]
        await self.context.manager.store().submit(
            lambda snapshot: rules.removed(snapshot, Kind.SECRET, find_secret(snapshot, reference).id)
        )
        return answers.gone()

    async def update(self, request: Request) -> Response:
        """Change a secret's labels."""
        store = self.context.manager.store()
        version = posted_version(request, "secret")
        posted = await self._read(request)
        secret = find_secret(store.committed, request.path_params["id"])
        spec = _spec_of(posted)
        same = posted.data is None or posted.data == await store.value(Kind.SECRET, secret.id)
        await store.submit(
            lambda snapshot: rules.updated_secret(snapshot, secret.id, spec, version=version, same_value=same)
        )
        return answers.done()

    async def _read(self, request: Request) -> PostedSecret:
        """Return the posted secret; a body that cannot hold an allowed value is refused unread."""
        try:
            return secret_of(await read(request, MAX_BODY_BYTES))
        except TooLarge:
            rules.check_secret(SecretSpec(name="x"), SECRET_MAX_BYTES + 1)
            raise


def _spec_of(posted: PostedSecret) -> SecretSpec:
    return SecretSpec(name=posted.name, labels=posted.labels, driver=posted.driver, templating=posted.templating)
