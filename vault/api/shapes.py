"""Docker's shapes that are no objects of the cluster: what is posted and answered beside them.

Called by the handlers, and by `vault.api.openapi`.
"""

import msgspec

from vault.model.base import Shape, always
from vault.model.cluster import ClusterSpec


class ServiceCreated(Shape, frozen=True, kw_only=True):
    """The answer to creating a service."""

    id: str = msgspec.field(name="ID")
    warnings: tuple[str, ...] = ()


class ServiceUpdated(Shape, frozen=True, kw_only=True):
    """The answer to updating a service."""

    warnings: tuple[str, ...] | None = always(None)


class PostedInit(Shape, frozen=True, kw_only=True):
    """`POST /swarm/init`."""

    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    data_path_port: int = 0
    force_new_cluster: bool = False
    spec: ClusterSpec = ClusterSpec()
    auto_lock_managers: bool = False
    availability: str = ""
    default_addr_pool: tuple[str, ...] = ()
    subnet_size: int = 0


class PostedJoin(Shape, frozen=True, kw_only=True):
    """`POST /swarm/join`."""

    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    remote_addrs: tuple[str, ...] = ()
    join_token: str = ""
    availability: str = ""


class UnlockKey(Shape, frozen=True, kw_only=True):
    """The unlock key, as it is shown and as it is posted."""

    unlock_key: str = always("")


class ErrorText(msgspec.Struct, frozen=True, kw_only=True):
    """Every error: one sentence."""

    message: str


class ProgressDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a download is, in bytes."""

    current: int = 0
    total: int = 0


class ProgressError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stream ended early."""

    message: str


class ProgressLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One message of a load, import or pull."""

    status: str = ""
    id: str = ""
    stream: str = ""
    progress_detail: ProgressDetail | None = None
    error_detail: ProgressError | None = None
    error: str = ""
