"""How often somebody may do something: the counters of a window of time, and what they mean.

Fixed: a counter that is begun by the first hit, and ends with its time to live. Hits are counted by the node, one after
the other, so that never more than the limit are allowed in a window; but around the end of one window and the beginning
of the next there may be twice as many.

Sliding: a counter for each window, aligned by the clock of whoever counts. Of the window before, the part counts that
would still lie within a window's length if its hits had come evenly: `previous * (1 - elapsed) + current`. So the limit
holds about, for any stretch of a window's length.

A hit that is refused is counted as well: it costs one round trip like any other, and whoever does not slow down stays
out. Of the window before, never more than the limit counts: more were not allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from wireproto.core.call_plan import Call
from wireproto.core.calls import Calls, Key
from wireproto.core.request_encoding import shortened
from wireproto.core.results import Value
from wireproto.errors import ArgumentError, ValueTypeError

Kind = Literal["fixed", "sliding"]

MAX_LIMIT: Final = 1 << 53
"""Above it, a float does not know every whole number."""
MAX_WINDOW: Final = 366 * 86_400.0
LONGEST_NAME: Final = 256
"""Bytes of a name in a key; the end of a longer one is a digest."""
SHORTEST_WAIT: Final = 0.001
_MOST_DIGITS: Final = 20
"""Of a counter, with its sign."""

_RAW: Final[Calls[bytes]] = Calls(None)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Whether a hit is allowed, and what is left."""

    allowed: bool
    remaining: int
    """How much more is allowed now."""
    retry_after: float
    """Seconds until as much may be allowed again; 0 if it is allowed now."""


class _Window:
    def __init__(self, limit: int, window: float, prefix: str) -> None:
        if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
            raise ArgumentError(f"limit must be a whole number from 1 to {MAX_LIMIT}")
        if isinstance(window, bool) or not isinstance(window, int | float) or not 0.001 <= window <= MAX_WINDOW:
            raise ArgumentError(f"window must be a number of seconds from 0.001 to {MAX_WINDOW:.0f}")
        self.limit = limit
        self._milliseconds = round(window * 1000)
        self.window = self._milliseconds / 1000
        # The length is part of the key: whoever has a limit for a second and one for an hour counts twice. The braces
        # have the counters of one `who` lie on one node.
        self._prefix = f"{prefix}{self._milliseconds}:".encode()

    def _key(self, who: Key) -> bytes:
        """Strangers may choose their names: no text is refused, or the hit would fail and perhaps be let pass."""
        if isinstance(who, str):
            who = who.encode("utf-8", "surrogatepass")
        elif not isinstance(who, bytes):
            raise ArgumentError(f"who must be str or bytes, not {type(who).__name__}")
        return b"%b{%b}" % (self._prefix, shortened(who, LONGEST_NAME))

    def _check(self, cost: int) -> None:
        if type(cost) is not int or not 1 <= cost <= self.limit:
            raise ArgumentError(f"cost must be a whole number from 1 to the limit, {self.limit}")


class FixedWindow(_Window):
    """Raises ArgumentError for what cannot work."""

    def calls(self, who: Key, cost: int, now: float) -> list[Call[Any]]:
        """Count a hit, and ask how long the window lasts. Raises ArgumentError."""
        self._check(cost)
        key = self._key(who)
        return [_RAW.incr(key, cost, px=self._milliseconds), _RAW.read_with_ttl(key)]

    def verdict(self, results: list[Any], cost: int, now: float) -> RateLimit:
        """What the results of these calls mean."""
        count: int = results[0]
        counter: Value[bytes] | None = results[1]
        remaining = max(0, self.limit - count)
        if count <= self.limit:
            return RateLimit(True, remaining, 0.0)
        left = 0.0 if counter is None else self.window if counter.ttl is None else counter.ttl
        return RateLimit(False, remaining, max(left, SHORTEST_WAIT))


class SlidingWindow(_Window):
    """Raises ArgumentError for what cannot work."""

    def calls(self, who: Key, cost: int, now: float) -> list[Call[Any]]:
        """Count a hit in this window, and read the one before. `now`: Unix time in seconds. Raises ArgumentError."""
        self._check(cost)
        key, number = self._key(who), self._number(now)
        current, previous = b"%b:%d" % (key, number), b"%b:%d" % (key, number - 1)
        # It is read for a window longer; and another's clock may be behind.
        return [_RAW.incr(current, cost, px=3 * self._milliseconds), _RAW.read(previous)]

    def verdict(self, results: list[Any], cost: int, now: float) -> RateLimit:
        """What the results of these calls mean."""
        current: int = results[0]
        previous = min(_count(results[1]), self.limit)
        elapsed = now / self.window - self._number(now)
        used = previous * (1.0 - elapsed) + current
        if used <= self.limit:
            return RateLimit(True, math.floor(self.limit - used), 0.0)
        room = self.limit - current - cost
        if room >= 0:
            # In this window, when enough of the one before has gone by. There is one: without it, used <= limit.
            wait = 1.0 - room / previous - elapsed
        else:
            # In the next, for which this is the one before.
            wait = 1.0 - elapsed + max(0.0, 1.0 - (self.limit - cost) / min(current, self.limit))
        return RateLimit(False, 0, max(wait * self.window, SHORTEST_WAIT))

    def _number(self, now: float) -> int:
        return math.floor(now / self.window)


def rate_window(kind: Kind, limit: int, window: float, prefix: str) -> FixedWindow | SlidingWindow:
    """The window of a kind. Raises ArgumentError."""
    if kind not in ("fixed", "sliding"):
        raise ArgumentError("kind must be fixed or sliding")
    return (FixedWindow if kind == "fixed" else SlidingWindow)(limit, window, prefix)


def _count(data: bytes | None) -> int:
    """What a counter is. Raises ValueTypeError."""
    if data is None:
        return 0
    if len(data) > _MOST_DIGITS or not data.removeprefix(b"-").isdigit():
        raise ValueTypeError("the counter of the window before is no counter")
    return max(0, int(data))
