"""/configs: like secrets, but that their values are shown."""

from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import TooLarge, read
from vault.api.context import Context, Endpoint, id_for, posted_version
from vault.api.filters import named, parse_filters
from vault.api.lookup import find_config, made_already
from vault.api.ports import Store
from vault.api.values import EMPTY, PostedConfig, config_of
from vault.model.base import Object
from vault.model.ids import Kind
from vault.model.names import CONFIG_MAX_BYTES
from vault.model.secret import Config, ConfigSpec
from vault.store import rules
from vault.store.changes import Change, PutValue
from vault.store.snapshot import Snapshot

FILTERS = ("id", "name", "names", "label")
MAX_BODY_BYTES = 3 * 1024 * 1024  # Base64 of the largest value, and labels.


class ShownConfigSpec(ConfigSpec, frozen=True, kw_only=True):
    """A config's spec with its value."""

    data: bytes = b""  # Base64 in JSON.


class ShownConfig(Object, frozen=True, kw_only=True):
    """A config with its value."""

    spec: ShownConfigSpec


class Configs:
    """Handlers of /configs."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint("GET", "/configs", self.listing, replies=list[ShownConfig], query=("filters",)),
            Endpoint("POST", "/configs/create", self.create, 201, posts=PostedConfig, creates=True),
            Endpoint("GET", "/configs/{id}", self.inspect, replies=ShownConfig),
            Endpoint("DELETE", "/configs/{id}", self.remove, 204),
            Endpoint("POST", "/configs/{id}/update", self.update, posts=PostedConfig, query=("version",)),
        ]

    async def listing(self, request: Request) -> Response:
        """List configs with their values."""
        store = self.context.manager.store()
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        found = [
            config
            for config in store.committed.configs.values()
            if named(filters, config.spec.name, config.id, config.spec.labels)
        ]
        return answers.json([await _shown(store, config) for config in sorted(found, key=lambda config: config.id)])

    async def create(self, request: Request) -> Response:
        """Create a config."""
        store = self.context.manager.store()
        posted = await self._read(request)
        spec, value = _spec_of(posted), posted.data or EMPTY
        rules.check_config(spec, len(value))
        config_id = id_for(request, self.context.new_id)

        def build(snapshot: Snapshot) -> tuple[Change, ...]:
            if made_already(request, snapshot, Kind.CONFIG, config_id):
                return ()
            return (rules.new_config(snapshot, config_id, spec), PutValue(Kind.CONFIG, config_id, value))

        await store.submit(build)
        return answers.created(config_id)

    async def inspect(self, request: Request) -> Response:
        """Show a config with its value."""
        store = self.context.manager.store()
        return answers.json(await _shown(store, find_config(store.committed, request.path_params["id"])))

    async def remove(self, request: Request) -> Response:
        """Remove a config that no service refers to."""
        reference = request.path_params["id"]
        await self.context.manager.store().submit(
            lambda snapshot: rules.removed(snapshot, Kind.CONFIG, find_config(snapshot, reference).id)
        )
        return answers.gone()

    async def update(self, request: Request) -> Response:
        """Change a config's labels."""
        store = self.context.manager.store()
        version = posted_version(request, "config")
        posted = await self._read(request)
        config = find_config(store.committed, request.path_params["id"])
        spec = _spec_of(posted)
        same = posted.data is None or posted.data == await store.value(Kind.CONFIG, config.id)
        await store.submit(
            lambda snapshot: rules.updated_config(snapshot, config.id, spec, version=version, same_value=same)
        )
        return answers.done()

    async def _read(self, request: Request) -> PostedConfig:
        """Return the posted config; a body that cannot hold an allowed value is refused unread."""
        try:
            return config_of(await read(request, MAX_BODY_BYTES))
        except TooLarge:
            rules.check_config(ConfigSpec(name="x"), CONFIG_MAX_BYTES + 1)
            raise


async def _shown(store: Store, config: Config) -> ShownConfig:
    value = await store.value(Kind.CONFIG, config.id)
    spec = ShownConfigSpec(
        name=config.spec.name, labels=config.spec.labels, templating=config.spec.templating, data=value.reveal()
    )
    return ShownConfig(
        id=config.id, version=config.version, created_at=config.created_at, updated_at=config.updated_at, spec=spec
    )


def _spec_of(posted: PostedConfig) -> ConfigSpec:
    return ConfigSpec(name=posted.name, labels=posted.labels, templating=posted.templating)
