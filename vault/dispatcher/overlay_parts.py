"""One node's view of overlay networks, and the next part of what it has to be told.

Pure.  Used by `vault.dispatcher.overlays`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, assert_never

from vault.dispatcher.overlay_book import Book, Key, Value
from vault.model.node import NodeEncryption
from vault.model.overlay import (
    EncryptionPeer,
    OverlayChange,
    OverlayEncryption,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayService,
)

NETWORK_BYTES: Final = 400  # About what a network takes in a message,
GONE_BYTES: Final = 100  # and the names of something that is gone.


class Mark(NamedTuple):
    """How far a node was told of a book, by its numbers."""

    begun: int  # Its last number when the node was told the first of it; what was gone then, the node never knew.
    reached: int

    def behind(self, book: Book) -> bool:
        """Whether something may be gone that the node knows, and the book no longer remembers."""
        return max(self) < book.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayView:
    """What a node has been told."""

    begun: bool = False
    networks: Mapping[str, OverlayNetwork] = field(default_factory=dict)
    marks: Mapping[str, Mark] = field(default_factory=dict)  # By book.
    own: NodeEncryption | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayPart:
    """What a node is told next."""

    view: OverlayView  # Once it was told.
    change: OverlayChange | None  # None: there is nothing.
    complete: bool  # False: more follows, and all of it is to be applied together.
    size_bytes: int  # About.


class PartDraft:
    """A part in the making.  `networks` comes first, then the books are read, in any order."""

    def __init__(self, view: OverlayView, room_bytes: int) -> None:
        self._view = view
        self._room_bytes = room_bytes
        self._size_bytes = 0
        self._complete = True
        self._networks: Mapping[str, OverlayNetwork] = {}
        self._marks: dict[str, Mark] = {}
        self._put_networks: tuple[OverlayNetwork, ...] = ()
        self._remove_networks: tuple[str, ...] = ()
        self._endpoints: list[OverlayEndpoint] = []
        self._services: list[OverlayService] = []
        self._gone_endpoints: list[tuple[str, str, str]] = []
        self._gone_services: list[tuple[str, str]] = []
        self._peers: list[EncryptionPeer] = []
        self._gone_peers: list[str] = []

    def networks(self, wanted: Mapping[str, OverlayNetwork]) -> None:
        """Say which networks there are for the node."""
        known = self._view.networks
        self._networks = wanted
        self._put_networks = tuple(one for network_id, one in wanted.items() if known.get(network_id) != one)
        self._remove_networks = tuple(network_id for network_id in known if network_id not in wanted)
        self._size_bytes += NETWORK_BYTES * len(self._put_networks) + GONE_BYTES * len(self._remove_networks)

    def read(self, book_id: str, book: Book, *, peers_but: str | None = None) -> None:
        """Go on with a book where the node was left, as far as there is room.

        peers_but: the book is the one of those who encrypt, and the node is this one of them.
        """
        begun, reached = self._view.marks.get(book_id) or (book.last, 0)
        for at, key, entry in book.since(reached):
            if (entry is not None or at > begun) and key != peers_but:
                size_bytes = GONE_BYTES if entry is None else entry.size_bytes
                if not self._complete or (self._size_bytes and self._size_bytes + size_bytes > self._room_bytes):
                    self._complete = False
                    break
                self._size_bytes += size_bytes
                if entry is not None:
                    self._put(entry.value)
                elif peers_but is not None:
                    self._gone_peers.append(str(key))
                else:
                    self._remove(book_id, key)
            reached = at
        self._marks[book_id] = Mark(begun, reached)

    def part(self, own: NodeEncryption | None) -> OverlayPart:
        """Return what came of it.  own: the node's place among those who encrypt, if it has one."""
        change = OverlayChange(
            full=not self._view.begun,
            put_networks=self._put_networks,
            remove_networks=self._remove_networks,
            put_endpoints=tuple(self._endpoints),
            remove_endpoints=tuple(self._gone_endpoints),
            put_services=tuple(self._services),
            remove_services=tuple(self._gone_services),
            encryption=self._encryption(own),
        )
        return OverlayPart(
            view=OverlayView(begun=True, networks=self._networks, marks=self._marks, own=own),
            change=None if self._complete and change == OverlayChange() else change,
            complete=self._complete,
            size_bytes=self._size_bytes,
        )

    def _put(self, value: Value) -> None:
        match value:
            case OverlayEndpoint():
                self._endpoints.append(value)
            case OverlayService():
                self._services.append(value)
            case EncryptionPeer():
                self._peers.append(value)
            case _:
                assert_never(value)

    def _remove(self, network_id: str, key: Key) -> None:
        if isinstance(key, str):
            self._gone_services.append((network_id, key))
        else:
            self._gone_endpoints.append((network_id, *key))

    def _encryption(self, own: NodeEncryption | None) -> OverlayEncryption | None:
        full = not self._view.begun or (own is not None and self._view.own is None)
        if not (full or self._peers or self._gone_peers or own != self._view.own):
            return None
        return OverlayEncryption(full=full, own=own, put_peers=tuple(self._peers), remove_peers=tuple(self._gone_peers))
