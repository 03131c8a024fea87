"""What the workers of a server tell each other about clients that have a quota, and which place in it is whose.

Every worker has a row that it alone writes, and in it every such client has a place of eight words: what this worker
has let pass for it, what it saw spilled (`quotas` says what that is), and how many connections it has. Each word is
written by one store and, but for the connections, only ever grows: so nobody needs a lock, a reader that comes in
between sees a moment ago, and a worker that dies leaves what counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from wireproto.core.access import Quota
from wireproto.errors import ConfigurationError

WORD: Final = 8
"""Bytes."""
WORDS: Final = 8
"""Of a place: as long as a line of the processor's cache, so that workers do not take it from each other."""
USED: Final = 0
"""Two words, of requests and of bytes."""
SPILLED: Final = 2
"""Two words."""
CONNECTIONS: Final = 4
REPORTED: Final = 5
"""When this worker last logged that the client was refused something."""


class QuotaTable:
    """The rows of all workers, in `memory` of `table_size` bytes, as the one with this number sees them."""

    __slots__ = ("counts", "marks", "places", "worker", "workers")

    def __init__(self, memory: memoryview, workers: int, places: int, worker: int = 0) -> None:
        self.counts = memory.cast("Q")
        self.marks = memory.cast("d")
        """The same words as fractions."""
        self.workers = workers
        self.places = places
        self.worker = worker

    def words_of(self, place: int, worker: int) -> int:
        """Where the words of a client begin in the row of a worker."""
        return (worker * self.places + place) * WORDS

    def all_words_of(self, place: int) -> list[int]:
        """Where they begin in each row, this worker's first."""
        others = [worker for worker in range(self.workers) if worker != self.worker]
        return [self.words_of(place, worker) for worker in (self.worker, *others)]

    def clear(self, place: int) -> None:
        """Make a place as new. Nobody may be using it."""
        for start in self.all_words_of(place):
            for word in range(start, start + WORDS):
                self.counts[word] = 0

    def retire(self, worker: int, places: int) -> None:
        """Take away the connections of a worker that has ended. What it let pass stays counted."""
        for place in range(places):
            self.counts[self.words_of(place, worker) + CONNECTIONS] = 0


def table_size(workers: int, places: int) -> int:
    """Bytes of memory for a table."""
    return workers * places * WORDS * WORD


class PlacedQuota(NamedTuple):
    """A client's quota, and its place in the table."""

    place: int
    quota: Quota

    def to_json(self) -> list[Any]:
        """As a JSON array."""
        return [self.place, self.quota.requests, self.quota.bytes, self.quota.connections]

    @classmethod
    def from_json(cls, value: list[Any]) -> PlacedQuota:
        """What `to_json` has made."""
        place, requests, size, connections = value
        return cls(place, Quota(requests, size, connections))


class QuotaPlaces:
    """Gives each client with a quota its place. One process does, and tells the others.

    A client keeps its place for as long as its quota stays as it is; another quota has a new place, and so begins full.
    Places are given again as late as possible: by then every worker has long heard that they were given up.
    """

    __slots__ = ("_free", "_fresh", "_placed", "_table")

    def __init__(self, table: QuotaTable) -> None:
        self._table = table
        self._placed: dict[str, PlacedQuota] = {}
        self._fresh = 0
        """The first place that nobody has ever had."""
        self._free: deque[int] = deque()

    def assign(self, quotas: Mapping[str, Quota]) -> dict[str, PlacedQuota]:
        """The places of all clients that have a quota now. Raises ConfigurationError if they are too many."""
        if len(quotas) > self._table.places:
            raise ConfigurationError(
                f"API keys: {len(quotas)} clients have a quota, and at most {self._table.places} may;"
                " give fewer clients one"
            )
        before = self._placed
        kept = {client: placed for client, placed in before.items() if quotas.get(client) == placed.quota}
        self._free.extend(placed.place for client, placed in before.items() if client not in kept)
        self._placed = {
            client: kept.get(client) or PlacedQuota(self._next(), quota) for client, quota in quotas.items()
        }
        return dict(self._placed)

    def _next(self) -> int:
        if self._fresh < self._table.places:
            self._fresh += 1
            return self._fresh - 1
        place = self._free.popleft()
        self._table.clear(place)
        return place

    def retire(self, worker: int) -> None:
        """A worker has ended, and with it its connections."""
        self._table.retire(worker, self._fresh)
