"""/vault/v1/swarm/backup and restore: a swarm in one sealed file, which Docker has nothing like.

A backup streams out of the manager that leads, wherever it was asked for; a restore streams in, and makes a swarm of
this node.  Keys come in a body or a header, become `Plaintext` as they are decoded, and are in no log or error.
"""

import base64
import binascii

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.bodies import decode, pieces, read
from vault.api.context import Context, Endpoint, Reach
from vault.api.ports import RestoreRequest
from vault.api.streams import Streamed, Write, with_first
from vault.api.values import plaintext
from vault.crypto.plaintext import Plaintext
from vault.model.base import Shape
from vault.model.errors import BadRequest

BINARY = b"application/octet-stream"
KEY_HEADER = "x-vault-key"
BAD_KEY = (
    "invalid X-Vault-Key header: it must be base64url of a JSON object with Passphrase or UnlockKey, each in base64"
)
MAX_KEY_BYTES = 16 * 1024


class PostedBackup(Shape, frozen=True, kw_only=True):
    """`POST /vault/v1/swarm/backup`; without a passphrase the unlock key seals it."""

    passphrase: Plaintext | None = None  # Base64 in JSON.


class PostedKey(Shape, frozen=True, kw_only=True):
    """The JSON of `X-Vault-Key`: what opens a backup."""

    passphrase: Plaintext | None = None  # Base64 in JSON, both.
    unlock_key: Plaintext | None = None


class Backups:
    """Handlers of /vault/v1/swarm."""

    def __init__(self, context: Context) -> None:
        self.manager = context.manager

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        query = ("advertiseAddr", "listenAddr", "dataPathAddr")
        return [
            Endpoint("POST", "/vault/v1/swarm/backup", self.backup, posts=PostedBackup, streams=True),
            Endpoint("POST", "/vault/v1/swarm/restore", self.restore, replies=str, query=query, reach=Reach.NODE),
        ]

    async def backup(self, request: Request) -> Response:
        """Send a backup of the swarm."""
        posted = decode(await read(request), PostedBackup, plaintext)
        if posted.passphrase is not None and not len(posted.passphrase):
            raise BadRequest("the passphrase is empty")
        archive = await with_first(self.manager.backup(posted.passphrase))

        async def produce(write: Write) -> None:
            async for piece in archive:
                await write(piece)

        return Streamed(produce, BINARY)

    async def restore(self, request: Request) -> Response:
        """Make a swarm of a backup, which is the body, with this node as its manager; answers the node's id."""
        key, query = _key_of(request), request.query_params
        asked = RestoreRequest(
            passphrase=key.passphrase,
            unlock_key=key.unlock_key,
            advertise_addr=query.get("advertiseAddr", ""),
            listen_addr=query.get("listenAddr", ""),
            data_path_addr=query.get("dataPathAddr", ""),
        )
        return answers.json(await self.manager.restore(asked, pieces(request)))


def _key_of(request: Request) -> PostedKey:
    """Return what opens the backup; raise `BadRequest`, never quoting it."""
    header = request.headers.get(KEY_HEADER, "")
    if len(header) > MAX_KEY_BYTES:
        raise BadRequest(BAD_KEY)
    try:
        decoded = base64.b64decode(header + "=" * (-len(header) % 4), altchars=b"-_", validate=True)
        key = msgspec.json.decode(decoded or b"{}", type=PostedKey, dec_hook=plaintext)
    except (binascii.Error, ValueError, msgspec.MsgspecError, BadRequest):
        raise BadRequest(BAD_KEY) from None
    if (key.passphrase is None) == (key.unlock_key is None):
        raise BadRequest("a backup is opened with a passphrase or with an unlock key: send one of them in X-Vault-Key")
    return key
