"""How a value that is loaded on demand is kept, and how patient those are who want it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypedDict

from wireproto.errors import ArgumentError

_MAX_KEPT: Final = 10_000_000_000
_MAX_LEASE: Final = 3_600
_MAX_EARLY: Final = 86_400
"""Seconds that the protocol takes."""


class LoadOptions(TypedDict, total=False):
    """What `get_or_load` takes by name besides the time to live. All times are in seconds."""

    stale: float
    """For so long after its time to live a value is served while one caller loads a new one, or cannot."""
    early: float
    """A value is loaded anew before its time is over: about so long before, at random."""
    lease: float
    """For so long one caller alone may load the value. It should be longer than any load takes."""
    missing_ttl: float
    """For so long it is remembered that there is nothing to load; 0: it is not."""
    wait: float | None
    """For so long a caller waits for the load of another, then loads the value itself; None: for the lease's time."""


@dataclass(frozen=True, slots=True)
class LoadTerms:
    """What `get_or_load` was told, checked; see `LoadOptions`. Raises ArgumentError."""

    ttl: float
    stale: float = 0.0
    early: float = 0.0
    lease: float = 10.0
    missing_ttl: float = 0.0
    wait: float | None = None

    def __post_init__(self) -> None:
        _check("ttl", self.ttl, _MAX_KEPT, may_be_zero=False)
        _check("stale", self.stale, _MAX_KEPT)
        _check("early", self.early, _MAX_EARLY)
        _check("lease", self.lease, _MAX_LEASE, may_be_zero=False)
        _check("missing_ttl", self.missing_ttl, _MAX_KEPT)
        if self.wait is not None:
            _check("wait", self.wait, _MAX_KEPT)

    @property
    def ttl_ms(self) -> int:
        """The time to live, for the option `px`."""
        return max(1, round(self.ttl * 1000))

    @property
    def missing_ms(self) -> int:
        """How long it is remembered that nothing is there, for the option `px`."""
        return max(1, round(self.missing_ttl * 1000))

    @property
    def stale_seconds(self) -> int | None:
        """For the option `stale`, which takes whole seconds."""
        return math.ceil(self.stale) or None

    def patience(self, timeout: float | None) -> float:
        """Seconds to wait for the load of another, in a call with this time-out."""
        wait = self.lease if self.wait is None else self.wait
        return wait if timeout is None else min(wait, timeout)

    def draw_early(self, random: float) -> float | None:
        """How long before its end a value is loaded anew, this time; `random` is from 0 up to 1.

        The exponential distribution is the best choice for callers who do not know of each other: A. Vattani,
        F. Chierichetti, K. Lowenstein, Optimal Probabilistic Cache Stampede Prevention, VLDB 2015.
        """
        if not self.early:
            return None
        return min(max(self.early * -math.log(1.0 - random), 0.001), float(_MAX_EARLY))


def _check(name: str, seconds: object, most: int, *, may_be_zero: bool = True) -> None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= most or not (seconds or may_be_zero):  # type: ignore[operator]
        least = "from 0" if may_be_zero else "more than 0,"
        raise ArgumentError(f"{name} must be a number of seconds, {least} to {most}")
