"""/swarm: making, joining, changing and leaving a cluster."""

from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import decode, read
from vault.api.context import Context, Endpoint, Reach, flag, posted_version, switched
from vault.api.ports import InitRequest, JoinRequest, Rotations
from vault.api.shapes import PostedInit, PostedJoin, UnlockKey
from vault.api.shown import shown_cluster
from vault.api.swarm_checks import check_address, check_availability, check_init, remotes
from vault.model.cluster import DEFAULT_SPEC, Cluster, ClusterSpec
from vault.model.errors import NotFound
from vault.model.ids import Kind
from vault.store.rules_cluster import merged


class Swarm:
    """Handlers of /swarm."""

    def __init__(self, context: Context) -> None:
        self.manager = context.manager

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        rotations = ("version", "rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey")
        return [
            Endpoint("GET", "/swarm", self.inspect, replies=Cluster),
            Endpoint("POST", "/swarm/init", self.init, posts=PostedInit, replies=str, reach=Reach.NODE),
            Endpoint("POST", "/swarm/join", self.join, posts=PostedJoin, reach=Reach.NODE),
            Endpoint("POST", "/swarm/leave", self.leave, query=("force",), reach=Reach.NODE),
            Endpoint("POST", "/swarm/update", self.update, posts=ClusterSpec, query=rotations),
            Endpoint("GET", "/swarm/unlockkey", self.unlock_key, replies=UnlockKey),
            Endpoint("POST", "/swarm/unlock", self.unlock, posts=UnlockKey, reach=Reach.NODE),
        ]

    async def inspect(self, request: Request) -> Response:
        """Show the swarm with its join tokens."""
        cluster = self.manager.store().committed.cluster
        if cluster is None:
            raise NotFound(Kind.CLUSTER, "default")
        return answers.json(shown_cluster(cluster, tokens=True))

    async def init(self, request: Request) -> Response:
        """Make a swarm with this node as its manager; answers the node's id."""
        posted = decode(await read(request), PostedInit)
        check_init(posted)
        encryption = posted.spec.encryption_config
        if posted.auto_lock_managers:
            encryption = msgspec.structs.replace(encryption, auto_lock_managers=True)
        spec = merged(msgspec.structs.replace(posted.spec, encryption_config=encryption), DEFAULT_SPEC)
        node_id = await self.manager.init(
            InitRequest(
                spec=spec,
                advertise_addr=posted.advertise_addr,
                listen_addr=posted.listen_addr,
                data_path_addr=posted.data_path_addr,
                data_path_port=posted.data_path_port,
                availability=posted.availability,
                default_addr_pool=posted.default_addr_pool,
                subnet_size=posted.subnet_size,
                force_new_cluster=posted.force_new_cluster,
            )
        )
        return answers.json(node_id)

    async def join(self, request: Request) -> Response:
        """Join a swarm."""
        posted = decode(await read(request), PostedJoin)
        check_availability(posted.availability)
        check_address("ListenAddr", posted.listen_addr)
        check_address("AdvertiseAddr", posted.advertise_addr)
        managers = remotes(posted.remote_addrs)
        await self.manager.join(
            JoinRequest(
                join_token=posted.join_token,
                remote_addrs=managers,
                advertise_addr=posted.advertise_addr,
                listen_addr=posted.listen_addr,
                data_path_addr=posted.data_path_addr,
                availability=posted.availability,
            )
        )
        return answers.done()

    async def leave(self, request: Request) -> Response:
        """Leave the swarm."""
        await self.manager.leave(force=flag(request, "force"))
        return answers.done()

    async def update(self, request: Request) -> Response:
        """Change the swarm's settings; rotate its tokens and unlock key."""
        self.manager.store()
        version = posted_version(request, "swarm")
        spec = decode(await read(request), ClusterSpec)
        rotations = Rotations(
            worker_token=switched(request, "rotateWorkerToken"),
            manager_token=switched(request, "rotateManagerToken"),
            unlock_key=switched(request, "rotateManagerUnlockKey"),
        )
        await self.manager.update(spec, version=version, rotations=rotations)
        return answers.done()

    async def unlock_key(self, request: Request) -> Response:
        """Show the unlock key, "" while managers need none."""
        return answers.json(UnlockKey(unlock_key=await self.manager.unlock_key()), HTTPStatus.OK)

    async def unlock(self, request: Request) -> Response:
        """Unlock a manager that is locked."""
        posted = decode(await read(request), UnlockKey)
        await self.manager.unlock(posted.unlock_key)
        return answers.done()
