"""Loads that go on while something is done to the nodes, and the client's own pauses beside them."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import time
from collections.abc import Mapping
from typing import Final

from bench.chaos.entries import OK, Entry
from bench.chaos.ledger import Ledger, LedgerClient, Load
from bench.chaos.running import ChaosError

TICK: Final = 0.005
"""Seconds between two looks at whether this process is on time."""
_NOTABLE: Final = 0.002
_RECOVERY: Final = 20.0
_LOOK: Final = 0.02


class Stalls:
    """When this process did not come to its turn: an answer may have waited for it, and not for the server."""

    def __init__(self) -> None:
        self._found: list[tuple[float, float]] = []
        """When it came to its turn again, and how many seconds late."""

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            now = time.monotonic()
            if now - due > _NOTABLE:
                self._found.append((now, now - due))

    @property
    def longest(self) -> float:
        """Seconds."""
        return max((late for _, late in self._found), default=0.0)

    def within(self, start: float, end: float) -> float:
        """The longest pause that a request of that time may have waited for, in seconds."""
        return max((late for moment, late in self._found if moment - late < end and start < moment), default=0.0)


class Traffic:
    """Loads by name, from the beginning of a block until `stop` or its end. Raises what a client raises."""

    def __init__(self, url: str, loads: Mapping[str, Load]) -> None:
        self._clients = {name: LedgerClient(url, load) for name, load in loads.items()}
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[Ledger]] = []
        self._watch: asyncio.Task[None] | None = None
        self.stalls = Stalls()

    async def __aenter__(self) -> Traffic:
        # A collection of the growing ledger would be a pause of the clients.
        gc.collect()
        gc.disable()
        self._watch = asyncio.create_task(self.stalls.watch())
        self._tasks = [asyncio.create_task(client.run(self._stop)) for client in self._clients.values()]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Wait for what is under way."""
        self._stop.set()
        try:
            await asyncio.gather(*self._tasks)
        finally:
            gc.enable()
            if self._watch is not None:
                self._watch.cancel()

    async def go_on(self, seconds: float) -> None:
        """Let the loads run. Raises what a client has failed with."""
        done, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def entries(self, name: str) -> list[Entry]:
        """All requests of a load so far."""
        return self._clients[name].ledger.entries

    def ledger(self, name: str) -> Ledger:
        """The ledger of a load."""
        return self._clients[name].ledger

    async def final_values(self, name: str) -> dict[bytes, bytes | None]:
        """What its keys hold, when it is over. Raises ChaosError when some cannot be read."""
        client = self._clients[name]
        found = await client.final_values()
        if len(found) < client.load.keys:
            raise ChaosError(f"only {len(found)} of {client.load.keys} keys could be read in the end")
        return found

    async def clear(self) -> None:
        """Remove the keys of all loads."""
        for client in self._clients.values():
            await client.clear()

    async def accepted_write(self, name: str, moment: float, timeout: float = _RECOVERY) -> float:
        """Wait for a write that was begun after a moment to be accepted.

        Seconds from that moment to its answer; infinite when none was in time.
        """
        seen = len(self.entries(name))
        while seen and self.entries(name)[seen - 1].started >= moment:
            seen -= 1
        while time.monotonic() < moment + timeout:
            found = _first_accepted(self.entries(name), seen)
            if not math.isinf(found):
                return found - moment
            await self.go_on(_LOOK)
        return math.inf


def _first_accepted(entries: list[Entry], first: int) -> float:
    done = itertools.islice(entries, first, None)
    return min(
        (entry.ended for entry in done if entry.verb == "WRITE" and entry.outcome == OK and entry.ended is not None),
        default=math.inf,
    )
