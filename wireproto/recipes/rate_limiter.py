"""How often somebody may do something, counted in the cache for all processes together."""

# ruff: noqa: ASYNC109 - `timeout` is the call's own, over all its attempts; it needs no task and no timer.

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from wireproto.client.aio import AsyncClient
from wireproto.client.sync import Client
from wireproto.core.call_plan import Plan
from wireproto.core.calls import Key
from wireproto.core.rate_windows import Kind, RateLimit, rate_window

C = TypeVar("C", Client[Any], AsyncClient[Any])


class _Limiter(Generic[C]):
    """What both limiters are made of."""

    def __init__(
        self,
        client: C,
        limit: int,
        window: float,
        *,
        prefix: str = "rate:",
        kind: Kind = "fixed",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client: C = client
        self._window = rate_window(kind, limit, window, prefix)
        self._clock = clock


class RateLimiter(_Limiter[Client[Any]]):
    """Allows `limit` hits in `window` seconds to each of those who are named in `hit`.

        limiter = RateLimiter(client, limit=100, window=60)
        if not limiter.hit(address).allowed: ...

    `kind`: a "fixed" window begins with its first hit; a "sliding" one moves on, and needs the clocks of those who
    count to agree (`clock`: Unix time in seconds). What each of them means, and that refused hits are counted too, is
    told in `wireproto.core.rate_windows`. Limiters with the same `prefix`, `kind` and `window` count together: what is
    limited apart needs a prefix of its own. Raises ArgumentError for what cannot work.
    """

    def hit(self, who: Key, cost: int = 1, *, timeout: float | None = None) -> RateLimit:
        """Count a hit, in one round trip. Raises a RequestError if the cache fails: what then is the caller's choice.

        It is never counted twice; after LostError, NodeTimeoutError or InternalError it may have been counted.
        """
        now = self._clock()
        plan = Plan.in_a_row(self._window.calls(who, cost, now))
        self._client._execute(plan, timeout)
        return self._window.verdict(plan.results(), cost, now)


class AsyncRateLimiter(_Limiter[AsyncClient[Any]]):
    """As `RateLimiter`, with an `AsyncClient`."""

    async def hit(self, who: Key, cost: int = 1, *, timeout: float | None = None) -> RateLimit:
        """Count a hit; see `RateLimiter.hit`."""
        now = self._clock()
        plan = Plan.in_a_row(self._window.calls(who, cost, now))
        await self._client._execute(plan, timeout)
        return self._window.verdict(plan.results(), cost, now)
