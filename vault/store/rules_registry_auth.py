"""Rules for the credentials that a service's image is pulled with: given, kept, taken back and removed.  Pure.

Each of a service's two specs has its own, or none; what neither has any more goes in the same commit.  Called by
`vault.api` and `vault.stack.carry` with the change of a service that `vault.store.rules_service` made.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from vault.crypto.plaintext import Plaintext
from vault.model.errors import InvalidArgument
from vault.model.ids import Kind
from vault.model.registry_auth import RegistryAuth
from vault.model.service import Service
from vault.store.changes import Change, Delete, Put, PutValue
from vault.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a request says of credentials."""

    id: str  # Drawn for them.
    value: Plaintext | None  # None: from now on, none.


def with_credentials(
    snapshot: Snapshot, put: Put, given: Given | None, *, from_previous: bool = False
) -> tuple[Change, ...]:
    """Return a change of a service together with what becomes of its credentials.

    given: with the new spec; None keeps those of the spec before, or with from_previous, those of the one before that.
    """
    service, old = put.obj, snapshot.services.get(put.obj.id)
    assert isinstance(service, Service)
    made: tuple[Change, ...] = ()
    if given is not None:
        service = replace(service, registry_auth=given.id if given.value is not None else "")
        if given.value is not None:
            auth = RegistryAuth(id=given.id, service_id=service.id)
            made = (Put(auth), PutValue(Kind.REGISTRY_AUTH, given.id, given.value))
    elif from_previous and old is not None:
        if old.previous_spec is None:
            raise InvalidArgument("service does not have a previous spec")
        service = replace(service, registry_auth=old.previous_registry_auth)
    kept = (service.registry_auth, service.previous_registry_auth)
    return (Put(service, put.relied_on), *made, *(one for one in removed_with(snapshot, old) if one.id not in kept))


def removed_with(snapshot: Snapshot, service: Service | None) -> list[Delete]:
    """Return the changes that remove all credentials of a service."""
    held = (service.registry_auth, service.previous_registry_auth) if service is not None else ()
    found = (snapshot.get(Kind.REGISTRY_AUTH, one) for one in dict.fromkeys(held))
    return [Delete(Kind.REGISTRY_AUTH, one.id, one.version.index) for one in found if one is not None]
