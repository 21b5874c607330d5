"""An update of the swarm: its settings, and the keys that change with them: root CA, join tokens, unlock key.

Pure but for chance where a key is drawn: `now` is an argument.  Called by `vault.daemon` inside `Store.submit`, so that
the answer to a request that asks for a rotation finds it begun.
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from vault.crypto.authorities import given_authority
from vault.crypto.certificates import new_authority, split
from vault.crypto.errors import InvalidCertificate, UnusableAuthority
from vault.crypto.keys import UnlockKey
from vault.crypto.plaintext import Plaintext
from vault.model.cluster import CAConfig, Cluster, ClusterSpec
from vault.model.errors import InvalidArgument
from vault.store.changes import Change, Put
from vault.store.rules_cluster import merged, updated
from vault.store.snapshot import Snapshot
from vault.store.trust import begun, given_up, rotated_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """What a manager's key file is to be wrapped under."""

    version: int
    key: UnlockKey | None  # None: autolock is off; a key that this manager draws, and keeps beside the file.


def initial(spec: ClusterSpec, defaults: ClusterSpec) -> ClusterSpec:
    """Return the settings of a new swarm; raise what is wrong with them, or has no meaning for a new one."""
    if spec.ca_config.signing_ca_cert or spec.ca_config.signing_ca_key or spec.ca_config.force_rotate:
        raise InvalidArgument("a new swarm draws its own root CA: rotate it with `vault swarm ca --rotate` afterwards")
    return merged(spec, defaults)


def updated_swarm(
    snapshot: Snapshot,
    spec: ClusterSpec,
    *,
    version: int,
    now: datetime,
    worker_token: bool = False,
    manager_token: bool = False,
    unlock_key: bool = False,
) -> tuple[Change, ...]:
    """Return the change that an update of the swarm is.

    worker_token, manager_token, unlock_key: which are drawn anew; an unlock key only while autolock is on.
    Raises what is wrong with the settings, and `UnusableAuthority` for a root CA that cannot take over.
    """
    cluster = updated(snapshot, spec, version=version)
    before = snapshot.cluster
    assert before is not None
    cluster = _with_root(before, cluster, spec.ca_config, now)
    cluster = rotated_tokens(cluster, worker=worker_token, manager=manager_token)
    return (Put(_with_lock(cluster, anew=unlock_key)),)


def locked_from_the_start(cluster: Cluster) -> Cluster:
    """Return a new swarm's object with an unlock key, if its settings ask for autolock."""
    return _with_lock(cluster, anew=False)


def unlock_key_of(cluster: Cluster) -> str:
    """Return `SWMKEY-1-…` as `GET /swarm/unlockkey` shows it; "" while autolock is off."""
    return UnlockKey(cluster.unlock_key).text() if cluster.unlock_key else ""


def wrapping(cluster: Cluster, *, held_version: int) -> Wrapping | None:
    """Return what a manager has to wrap its key file under; None when it is as it should be.

    held_version: the version in the key file's header.
    """
    if held_version == cluster.unlock_key_version:
        return None
    key = UnlockKey(cluster.unlock_key) if cluster.unlock_key else None
    return Wrapping(version=cluster.unlock_key_version, key=key)


def _with_lock(cluster: Cluster, *, anew: bool) -> Cluster:
    """Return the cluster with an unlock key where its settings want one, under a new version whenever it changed."""
    locks = cluster.spec.encryption_config.auto_lock_managers
    if locks and cluster.unlock_key and not anew:
        return cluster
    if not locks and not cluster.unlock_key:
        return cluster
    return msgspec.structs.replace(
        cluster,
        # Goes into the cluster's sealed record; one answer shows it, to whoever asks for it.
        unlock_key=UnlockKey.generate().reveal() if locks else b"",
        unlock_key_version=cluster.unlock_key_version + 1,
    )


def _with_root(before: Cluster, cluster: Cluster, posted: CAConfig, now: datetime) -> Cluster:
    """Return the cluster with a rotation of its root CA begun, or given up, where the settings ask for that."""
    if not posted.signing_ca_cert:
        if cluster.spec.ca_config.force_rotate == before.spec.ca_config.force_rotate:
            return cluster
        return begun(cluster, new_authority(now=now), now=now)
    wanted = _one_spelling(posted.signing_ca_cert)
    if wanted == before.tls_info.trust_root:
        return given_up(cluster) if before.root_rotation is not None else cluster
    if before.root_rotation is not None and wanted == before.root_rotation.certificate:
        return cluster
    if not posted.signing_ca_key:
        raise InvalidArgument("external CAs are not supported: give the key of the desired CA certificate, too")
    successor = given_authority(wanted.encode(), Plaintext(posted.signing_ca_key.encode()), now=now)
    return begun(cluster, successor, now=now)


def _one_spelling(certificate_pem: str) -> str:
    try:
        return b"".join(split(certificate_pem.encode())).decode()
    except InvalidCertificate:
        raise UnusableAuthority("could not parse the desired CA certificate") from None
