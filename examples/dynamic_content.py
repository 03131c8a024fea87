"""Dynamic content: a page that expires under load is rendered by one reader, and nobody else waits.

Without: every reader who comes after the page has expired renders it, and waits for that. This is a stampede: the more
readers there are, the more render at once.
With: `get_or_load(..., stale=30)`. When the page's time is over, one reader renders it, and the others get the page as
it was, at once.

    python -m examples.dynamic_content --users 1000 --seconds 3
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from examples.common import Report, milliseconds, numbers, own_prefix, percentile, start
from wireproto import AsyncClient, Codec

SERVERS = 4
LIFETIME = 0.5
"""Seconds until the page has to be rendered anew."""
RENDERING = 0.2
"""Seconds that this takes."""
PAUSE = 1.0
"""Seconds between two requests of a reader, on average."""
Page = Callable[[AsyncClient[str], "Site"], Awaitable[str | None]]


class Site:
    """Renders the page, slowly, and counts how often."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.renderings = 0
        self.under_way = 0

    async def render(self) -> str:
        """What the cache is to save."""
        self.renderings += 1
        self.under_way += 1
        await asyncio.sleep(RENDERING)
        self.under_way -= 1
        return "<html>...</html>"


@dataclass
class Requests:
    """How long they took, in seconds."""

    all: list[float] = field(default_factory=list)
    during_renderings: list[float] = field(default_factory=list)
    """Those that came while somebody was rendering."""


async def page_without(cache: AsyncClient[str], site: Site) -> str | None:
    """Whoever finds nothing renders."""
    page = await cache.read(site.key)
    if page is None:
        page = await site.render()
        await cache.write(site.key, page, px=int(LIFETIME * 1000))
    return page


async def page_with(cache: AsyncClient[str], site: Site) -> str | None:
    """One of those who find nothing, or an old page, renders."""
    return await cache.get_or_load(site.key, site.render, ttl=LIFETIME, stale=30)


async def read_for_a_while(
    servers: list[AsyncClient[str]], site: Site, page: Page, users: int, seconds: float
) -> Requests:
    """Readers ask for the page again and again, through several servers."""
    requests = Requests()
    await page(servers[0], site)  # the page is there when the crowd comes
    ends = time.monotonic() + seconds

    async def reader(cache: AsyncClient[str]) -> None:
        while (pause := random.uniform(0, 2 * PAUSE)) < ends - time.monotonic():
            await asyncio.sleep(pause)
            started = time.monotonic()
            is_rendered_now = site.under_way > 0
            await page(cache, site)
            requests.all.append(time.monotonic() - started)
            if is_rendered_now:
                requests.during_renderings.append(requests.all[-1])

    await asyncio.gather(*(reader(servers[number % SERVERS]) for number in range(users)))
    return requests


async def show(users: int, seconds: int) -> int:
    """Run both, without and with. The exit code."""
    prefix = own_prefix("content")
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(AsyncClient(codec=Codec.text())) for _ in range(SERVERS)]
        without, with_it = Site(prefix + "without"), Site(prefix + "with")
        naive = await read_for_a_while(servers, without, page_without, users, seconds)
        started = time.monotonic()
        stale = await read_for_a_while(servers, with_it, page_with, users, seconds)
        expiries = int((time.monotonic() - started) / LIFETIME) + 1

    report = Report(f"{users:,} readers of a page that expires every {LIFETIME} s and takes {RENDERING} s to render")
    both = naive, stale
    report.row("requests", *(len(requests.all) for requests in both))
    report.row("renderings", without.renderings, with_it.renderings)
    report.row("p99 of a request", *(milliseconds(percentile(requests.all, 99)) for requests in both))
    report.row("requests that came during a rendering", *(len(requests.during_renderings) for requests in both))
    report.row("  p90 of these", *(milliseconds(percentile(requests.during_renderings, 90)) for requests in both))
    report.check(
        with_it.renderings <= expiries,
        f"with stale= the page is rendered once each time it expires: {with_it.renderings} times",
    )
    report.check(
        percentile(stale.during_renderings, 90) < RENDERING,
        "with stale= those who come during a rendering do not wait for it",
    )
    return report.finish()


def main() -> int:
    """Run both, without and with. The exit code."""
    arguments = numbers(__doc__, users=1000, seconds=3)
    return asyncio.run(show(arguments.users, arguments.seconds))


if __name__ == "__main__":
    start(main)
