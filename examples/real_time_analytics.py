"""Real-time analytics: events of many producers, counted in windows of a second, and a dashboard that reads 60 of them.

Without: a producer reads the counters of its batch, adds, and writes them. What others have added since is lost.
With: `incr` adds on the node. A batch is one pipeline, so one round trip; `ex` lets a window's counter end by itself,
two minutes after its first event, and no later event makes that longer.

    python -m examples.real_time_analytics --users 1000 --events 20
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from examples.common import Report, milliseconds, numbers, own_prefix, start
from wireproto import AsyncClient

SERVERS = 4
WINDOWS = 60
KEPT = 120
"""Seconds that a counter lives."""
BARS = " ▁▂▃▄▅▆▇█"
Cache = AsyncClient[bytes]
Windows = list[int]
"""The window of each event of a batch: the second in which it happened."""
CountBatch = Callable[[Cache, str, Windows], Awaitable[None]]


def batches(producers: int, events: int, now: int) -> list[Windows]:
    """What each producer has seen in the last minute, more of it of late."""
    dice = random.Random(7)
    ages = [[int(dice.triangular(0, WINDOWS, WINDOWS / 4)) for _ in range(events)] for _ in range(producers)]
    return [[now - min(age, WINDOWS - 1) for age in batch] for batch in ages]


async def count_by_read_and_write(cache: Cache, prefix: str, batch: Windows) -> None:
    """Without: two round trips, and what others count between them is lost."""
    added = Counter(f"{prefix}{window}" for window in batch)
    found = await cache.read_many(added)
    counts = {key: int(value) if isinstance(value, bytes) else 0 for key, value in found.items()}
    await cache.write_many({key: b"%d" % (counts[key] + added[key]) for key in added}, ex=KEPT)


async def count_by_incr(cache: Cache, prefix: str, batch: Windows) -> None:
    """With: one round trip for all events of the batch."""
    async with cache.pipeline() as pipeline:
        for window, count in Counter(batch).items():
            pipeline.incr(f"{prefix}{window}", count, ex=KEPT)


async def produce(servers: list[Cache], prefix: str, all_batches: list[Windows], count: CountBatch) -> float:
    """All producers count their batches at once. The seconds that this takes."""
    started = time.monotonic()
    jobs = [count(servers[number % SERVERS], prefix, batch) for number, batch in enumerate(all_batches)]
    await asyncio.gather(*jobs)
    return time.monotonic() - started


async def dashboard(cache: Cache, prefix: str, now: int) -> tuple[list[int], float]:
    """The counters of all windows, the oldest first, in one round trip; and the seconds that it takes."""
    started = time.monotonic()
    async with cache.pipeline() as pipeline:
        answers = [pipeline.read(f"{prefix}{now - age}") for age in reversed(range(WINDOWS))]
    return [int(answer.result() or b"0") for answer in answers], time.monotonic() - started


async def dashboard_one_by_one(cache: Cache, prefix: str, now: int) -> tuple[list[int], float]:
    """The same in as many round trips as there are windows."""
    started = time.monotonic()
    answers = [await cache.read(f"{prefix}{now - age}") for age in reversed(range(WINDOWS))]
    return [int(answer or b"0") for answer in answers], time.monotonic() - started


def plot(counts: list[int]) -> str:
    """A line of bars."""
    top = max(*counts, 1)
    return "".join(BARS[(count * (len(BARS) - 1) + top - 1) // top] for count in counts)


async def show(producers: int, events: int) -> int:
    """Run both, without and with. The exit code."""
    prefix, now = own_prefix("analytics"), int(time.time())
    all_batches = batches(producers, events, now)
    happened = Counter(window for batch in all_batches for window in batch)
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(AsyncClient()) for _ in range(SERVERS)]
        seconds = await produce(servers, prefix + "naive:", all_batches, count_by_read_and_write)
        seconds_with = await produce(servers, prefix, all_batches, count_by_incr)
        naive, reading = await dashboard_one_by_one(servers[0], prefix + "naive:", now)
        counts, reading_with = await dashboard(servers[0], prefix, now)
        life = await servers[0].read(f"{prefix}{happened.most_common(1)[0][0]}", with_ttl=True)

    total = producers * events
    report = Report(f"{producers:,} producers with {events} events each, in {WINDOWS} windows: {total:,} events")
    report.row("events counted", sum(naive), sum(counts))
    report.row("to count them", milliseconds(seconds), milliseconds(seconds_with))
    report.row(f"to read {WINDOWS} windows, one by one and in a pipeline", *map(milliseconds, (reading, reading_with)))
    report.check(sum(counts) == total, f"with incr all of {total:,} events are counted")
    report.check(
        counts == [happened[now - age] for age in reversed(range(WINDOWS))], "with incr each window has its own events"
    )
    report.check(
        life is not None and life.ttl is not None and life.ttl <= KEPT,
        f"with ex={KEPT} a window's counter ends by itself",
    )
    code = report.finish()
    print(f"\n  {WINDOWS} s ago |{plot(counts)}| now, at most {max(counts):,} events in a second")
    return code


def main() -> int:
    """Run both, without and with. The exit code."""
    arguments = numbers(__doc__, users=1000, events=20)
    return asyncio.run(show(arguments.users, arguments.events))


if __name__ == "__main__":
    start(main)
