"""Stacks as they are posted and shown.

Called by `vault.api.stacks`.  Keys are written as in the compose file that goes with them.  The bytes of files become
`Plaintext` as they are decoded, one by one, so that a large body does not hold up the event loop; no error quotes them.
"""

import asyncio
import binascii
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from vault.api.gojson import json_fault
from vault.crypto.plaintext import Plaintext
from vault.model.errors import BadRequest
from vault.model.stack import StackPart, StackRecord
from vault.stack.carry import Done
from vault.stack.differences import FieldChange
from vault.stack.revision import revision_of

MAX_BODY_BYTES: Final = 12 * 1024 * 1024  # Base64 of what the store takes at once (8 MiB), and a document.
EXPLAINED_BYTES: Final = 1024 * 1024  # Looking for the fault in bad JSON is slow.


class PostedStack(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /vault/v1/stacks/{name}`."""

    document: dict[str, Any]  # A compose file as JSON: merged, with no variables left.
    files: dict[str, Plaintext] = msgspec.field(default_factory=dict)  # By the text of the `file:` key; base64 in JSON.
    base_revision: str | None = None  # The revision that the deploy was made for; 0 = there is no such stack.
    dry_run: bool = False
    prune: bool = False
    resolve_image: Literal["always", "changed", "never"] = "always"
    rotate_changed: bool = False


class _Undecoded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, with what is large left as it came; a key that is misspelt must not pass for one that is not given."""

    document: msgspec.Raw
    files: dict[str, msgspec.Raw] | None = None
    base_revision: str | None = None
    dry_run: bool | None = None
    prune: bool | None = None
    resolve_image: Literal["always", "changed", "never"] | None = None
    rotate_changed: bool | None = None


class StackChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a deploy does, or would do, with one object."""

    action: str  # create | update | remove | unchanged
    kind: str  # network | secret | config | service
    name: str
    id: str = ""  # "" = it has none yet.
    fields: tuple[FieldChange, ...] = ()  # Of an update.


class StackAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a deploy or a removal."""

    name: str
    revision: str  # As it is after this.
    dry_run: bool = False
    changes: tuple[StackChange, ...] = ()
    warnings: tuple[str, ...] = ()


class ShownStack(msgspec.Struct, frozen=True, kw_only=True):
    """A stack in a list."""

    name: str
    revision: str
    networks: int
    secrets: int
    configs: int
    services: int
    deployed_at: datetime | None  # None = as far as is known, by Docker's client.
    deployed_by: str | None


class StackObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of a stack."""

    kind: str
    id: str
    name: str


class StackDetails(ShownStack, frozen=True, kw_only=True):
    """A stack by itself."""

    objects: tuple[StackObject, ...]


async def stack_of(body: bytes) -> PostedStack:
    """Return a posted stack; raises `BadRequest`."""
    try:
        posted = msgspec.json.decode(body, type=_Undecoded)
        document = msgspec.json.decode(posted.document, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(body, error) from None
    files: dict[str, Plaintext] = {}
    for name, raw in (posted.files or {}).items():
        files[name] = _bytes_of(name, raw)
        await asyncio.sleep(0)
    return PostedStack(
        document=document,
        files=files,
        base_revision=posted.base_revision,
        dry_run=bool(posted.dry_run),
        prune=bool(posted.prune),
        resolve_image=posted.resolve_image or "always",
        rotate_changed=bool(posted.rotate_changed),
    )


def _bytes_of(name: str, raw: msgspec.Raw) -> Plaintext:
    try:
        return Plaintext(binascii.a2b_base64(msgspec.json.decode(raw, type=str), strict_mode=True))
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        shown = "".join(character if character.isprintable() else "?" for character in name[:200])
        raise BadRequest(f"invalid request body: files: {shown} is not in base64") from None


def _refusal(body: bytes, error: Exception) -> BadRequest:
    """Return what is wrong with a body, without any of it."""
    if isinstance(error, msgspec.ValidationError):
        reason, _, where = str(error).partition(" - at ")
        kind = "unknown value" if reason.startswith("Invalid enum value") else reason.replace("`", "")
        return BadRequest(f"invalid request body: {kind} at {where.strip('`') or '$'}")
    if not body.strip():
        return BadRequest("got EOF while reading request body")
    fault = json_fault(body) if len(body) <= EXPLAINED_BYTES else None
    return BadRequest(fault or "the request body is not valid JSON")


def change_of(done: Done, *, planned: bool) -> StackChange:
    """Return what was done, or is planned: what is yet to be made has no id then."""
    known = not planned or done.action != "create"
    return StackChange(
        action=done.action, kind=done.kind.value, name=done.name, id=done.id if known else "", fields=done.fields
    )


def recorded_changes(record: StackRecord) -> tuple[StackChange, ...]:
    """Return what a deploy did, as its record says."""
    return tuple(
        StackChange(action=part.action, kind=part.kind, name=part.name, id=part.id)
        for part in record.parts
        if part.action
    )


def shown_stack(name: str, parts: tuple[StackPart, ...], record: StackRecord | None) -> StackDetails:
    """Return a stack with its objects."""
    kinds = [part.kind for part in parts]
    return StackDetails(
        name=name,
        revision=revision_of(parts),
        networks=kinds.count("network"),
        secrets=kinds.count("secret"),
        configs=kinds.count("config"),
        services=kinds.count("service"),
        deployed_at=None if record is None else record.created_at,
        deployed_by=None if record is None else record.deployed_by,
        objects=tuple(StackObject(kind=part.kind, id=part.id, name=part.name) for part in parts),
    )


def listed_stack(stack: StackDetails) -> ShownStack:
    """Return a stack without its objects."""
    return msgspec.convert(stack, ShownStack, from_attributes=True)
