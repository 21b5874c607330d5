"""Secrets, configs and credentials on this node: in memory only, and handed only to the tasks that refer to them.

Not pure: it holds what was sent.  Called by `vault.agent.worker` (keep, drop) and `vault.agent.runner` (what may a task
have).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Self

from vault.crypto import Plaintext
from vault.model.errors import VaultError
from vault.model.ids import ConfigID, Kind, SecretID
from vault.model.task import Task
from vault.rpc.messages import Assignments, SealedValue, own_value
from vault.store.template import Context, render

Open = Callable[[SealedValue, Assignments], Plaintext]


class ValueMissing(VaultError):
    """A task refers to a secret or config that its node was not given."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, kind: Kind, name: str) -> None:
        super().__init__(f"{kind} {name} is no longer in the store: create it again and update the service")


class ValueNotGiven(VaultError):
    """The driver of a secret gave no value for a task."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One value, as long as a task of this node may need it."""

    value: Plaintext
    template: bool
    error: str = ""  # Why it has none.

    @classmethod
    def of(cls, sealed: SealedValue, message: Assignments, open_sealed: Open) -> Self:
        """Return what came with a message."""
        value = Plaintext(b"") if sealed.error else open_sealed(sealed, message)
        return cls(value=value, template=sealed.templating == "golang", error=sealed.error)


class Values:
    """What this node has been given."""

    def __init__(self, open_sealed: Open) -> None:
        self._open = open_sealed
        self._kept: dict[tuple[Kind, str], Kept] = {}
        self._named: set[tuple[Kind, str]] | None = None  # Those of a full set that is still coming in.

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, message: Assignments) -> None:
        """Keep what a message brings, drop what it withdraws; a full set, once complete, replaces everything."""
        if message.full:
            self._named = set()
        for sealed in message.put_values:
            if not (sealed.error and (sealed.kind, sealed.id) in self._kept):  # What was given once is still good.
                self._kept[(sealed.kind, sealed.id)] = Kept.of(sealed, message, self._open)
        for key in message.remove_values:
            self._kept.pop(key, None)
        if self._named is not None:
            self._named |= {(sealed.kind, sealed.id) for sealed in message.put_values}
            if message.complete:
                self._kept = {key: kept for key, kept in self._kept.items() if key in self._named}
                self._named = None

    def clear(self) -> None:
        """Forget every value."""
        self._kept.clear()
        self._named = None

    def for_task(
        self, task: Task, node: Mapping[str, str]
    ) -> tuple[dict[SecretID, Plaintext], dict[ConfigID, Plaintext]]:
        """Return what the task refers to, templates filled in, and nothing else.

        Raises `ValueMissing`, and `ValueNotGiven` with what a driver said.
        """
        container = task.spec.container_spec
        get = partial(self._get, task.id)
        raw_secrets = {r.secret_id: get(Kind.SECRET, r.secret_id, r.secret_name) for r in container.secrets}
        raw_configs = {r.config_id: get(Kind.CONFIG, r.config_id, r.config_name) for r in container.configs}
        if not any(kept.template for kept in (*raw_secrets.values(), *raw_configs.values())):
            return (
                {SecretID(i): kept.value for i, kept in raw_secrets.items()},
                {ConfigID(i): kept.value for i, kept in raw_configs.items()},
            )
        context = Context(
            task=task,
            node=node,
            secrets={r.file.name: raw_secrets[r.secret_id].value for r in container.secrets if r.file},
            configs={r.file.name: raw_configs[r.config_id].value for r in container.configs if r.file},
            payload=True,
        )
        return (
            {SecretID(i): _filled(kept, context, guarded=True) for i, kept in raw_secrets.items()},
            {ConfigID(i): _filled(kept, context, guarded=False) for i, kept in raw_configs.items()},
        )

    def registry_auth(self, task: Task) -> Plaintext | None:
        """Return the credentials that a task's image is pulled with; None when its service has none."""
        kept = self._kept.get((Kind.REGISTRY_AUTH, task.service_id))
        return kept.value if kept is not None else None

    def _get(self, task_id: str, kind: Kind, object_id: str, name: str) -> Kept:
        own = self._kept.get((kind, own_value(object_id, task_id)))
        kept = own or self._kept.get((kind, object_id))
        if kept is None:
            raise ValueMissing(kind, name)
        if kept.error:
            raise ValueNotGiven(kept.error)
        return kept


def _filled(kept: Kept, context: Context, *, guarded: bool) -> Plaintext:
    return render(kept.value, context, guarded=guarded) if kept.template else kept.value
