"""Processes that want values, for the tests of loading: `python -m tests.live.loading_child WHAT URL FOLDER`.

Each says `ready`, waits for a line on its standard input, does what it is for, and prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from wireproto import AsyncClient, Client, RateLimiter

THREADS, TASKS = 50, 1000


class CountingLoader:
    """Notes each call in a file that all processes share, and takes its time."""

    def __init__(self, folder: Path, seconds: float = 0.3) -> None:
        self._path = folder / "loads"
        self._seconds = seconds

    def __call__(self) -> bytes:
        self.note()
        time.sleep(self._seconds)
        return b"value"

    async def later(self) -> bytes:
        """The same for coroutines."""
        self.note()
        await asyncio.sleep(self._seconds)
        return b"value"

    def note(self) -> None:
        """One line for each call."""
        with self._path.open("ab", buffering=0) as file:
            file.write(b"%d %.6f\n" % (os.getpid(), time.time()))


def wait_for_start() -> None:
    """All processes begin at once."""
    print("ready", flush=True)
    sys.stdin.readline()


def crowd(url: str, folder: Path) -> dict[str, int]:
    """Threads and tasks that all want one key. How many got which value."""
    loader = CountingLoader(folder)
    got: Counter[str] = Counter()

    def blocking() -> None:
        value = client.get_or_load("crowded", loader, ttl=60)
        got[str(value)] += 1

    async def tasks() -> None:
        async with AsyncClient(url) as other:
            await other.ping()
            wait_for_start()
            for thread in threads:
                thread.start()
            values = await asyncio.gather(*[other.get_or_load("crowded", loader.later, ttl=60) for _ in range(TASKS)])
            got.update(map(str, values))

    with Client(url, timeout=20) as client:
        threads = [threading.Thread(target=blocking) for _ in range(THREADS)]
        asyncio.run(tasks())
        for thread in threads:
            thread.join()
    return dict(got)


def hang(url: str, folder: Path) -> None:
    """Begin to load, and never end."""

    def load() -> bytes:
        CountingLoader(folder).note()
        print("loading", flush=True)
        time.sleep(60)
        return b"never"

    with Client(url) as client:
        wait_for_start()
        client.get_or_load("hanging", load, ttl=60, lease=float(sys.argv[4]))


def early(url: str, folder: Path) -> dict[str, int]:
    """Read a value again and again that is loaded anew before its time is over. How often that was."""
    loader = CountingLoader(folder, 0.02)
    reads = 0

    async def run() -> None:
        async with AsyncClient(url) as client:
            await client.ping()
            wait_for_start()
            end = time.monotonic() + 3.0
            await asyncio.gather(*[read(client, end) for _ in range(10)])

    async def read(client: AsyncClient[bytes], end: float) -> None:
        nonlocal reads
        while time.monotonic() < end:
            assert await client.get_or_load("early", loader.later, ttl=1.0, early=0.05) == b"value"
            reads += 1
            await asyncio.sleep(0.004)

    asyncio.run(run())
    return {"reads": reads}


def hits(url: str, _folder: Path) -> dict[str, int]:
    """Threads that hit a limit of 100. How often they were allowed to, and how often not."""
    outcomes: Counter[str] = Counter()
    with Client(url) as client:
        limiter = RateLimiter(client, 100, 30, prefix="processes:")

        def hit() -> None:
            for _ in range(25):
                outcomes["allowed" if limiter.hit("all").allowed else "refused"] += 1

        client.ping()
        wait_for_start()
        threads = [threading.Thread(target=hit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return dict(outcomes)


WHAT: dict[str, Callable[[str, Path], dict[str, int] | None]] = {
    "crowd": crowd,
    "hang": hang,
    "early": early,
    "hits": hits,
}

if __name__ == "__main__":
    print(json.dumps(WHAT[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))), flush=True)
