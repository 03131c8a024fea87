"""How many requests may wait for a node, so that none waits too long: the bound follows what the node can do.

A queue that is bounded by its length alone makes an overloaded node answer everything, and all of it too late. So what
is looked at is the time from sent to answered; by how much it is longer than the least that was seen is waiting. Once
even the quickest answers of two periods in a row have waited half of what is allowed, the queue is a standing one. Then
no more is let in than the node answers in the time that is allowed (Little's law). A far node has a long way and no
queue; a node that hangs has a queue that does not stand once it goes on; and so has a crowd that comes at once: all
three are left alone.

The ideas are CoDel's (the least delay of a period tells a standing queue from a burst) and BBR's (the rate at which
answers come times the round trip is what belongs in flight).
"""

from __future__ import annotations

from typing import Final

NO_BOUND: Final = 1 << 60
FEWEST: Final = 4
"""Requests that may be under way however slow the node is."""
PERIODS: Final = 8.0
"""Periods in the time that may be waited."""
_NEVER: Final = 1e18
_UNKNOWN: Final = 1e9


class QueueBound:
    """The bound of one connection; a request may wait `most_delay` seconds, or if that is 0 for as long as it takes.

    `requests` is how many may be under way.
    """

    __slots__ = (
        "_base",
        "_fewest_since",
        "_period",
        "_period_began",
        "_rate",
        "answered",
        "delay",
        "is_standing",
        "least",
        "most_delay",
        "period_ends",
        "requests",
    )

    def __init__(self, most_delay: float) -> None:
        self.most_delay = most_delay
        self.requests = NO_BOUND
        self.is_standing = False
        """Whether the queue was one in the last period."""
        self.delay = 0.0
        """Seconds that the quickest waited in the last period."""
        self.least = _UNKNOWN
        """The shortest time from sent to answered in this period."""
        self.answered = 0
        """Requests that were answered in this period."""
        self.period_ends = 0.0 if most_delay else _NEVER
        self._period = most_delay / PERIODS
        self._period_began = 0.0
        self._base = _UNKNOWN
        self._rate = 0.0
        self._fewest_since = 0.0

    def forget(self) -> None:
        """The connection is another: neither the way is known nor the node."""
        self._base = self.least = _UNKNOWN
        self.lift()

    def lift(self) -> None:
        """Nothing is under way, so nothing waits."""
        self.requests = NO_BOUND
        self.delay = 0.0
        self.is_standing = False

    def end_period(self, now: float, sent_at: float) -> None:
        """Judge the period that is over and begin the next. Call it after `period_ends`, once answers have come.

        `sent_at` is when the last request was sent that has been answered.
        """
        if self.requests == FEWEST and sent_at > self._fewest_since:
            # Next to nothing was before it, so what it took is the way, which has become longer.
            self._base = self.least
        self._base = min(self._base, self.least)
        self.delay = self.least - self._base
        if self.delay > self.most_delay / 2:
            self._bind(now)
        else:
            self.lift()
        self._period_began = now
        # Where little is under way answers come in lumps, one for each round trip.
        self.period_ends = now + (self._period if self.requests == NO_BOUND else max(self._period, self.least))
        self.least = _UNKNOWN
        self.answered = 0

    def _bind(self, now: float) -> None:
        rate = self.answered / (now - self._period_began)
        if not self.is_standing:
            self.is_standing = True
            self._rate = rate
            return
        # What the node did a moment ago it may be able to do again.
        self._rate = max(rate, (self._rate + rate) / 2)
        before = self.requests
        self.requests = max(FEWEST, int(self._rate * (self._base + self.most_delay)))
        if self.requests != before:
            self._fewest_since = now
