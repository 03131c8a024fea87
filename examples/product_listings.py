"""Product listings: the page of an article expires while a crowd wants it, and its price changes while they look.

Without: all who find nothing ask the database, which serves a few at a time; the last of them waits for all others.
With: `get_or_load`. One of them asks the database, and the others get what it has loaded.

Then the price changes again and again, first in the database, then the page is removed from the cache. Without, one who
had loaded the old price just before stores it just behind the DELETE, and all see it until the page expires. With, the
DELETE has ended that load's lease: its page is not stored, and nobody who comes after the DELETE gets it.

    python -m examples.product_listings --users 1000
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

from examples.common import Report, milliseconds, numbers, own_prefix, start
from wireproto import AsyncClient, Codec

SERVERS = 4
LOADING = 0.02
"""Seconds that the database takes for a page."""
AT_ONCE = 20
"""Pages that the database loads at a time."""
CHANGES = 10
Cache = AsyncClient[int]


class Database:
    """Knows the price, and loads the page of the article; here, the page is the price. Loads are counted."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.price = 1
        self.loads = 0
        self._places = asyncio.Semaphore(AT_ONCE)

    async def load(self) -> int:
        """The page, with the price as it was when the load began."""
        self.loads += 1
        async with self._places:
            price = self.price
            await asyncio.sleep(LOADING)
            return price


Page = Callable[[Cache, Database], Awaitable[int | None]]


async def page_without(cache: Cache, database: Database) -> int | None:
    """Whoever finds nothing loads."""
    page = await cache.read(database.key)
    if page is None:
        page = await database.load()
        await cache.write(database.key, page, ex=60)
    return page


async def page_with(cache: Cache, database: Database) -> int | None:
    """One of those who find nothing loads."""
    return await cache.get_or_load(database.key, database.load, ttl=60)


async def crowd(servers: list[Cache], database: Database, page: Page, users: int) -> float:
    """All want a page that is not there. The seconds until the last of them has it."""
    started = time.monotonic()
    await asyncio.gather(*(page(servers[number % SERVERS], database) for number in range(users)))
    return time.monotonic() - started


async def changes(servers: list[Cache], database: Database, page: Page, readers: int) -> tuple[int, int]:
    """The price changes while readers look. How often they saw an old one behind a DELETE, and looked."""
    removed_at = database.price  # the price that was current when the last DELETE was answered
    wrong = seen = 0
    is_over = False

    async def reader(cache: Cache) -> None:
        nonlocal wrong, seen
        while not is_over:
            at_least = removed_at
            price = await page(cache, database)
            seen += 1
            wrong += price is None or price < at_least
            await asyncio.sleep(random.uniform(0, 2 * LOADING))

    tasks = [asyncio.create_task(reader(servers[number % SERVERS])) for number in range(readers)]
    for _ in range(CHANGES):
        database.price += 1
        await servers[0].delete(database.key)
        removed_at = database.price
        # Sometimes shorter than a load, so that the next change meets one.
        await asyncio.sleep(random.uniform(0.2, 4) * LOADING)
    await asyncio.sleep(4 * LOADING)
    is_over = True
    await asyncio.gather(*tasks)
    return wrong, seen


async def show(users: int) -> int:
    """Run both, without and with. The exit code."""
    prefix = own_prefix("product")
    report = Report(f"{users:,} users at one moment want a page that has expired, from {SERVERS} servers")
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(AsyncClient(codec=Codec.json())) for _ in range(SERVERS)]
        without, with_it = Database(prefix + "without"), Database(prefix + "with")
        seconds = await crowd(servers, without, page_without, users)
        seconds_with = await crowd(servers, with_it, page_with, users)
        report.row("loads of the database", without.loads, with_it.loads)
        report.row("until the last user has the page", milliseconds(seconds), milliseconds(seconds_with))
        report.check(with_it.loads == 1, f"with get_or_load {users:,} users cause one load")

        wrong, seen = await changes(servers, without, page_without, min(users, 50))
        wrong_with, seen_with = await changes(servers, with_it, page_with, min(users, 50))
    report.row(f"pages seen while the price changes {CHANGES} times", seen, seen_with)
    report.row("  of these, an old price behind the DELETE", wrong, wrong_with)
    report.check(wrong_with == 0, "with get_or_load nobody who comes after the DELETE sees an old price")
    return report.finish()


def main() -> int:
    """Run both, without and with. The exit code."""
    return asyncio.run(show(numbers(__doc__, users=1000).users))


if __name__ == "__main__":
    start(main)
