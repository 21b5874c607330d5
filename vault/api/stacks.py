"""/vault/v1/stacks: what a stack says is deployed as a whole, or not at all; Docker has nothing like it.

The manager that leads judges and proposes everything in one commit.  The bytes of files go to the store, and nowhere
else; those that are there already are compared with it, and no answer says more than whether they are the same.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import read
from vault.api.context import Context, Endpoint, id_for
from vault.api.lookup import made_already
from vault.api.ports import Store
from vault.api.registry_auth import stack_auths
from vault.api.relay import LOCAL_CALLER
from vault.api.stack_shapes import (
    MAX_BODY_BYTES,
    PostedStack,
    ShownStack,
    StackAnswer,
    StackDetails,
    change_of,
    listed_stack,
    recorded_changes,
    shown_stack,
    stack_of,
)
from vault.model.errors import Conflict, NotFound, VaultError
from vault.model.ids import Kind
from vault.model.secret import Secret
from vault.model.stack import StackRecord
from vault.stack.convert import Deployment, convert
from vault.stack.deploy import Proposal, Wishes, deploy, removal
from vault.stack.errors import NotDeployable
from vault.stack.generations import Key, NotCompared, comparisons
from vault.stack.load import Stack
from vault.stack.posted import load_posted
from vault.stack.revision import check_base, parts_of, record_of, revision_of, stacks_in
from vault.store.changes import Change
from vault.store.snapshot import Snapshot

LARGE: Final = 50  # Services of a stack, from which on judging it may take 10 ms and more.
TRIES: Final = 8  # To compare values while others make and remove secrets of the same names.


class DeployedSince(VaultError):
    """A deploy that was sent again was carried out the first time, and what it made was changed since."""

    status = Conflict.status

    def __init__(self, name: str) -> None:
        super().__init__(
            f"this deploy of stack {name} was carried out, and the stack was deployed again or removed since: "
            "look at the stack before you deploy once more"
        )


class Stacks:
    """Handlers of /vault/v1/stacks."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        one = "/vault/v1/stacks/{name}"
        return [
            Endpoint("GET", "/vault/v1/stacks", self.listing, replies=list[ShownStack]),
            Endpoint("GET", one, self.inspect, replies=StackDetails),
            Endpoint(
                "POST",
                one,
                self.deploy,
                posts=PostedStack,
                replies=StackAnswer,
                creates=True,
                limit_bytes=MAX_BODY_BYTES,
            ),
            Endpoint("DELETE", one, self.remove, replies=StackAnswer, query=("base_revision",)),
        ]

    async def listing(self, request: Request) -> Response:
        """List stacks."""
        snapshot = self.context.manager.store().committed
        found = stacks_in(snapshot).items()
        return answers.json(
            [listed_stack(shown_stack(name, parts, record_of(snapshot, name))) for name, parts in found]
        )

    async def inspect(self, request: Request) -> Response:
        """Show a stack: its revision, and what it is made of."""
        name = request.path_params["name"]
        snapshot = self.context.manager.store().committed
        parts = parts_of(snapshot, name)
        if not parts:
            raise NotFound(Kind.STACK, name)
        return answers.json(shown_stack(name, parts, record_of(snapshot, name)))

    async def deploy(self, request: Request) -> Response:
        """Bring the cluster to what a compose document says, in one commit, or say what that would change."""
        store, name = self.context.manager.store(), request.path_params["name"]
        posted = await stack_of(await read(request, MAX_BODY_BYTES))
        # In a thread: a document of hundreds of services takes longer than the event loop may be held.
        stack, deployment = await asyncio.to_thread(_judged, posted, name)
        await self._check_drivers(deployment, store.committed)
        deploying = Deploying(self.context, store, request, posted, deployment)
        for _ in range(TRIES):
            await deploying.compare()
            await deploying.judge_early()
            try:
                index = await store.submit(deploying.build)
            except NotCompared:
                continue
            return answers.json(deploying.answer(index, stack.warnings))
        raise Conflict(f"the secrets and configs of stack {name} are being changed by others: try again")

    async def _check_drivers(self, deployment: Deployment, snapshot: Snapshot) -> None:
        """Raise `NotDeployable` for a new secret whose driver is not there."""
        for new in deployment.secrets:
            driver, held = new.spec.driver, snapshot.by_name(Kind.SECRET, new.spec.name)
            if driver is None or (isinstance(held, Secret) and held.spec.driver == driver):
                continue
            try:
                await self.context.check_driver(driver.name)
            except VaultError as error:
                raise NotDeployable(f"failed to create secret {new.spec.name}: {error.message}") from None

    async def remove(self, request: Request) -> Response:
        """Remove a stack: its services, secrets, configs and networks, in one commit."""
        store, name = self.context.manager.store(), request.path_params["name"]
        base, now_s = request.query_params.get("base_revision"), self.context.now_s()
        made: list[Proposal] = []

        def build(snapshot: Snapshot) -> Sequence[Change]:
            if not parts_of(snapshot, name):
                raise NotFound(Kind.STACK, name)
            if base:
                check_base(snapshot, name, base)
            made.append(removal(snapshot, name, new_id=self.context.new_id, now_s=now_s))
            return made[-1].changes

        await store.submit(build)
        changes = tuple(change_of(done, planned=False) for done in made[-1].done)
        return answers.json(StackAnswer(name=name, revision=revision_of(()), changes=changes))


