"""What a key of the plain model may hold, and until when."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

FOREVER: Final = float("inf")
_COUNT: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")
COUNTS: Final = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Span:
    """A moment that is not known to the instant: from `earliest` to `latest`, in seconds of the caller's clock."""

    earliest: float
    latest: float

    def after(self, milliseconds: int) -> Span:
        """So long after it."""
        return Span(self.earliest + milliseconds / 1000, self.latest + milliseconds / 1000)

    def within(self, other: Span) -> Span | None:
        """The part of it that lies in the other; None if they do not meet."""
        both = Span(max(self.earliest, other.earliest), min(self.latest, other.latest))
        return both if both.earliest <= both.latest else None


NEVER: Final = Span(FOREVER, FOREVER)


class Phase(Enum):
    """Where a value is in its life."""

    FRESH = "fresh"
    STALE = "stale"
    GONE = "gone"
    """Or there was none."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a key may hold. `at` says what that means at a moment: only then `phase` and `is_leased` are true.

    Two requests that are in flight together may be judged by readings of a clock that are not in their order. So what
    is over for one is not forgotten before it is over for all that were in flight.
    """

    value: bytes | None = None
    fresh_until: Span = NEVER
    stale: float = 0.0
    """Seconds for which it may be served when it is not fresh any more."""
    is_counter: bool = False
    version: str | None = None
    """None: nobody has been told."""
    lease: str | None = None
    lease_until: Span = NEVER
    phase: Phase = Phase.GONE
    is_leased: bool = False

    @property
    def is_fresh(self) -> bool:
        """Whether the key is present."""
        return self.phase is Phase.FRESH

    def at(self, moment: Span) -> Iterator[Held]:
        """What it may be at some instant of `moment`."""
        for held in self._value_at(moment):
            yield from held._lease_at(moment)

    def _value_at(self, moment: Span) -> Iterator[Held]:
        if self.value is None:
            yield replace(self, phase=Phase.GONE)
            return
        end, stale = self.fresh_until, self.stale
        if (rest := end.within(Span(moment.earliest, FOREVER))) is not None:
            yield replace(self, fresh_until=rest, phase=Phase.FRESH)
        if stale and (rest := end.within(Span(moment.earliest - stale, moment.latest))) is not None:
            yield replace(self, fresh_until=rest, phase=Phase.STALE)
        if end.latest + stale < moment.earliest:
            yield Held(lease=self.lease, lease_until=self.lease_until)
        elif (rest := end.within(Span(-FOREVER, moment.latest - stale))) is not None:
            yield replace(self, fresh_until=rest, phase=Phase.GONE)

    def _lease_at(self, moment: Span) -> Iterator[Held]:
        if self.lease is None or self.lease_until.latest < moment.earliest:
            yield self.without_lease()
            return
        if (rest := self.lease_until.within(Span(moment.earliest, FOREVER))) is not None:
            yield replace(self, lease_until=rest, is_leased=True)
        if (rest := self.lease_until.within(Span(-FOREVER, moment.latest))) is not None:
            yield replace(self, lease_until=rest, is_leased=False)

    def without_lease(self) -> Held:
        """The same, when its lease has ended."""
        return replace(self, lease=None, lease_until=NEVER, is_leased=False)

    def at_any_moment(self) -> Held:
        """The same, when it is not known what it is at a moment."""
        return replace(self, phase=Phase.GONE, is_leased=False)


ABSENT: Final = Held()


def is_count(value: bytes) -> bool:
    """Whether a value is a counter: a decimal number of 64 bits in its only form."""
    return bool(_COUNT.fullmatch(value)) and int(value) in COUNTS
