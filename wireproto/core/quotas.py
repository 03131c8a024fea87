"""Quotas: what each client may still do, over all its connections and all workers.

Requests and bytes have a token bucket each, which a second fills. With `used` as what was taken out since the clock
began, and `spilled` as what has flowed in and found no room, its level is

    burst + rate * now - used - spilled

and `spilled` is the most that `rate * t - used` ever was. It grows until something is taken, so it is enough that
whoever takes something looks first. Both only grow, and so each worker has its own part of them in shared memory:
`used` is the sum of all, `spilled` the greatest of all. What one worker takes, the others see at their next look,
without a lock. Two that look in the same moment may both take what is there; the level is then below zero, which is
paid back before anybody takes more. So it is with bytes: whoever has a byte left may send a whole value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from wireproto.core.access import NO_QUOTA, Quota
from wireproto.core.api_keys import ApiKeyRecord
from wireproto.core.quota_table import CONNECTIONS, REPORTED, SPILLED, USED, PlacedQuota, QuotaTable

REPORT_PAUSE: Final = 1.0
"""Seconds between two lines in the log about one client."""
LONGEST_QUEUE: Final = 1.0
"""Seconds into which requests that were refused are spread: a bucket does not save up more."""


def quotas_of(records: Iterable[ApiKeyRecord], now: float) -> dict[str, Quota]:
    """The quotas of the clients that have one, at this Unix time.

    A quota is the client's, so all its keys share it. Where they differ, the smallest of each kind counts: what was
    forbidden with one key is not to be had with another.
    """
    found: dict[str, Quota] = {}
    for record in records:
        if record.quota != NO_QUOTA and record.revoked is None and not (record.expires and record.expires <= now):
            found[record.client] = _smaller(found.get(record.client, NO_QUOTA), record.quota)
    return found


def _smaller(one: Quota, other: Quota) -> Quota:
    return Quota(
        requests=_least(one.requests, other.requests),
        bytes=_least(one.bytes, other.bytes),
        connections=_least(one.connections, other.connections),
    )


def _least(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


class Bucket:
    """What one client may do of one kind (0 requests, 1 bytes), as this worker sees it; `rate` of it a second.

    Times are seconds of the monotonic clock, which is the same for all workers.
    """

    __slots__ = ("_counts", "_marks", "_others", "_own", "_promised", "_spilled", "_used", "rate")

    def __init__(self, table: QuotaTable, place: int, kind: int, rate: int) -> None:
        self.rate = rate
        self._counts = table.counts
        self._marks = table.marks
        self._own, *self._others = (start + kind for start in table.all_words_of(place))
        # This worker's row may have been that of one which has ended.
        self._used: int = table.counts[self._own + USED]
        self._spilled: float = table.marks[self._own + SPILLED]
        self._promised = 0.0

    def level(self, now: float) -> float:
        """How much may be taken. Whatever is taken is taken after such a look."""
        used, spilled = self._used, self._spilled
        for other in self._others:
            # In this order: who takes writes what it saw spilled first.
            used += self._counts[other + USED]
            theirs: float = self._marks[other + SPILLED]
            if theirs > spilled:
                spilled = theirs
        flowed: float = self.rate * now - used
        if flowed > spilled:
            self._spilled = self._marks[self._own + SPILLED] = flowed
            return float(self.rate)
        return self.rate + flowed - spilled

    def take(self, count: int) -> None:
        """Take so much, be it there or not."""
        self._used += count
        self._counts[self._own + USED] = self._used

    def retry_ms(self, level: float, now: float) -> int:
        """When to ask again for the one that is not there.

        Those that are refused are told moments one after the other, as if they stood in a queue: were all told the
        same, all but one would come in vain.
        """
        earliest = now + (1.0 - level) / self.rate
        self._promised = min(max(earliest, self._promised + 1.0 / self.rate), earliest + LONGEST_QUEUE)
        return int((self._promised - now) * 1000) + 1


class Meter:
    """What one client uses, as this worker counts it."""

    __slots__ = (
        "_has_place",
        "_own",
        "_starts",
        "_table",
        "bytes",
        "connections",
        "most_connections",
        "placed",
        "requests",
    )

    def __init__(self, table: QuotaTable, placed: PlacedQuota) -> None:
        self._table = table
        self.connections = 0
        """Of this worker."""
        self._use(placed)

    def _use(self, placed: PlacedQuota) -> None:
        table, quota = self._table, placed.quota
        self.placed = placed
        self._has_place = True
        self._starts = table.all_words_of(placed.place)
        self._own = self._starts[0]
        self.requests = None if quota.requests is None else Bucket(table, placed.place, 0, quota.requests)
        self.bytes = None if quota.bytes is None else Bucket(table, placed.place, 1, quota.bytes)
        self.most_connections = quota.connections
        self._show_connections()

    def follow(self, placed: PlacedQuota) -> None:
        """The client has another quota now."""
        if placed != self.placed:
            self.leave()
            self._use(placed)

    def leave(self) -> None:
        """Its place is to be somebody else's."""
        self._table.counts[self._own + CONNECTIONS] = 0
        self._has_place = False

    def _show_connections(self) -> None:
        if self._has_place:
            self._table.counts[self._own + CONNECTIONS] = self.connections

    def count_in(self) -> None:
        """It has one connection more."""
        self.connections += 1
        self._show_connections()

    def count_out(self) -> None:
        """It has one connection less."""
        self.connections -= 1
        self._show_connections()

    @property
    def has_too_many(self) -> bool:
        """Whether all workers together have more connections of this client than it may have."""
        if self.most_connections is None:
            return False
        counts = self._table.counts
        return sum(counts[start + CONNECTIONS] for start in self._starts) > self.most_connections

    def may_report(self, now: float) -> bool:
        """Whether nobody has logged a refusal of this client in the last second; if so, the caller does."""
        marks = self._table.marks
        if now - max(marks[start + REPORTED] for start in self._starts) < REPORT_PAUSE:
            return False
        marks[self._own + REPORTED] = now
        return True


class Quotas:
    """The quotas of all clients, as this worker keeps them."""

    __slots__ = ("_meters", "_table")

    def __init__(self, table: QuotaTable) -> None:
        self._table = table
        self._meters: dict[str, Meter] = {}

    def update(self, quotas: Mapping[str, PlacedQuota]) -> None:
        """Hold clients to these from now on. Each connection is then to look up its own anew."""
        for client in self._meters.keys() - quotas.keys():
            self._meters.pop(client).leave()
        for client, placed in quotas.items():
            meter = self._meters.get(client)
            if meter is None:
                self._meters[client] = Meter(self._table, placed)
            else:
                meter.follow(placed)

    def meter_of(self, client: str) -> Meter | None:
        """What counts a client's use; None for one without a quota."""
        return self._meters.get(client)
