"""Read, change, write, and again if somebody else was faster: the decisions of one such update.

    reading ──> the value, with its version ──> changed by the caller ──> writing ──> stored
       ^                                                                     │
       └──────────────── delay: with jitter, longer each time <───────── CONFLICT

A shell runs the calls and waits. The clock and the dice are arguments.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar, Unpack

from wireproto.core.call_plan import Call
from wireproto.core.calls import Calls, Key
from wireproto.core.results import Versioned
from wireproto.core.retry import RetryPolicy
from wireproto.core.store_options import Storing
from wireproto.errors import ArgumentError, ConflictError, DeadlineError

V = TypeVar("V")

_CONTENTION: Final = RetryPolicy(base=0.004, cap=1.0)
"""The delays. Of 50 clients that begin at once, with 0.5 to 30 ms for a round, the last one needs 7 to 13 attempts."""


class Update(Generic[V]):
    """One update, until `deadline`, with so many `attempts` at most. Raises ArgumentError for what cannot work."""

    def __init__(
        self,
        calls: Calls[V],
        key: Key,
        attempts: int,
        deadline: float,
        **storing: Unpack[Storing],
    ) -> None:
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise ArgumentError("attempts is a whole number from 1")
        calls.check_storing(**storing)
        self.reading: Call[Versioned[V] | None] = calls.read_with_version(key)
        """Asks for what there is now."""
        self._calls = calls
        self._key = key
        self._attempts = attempts
        self._deadline = deadline
        self._storing = storing
        self._version = ""
        """Of what is to be changed; "" if there is nothing yet."""
        self._conflicts = 0

    def note(self, found: Versioned[V] | None) -> V | None:
        """Take what `reading` has found: the value that is to be changed, or None for a miss."""
        if found is None:
            self._version = ""
            return None
        self._version = found.version
        return found.value

    def writing(self, value: V) -> Call[bool]:
        """Stores the changed value, if nobody has written or removed the key since. Raises ArgumentError."""
        return self._calls.write(self._key, value, nx=not self._version, version=self._version, **self._storing)

    def time_left(self, now: float) -> float:
        """Seconds for the next call. Raises DeadlineError when there are none."""
        if now >= self._deadline:
            raise DeadlineError("not written: the time is used up")
        return self._deadline - now

    def delay(self, now: float, random: float) -> float:
        """Seconds to wait after a conflict; `random` is from 0 up to 1.

        Raises ConflictError when the attempts are used up, or the time will be.
        """
        self._conflicts += 1
        delay = _CONTENTION.delay(self._conflicts, random)
        if self._conflicts >= self._attempts or now + delay >= self._deadline:
            raise ConflictError(f"not written: others changed the key meanwhile, {self._conflicts} times in a row")
        return delay