def _judged(posted: PostedStack, name: str) -> tuple[Stack, Deployment]:
    """Return what the document says, and what it needs in the cluster; raise `StackError`."""
    stack = load_posted(posted.document, posted.files)
    return stack, convert(stack, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a deploy comes to."""

    snapshot: Snapshot  # That it was judged by.
    present: str  # The stack's revision there.
    proposal: Proposal
    reads_tasks: bool

    def holds_in(self, snapshot: Snapshot) -> bool:
        """Whether it would come to the same there: no object is another; of tasks only if it has looked at them."""
        kinds = (kind for kind in Kind if kind is not Kind.TASK or self.reads_tasks)
        return all(snapshot.objects[kind] is self.snapshot.objects[kind] for kind in kinds)


class Deploying:
    """One deploy on its way into the store: what was compared for it, and what came of it."""

    def __init__(
        self, context: Context, store: Store, request: Request, posted: PostedStack, deployment: Deployment
    ) -> None:
        self._new_id = context.new_id
        self._now_s = context.now_s()
        self._store = store
        self._request = request
        self._posted = posted
        self._auths = stack_auths(request)
        self._deployment = deployment
        self._name = deployment.namespace.name
        self._record_id = id_for(request, context.new_id)
        self._same: dict[Key, bool] = {}
        self._early: Judged | None = None  # Before its turn.
        self._judged: Judged | None = None
        self._record: StackRecord | None = None  # Of this very deploy, when it was done before.

    async def compare(self) -> None:
        """Compare the posted values with those that the cluster has for them, as far as that was not done yet."""
        for one in tuple(comparisons(self._deployment, self._store.committed)):
            if (one.kind, one.id) in self._same:
                continue
            try:
                self._same[one.kind, one.id] = one.posted == await self._store.value(one.kind, one.id)
            except NotFound:
                continue  # It was removed meanwhile.

    def build(self, snapshot: Snapshot) -> Sequence[Change]:
        """Return the changes to the proposed snapshot; none for a dry run, or for what was done already."""
        name, posted = self._name, self._posted
        if not posted.dry_run and made_already(self._request, snapshot, Kind.STACK, self._record_id):
            self._record = snapshot.stacks.get(self._record_id)
            if self._record is None:
                raise DeployedSince(name)
            return ()
        if posted.base_revision:
            check_base(snapshot, name, posted.base_revision)
        early = self._early if self._early is not None and self._early.holds_in(snapshot) else None
        self._judged = early or self._judge(snapshot)
        return () if posted.dry_run else self._judged.proposal.changes

    async def judge_early(self) -> None:
        """Judge a large stack in a thread; when its turn has come, that holds unless something else has changed.

        What stands in its way is told by `build`: by then it may be gone.
        """
        self._early = None
        if len(self._deployment.services) >= LARGE:
            with suppress(VaultError, NotCompared):
                self._early = await asyncio.to_thread(self._judge, self._store.committed)

    def _judge(self, snapshot: Snapshot) -> "Judged":
        present = revision_of(parts_of(snapshot, self._name))
        proposal = deploy(
            self._deployment,
            snapshot,
            Wishes(
                prune=self._posted.prune,
                keep_images=self._posted.resolve_image != "always",
                rotate=self._posted.rotate_changed,
                auths=self._auths,
            ),
            same=self._same,
            tag=self._store.content_tag,
            record_id=self._record_id,
            caller=self._request.scope.get("caller") or LOCAL_CALLER,
            new_id=self._new_id,
            now_s=self._now_s,
        )
        return Judged(snapshot=snapshot, present=present, proposal=proposal, reads_tasks=self._posted.prune)

    def answer(self, index: int, warnings: tuple[str, ...]) -> StackAnswer:
        """Return the answer to a deploy that is commit `index`, if it is one."""
        if self._judged is None:
            assert self._record is not None
            revision = revision_of(self._record.parts, self._record.version.index)
            changes = recorded_changes(self._record)
            return StackAnswer(name=self._name, revision=revision, changes=changes, warnings=warnings)
        planned = self._posted.dry_run
        return StackAnswer(
            name=self._name,
            revision=self._judged.present if planned else revision_of(self._judged.proposal.parts, index),
            dry_run=planned,
            changes=tuple(change_of(done, planned=planned) for done in self._judged.proposal.done),
            warnings=warnings,
        )
