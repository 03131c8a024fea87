"""API rate limiting: of a crowd of requests at one moment exactly the limit is allowed, whichever server they reach.

Without: each server reads the counter, and writes it back with one more, if it is below the limit. All who read before
the first has written find it below the limit.
With: `AsyncRateLimiter` counts on the node, one hit after the other.

Then two bursts, one just before the end of a window and one just behind it. A fixed window allows the limit in both. A
sliding window remembers how much of the window before still counts.

    python -m examples.api_rate_limiting --users 1000 --limit 100
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from examples.common import Report, numbers, own_prefix, start
from wireproto import AsyncClient, AsyncRateLimiter

SERVERS = 4
WINDOW = 1.0
"""Seconds, for the two bursts."""
Allows = Callable[[AsyncClient[bytes]], Awaitable[bool]]


async def allows_by_read_and_write(cache: AsyncClient[bytes], key: str, limit: int) -> bool:
    """Without: what others have counted since the read is lost."""
    count = int(await cache.read(key) or b"0")
    if count >= limit:
        return False
    await cache.write(key, b"%d" % (count + 1), ex=60)
    return True


async def crowd(servers: list[AsyncClient[bytes]], users: int, allows: Allows) -> int:
    """So many requests at once, spread over the servers. How many of them were allowed."""
    requests = [allows(servers[number % SERVERS]) for number in range(users)]
    return sum(await asyncio.gather(*requests))


async def burst(limiter: AsyncRateLimiter, hits: int) -> int:
    """So many hits of one client at once. How many of them were allowed."""
    answers = await asyncio.gather(*(limiter.hit("198.51.100.7") for _ in range(hits)))
    return sum(answer.allowed for answer in answers)


async def bursts_around_the_end_of_a_fixed_window(limiter: AsyncRateLimiter, limit: int) -> tuple[int, int]:
    """What is allowed just before the window's end, and just behind it."""
    first = await limiter.hit("198.51.100.7")  # with it the window begins
    await asyncio.sleep(WINDOW * 0.7)
    before = int(first.allowed) + await burst(limiter, 2 * limit)
    refused = await limiter.hit("198.51.100.7")
    await asyncio.sleep(refused.retry_after)
    return before, await burst(limiter, 2 * limit)


async def bursts_around_the_end_of_a_sliding_window(limiter: AsyncRateLimiter, limit: int) -> tuple[int, int, float]:
    """The same, and which part of the new window had gone by then. These windows are aligned by the clock."""
    await asyncio.sleep((0.7 - time.time() / WINDOW) % 1.0 * WINDOW)
    before = await burst(limiter, 2 * limit)
    ends = (time.time() // WINDOW + 1) * WINDOW
    await asyncio.sleep(ends - time.time())
    behind = await burst(limiter, 2 * limit)
    return before, behind, (time.time() - ends) / WINDOW


async def show(users: int, limit: int) -> int:
    """Run all of it. The exit code."""
    prefix = own_prefix("limit")
    report = Report(f"{users:,} requests at one moment to {SERVERS} servers, limit {limit}")
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(AsyncClient()) for _ in range(SERVERS)]

        naive = await crowd(servers, users, lambda cache: allows_by_read_and_write(cache, prefix + "naive", limit))

        async def allows(cache: AsyncClient[bytes]) -> bool:
            limiter = AsyncRateLimiter(cache, limit, window=60, prefix=prefix)
            return (await limiter.hit("198.51.100.7")).allowed

        exact = await crowd(servers, users, allows)
        report.row("requests allowed", naive, exact)
        report.check(exact == min(users, limit), f"of {users:,} requests exactly {exact} are allowed")

        fixed = AsyncRateLimiter(servers[0], limit, WINDOW, prefix=prefix + "edge:", kind="fixed")
        sliding = AsyncRateLimiter(servers[0], limit, WINDOW, prefix=prefix + "edge:sliding:", kind="sliding")
        (f_before, f_behind), (s_before, s_behind, gone) = await asyncio.gather(
            bursts_around_the_end_of_a_fixed_window(fixed, limit),
            bursts_around_the_end_of_a_sliding_window(sliding, limit),
        )
    report.row("at the end of a window (without: fixed, with: sliding)", None, None)
    report.row("  allowed in a burst just before it", f_before, s_before)
    report.row("  allowed in a burst just behind it", f_behind, s_behind)
    report.check(
        s_behind <= limit * gone + 1, f"a sliding window allows no more than has gone by of it: {gone:.0%} of {limit}"
    )
    return report.finish()


def main() -> int:
    """Run all of it. The exit code."""
    arguments = numbers(__doc__, users=1000, limit=100)
    return asyncio.run(show(arguments.users, arguments.limit))


if __name__ == "__main__":
    start(main)
