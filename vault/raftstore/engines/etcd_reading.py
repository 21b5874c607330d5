"""A reading of etcd: pages at one revision, from the member beside this process alone.

The revision came from a linearizable read, so that member has it; what it holds at a revision never changes.
Called by `vault.raftstore.engines.etcd`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from vault.raftstore.engine import HeadMoved
from vault.raftstore.engines.etcd_api import messages
from vault.raftstore.engines.etcd_api.client import OUT_OF_RANGE, EtcdClient
from vault.raftstore.engines.etcd_api.exchange import Refused
from vault.raftstore.engines.etcd_errors import unexpected
from vault.raftstore.keys import BEAT_KEY, HEAD_KEY

PAGE_LIMIT_S: Final = 10.0
PAGE_BYTES: Final = 1024 * 1024  # What a page comes to, about.
FIRST_KEYS, MOST_KEYS = 16, 1024
PREFIX, PREFIX_END = b"/v1/", b"/v10"  # "0" comes after "/".
_NO_RECORDS: Final = frozenset((HEAD_KEY.encode(), BEAT_KEY.encode()))


class EtcdReading:
    """All records as of one revision, while its history is kept."""

    def __init__(self, client: EtcdClient, revision: int, head: bytes | None) -> None:
        self.head = head
        self.revision = revision
        self._client = client

    async def get(self, key: str) -> bytes | None:
        """See `Reading`."""
        reply = await self._range(key.encode())
        return reply.pairs[0].value if reply.pairs else None

    async def pages(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """See `Reading`.

        etcd counts keys, not bytes: so a page ends with its kind of records, and how many keys of that kind make a
        page is learned from the page before.
        """
        start, end, keys = PREFIX, PREFIX_END, FIRST_KEYS
        while True:
            reply = await self._range(start, end, limit=keys)
            page = [(pair.key.decode("ascii", "replace"), pair.value) for pair in reply.pairs]
            records = [record for record, pair in zip(page, reply.pairs, strict=True) if pair.key not in _NO_RECORDS]
            if records:
                yield records
            if not reply.more:
                if end == PREFIX_END:
                    return
                start, end, keys = end, PREFIX_END, FIRST_KEYS  # The next kind.
                continue
            last = reply.pairs[-1].key
            kind_end = last[: last.rindex(b"/")] + b"0"
            keys = _keys(keys, sum(len(value) for _, value in page)) if kind_end == end else FIRST_KEYS
            start, end = last + b"\0", kind_end

    async def _range(self, start: bytes, end: bytes = b"", *, limit: int = 0) -> messages.RangeReply:
        request = messages.range_request(start, end, limit=limit, revision=self.revision, serializable=True)
        try:
            answer = await self._client.ask(messages.RANGE, request, limit_s=PAGE_LIMIT_S)
        except Refused as error:
            if error.code == OUT_OF_RANGE:
                raise HeadMoved from None
            raise unexpected(error) from None
        return messages.RangeReply.from_bytes(answer)


def _keys(keys: int, size_bytes: int) -> int:
    """Return how many keys to ask for, after a page of so many keys and bytes."""
    fitting = keys * PAGE_BYTES // max(1, size_bytes)
    return max(1, min(fitting, 4 * keys, MOST_KEYS))
