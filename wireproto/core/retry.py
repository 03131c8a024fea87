"""What may be sent again, and when. The clock and the dice are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wireproto.errors import (
    Effect,
    ExpiredError,
    InternalError,
    LostError,
    NodeTimeoutError,
    RequestError,
    WireprotoError,
)

_UNKNOWN_OUTCOME: Final = (LostError, NodeTimeoutError, InternalError)


def may_retry(error: RequestError, *, harmless: bool) -> bool:
    """Whether a request that failed with `error` may be sent again.

    What surely changed nothing may, if there is a point in it. What may have taken effect may only if it is harmless,
    that is, changes nothing anyway. An expired token is among the first: the client logs in again.

    NOSYNC says that the write did take effect, so nobody but its caller knows whether it is harmless to write again:
    meanwhile another may have written the key, `nx` would now be a conflict, a DELETE a miss. And where replicas were
    missing for the server's whole time-out, they will be for the next one.
    """
    if error.took_effect is Effect.NO:
        return error.retryable or isinstance(error, ExpiredError)
    return harmless and isinstance(error, _UNKNOWN_OUTCOME)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is sent again, and the seconds between: full jitter below `base * 2 ** attempts`, at most `cap`.

    Full jitter (a random part of the delay, not a random addition to it) parts clients that failed together best.
    """

    retries: int = 2
    base: float = 0.02
    cap: float = 2.0

    def delay(self, failures: int, random: float) -> float:
        """Seconds to wait after this many failures; `random` is from 0 up to 1."""
        return random * min(self.cap, self.base * 2.0 ** min(failures, 32))

    def delay_after(self, error: RequestError, attempts: int, random: float) -> float:
        """Seconds to wait after an attempt that failed; never less than the server asked for."""
        if error.retry_after is None:
            return self.delay(attempts, random)
        return error.retry_after + random * max(self.base, error.retry_after / 4)


class Backoff:
    """When to try to connect again. While it says to wait, calls fail at once with what went wrong last time."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self._not_before = 0.0
        self._failed_at = 0.0
        self.error: WireprotoError | None = None

    def remaining(self, now: float) -> float:
        """Seconds until the next attempt; 0 if it may be made now."""
        return max(0.0, self._not_before - now)

    def failed(self, error: WireprotoError, started: float, now: float, random: float) -> None:
        """Note an attempt that failed. Those that began before the last failure was known count as one with it.

        A server that says when to come again is not asked before.
        """
        if self._failures and started < self._failed_at:
            return
        self._failures += 1
        self._failed_at = now
        asked_for = error.retry_after if isinstance(error, RequestError) else None
        self._not_before = now + max(self._policy.delay(self._failures, random), asked_for or 0.0)
        self.error = error

    def succeeded(self) -> None:
        """A connection stands."""
        self._failures = 0
        self._not_before = 0.0
        self.error = None
