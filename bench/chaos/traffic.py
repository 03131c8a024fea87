"""Loads that go on while something is done to the nodes, and the client's own pauses beside them."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.chaos.driving import FINAL_RETRIES
from bench.chaos.entries import OK, Entry
from bench.chaos.ledger import Ledger, LedgerClient, Load
from bench.chaos.running import ChaosError
from wireproto import AsyncClient
from wireproto.errors import RequestError

TICK: Final = 0.005
"""Seconds between two looks at whether this process is on time."""
_NOTABLE: Final = 0.002
_CALL: Final = 15.0
"""Seconds that a client waits: well above what the server allows itself."""
_KEYS_EACH: Final = 10
_WRITES_EACH: Final = 4000
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
                self.note(now, now - due)

    def note(self, moment: float, late: float) -> None:
        """It came to its turn at this moment, so many seconds late."""
        self._found.append((moment, late))

    @property
    def longest(self) -> float:
        """Seconds."""
        return max((late for _, late in self._found), default=0.0)

    def within(self, start: float, end: float) -> float:
        """The longest pause that a request of that time may have waited for, in seconds."""
        return max((late for moment, late in self._found if moment - late < end and start < moment), default=0.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a shard is loaded: by some clients that read and write a few keys, and as many that write ever new ones."""

    clients: int = 8
    """Of each kind."""
    pause: float = 0.01
    """Seconds between a client's requests, also after an error: an outage is to be no relief for other shards."""

    def loads(self, prefix: str, seed: int, sync: int | None) -> tuple[Load, Load]:
        """The two; writes ask for `sync` replicas unless that is None."""
        common = Load(
            clients=self.clients,
            keys=self.clients * _KEYS_EACH,
            timeout=_CALL,
            pause=self.pause,
            pause_after_error=self.pause,
            prefix=prefix,
            seed=seed,
            write_options={} if sync is None else {"sync": sync},
        )
        once = replace(common, keys=self.clients * _WRITES_EACH, write_share=1.0, in_turn=True, prefix=f"{prefix}-once")
        return common, once


USUAL: Final = Pace()


class Traffic:
    """Loads of shards, from the beginning of a block until `stop` or its end. Raises what a client raises."""

    def __init__(self, url: str, loads: Mapping[str, Sequence[Load]]) -> None:
        self._ledgers = {shard: Ledger() for shard in loads}
        self._url = url
        self._clients = []
        for shard, several in loads.items():
            for load in several:
                client = LedgerClient(url, load)
                client.ledger = self._ledgers[shard]
                self._clients.append(client)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[Ledger]] = []
        self._watch: asyncio.Task[None] | None = None
        self.stalls = Stalls()

    async def __aenter__(self) -> Traffic:
        # A collection of the growing ledger would be a pause of the clients.
        gc.collect()
        gc.disable()
        self._watch = asyncio.create_task(self.stalls.watch())
        self._tasks = [asyncio.create_task(client.run(self._stop)) for client in self._clients]
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

    def ledger(self, shard: str) -> Ledger:
        """All requests for a shard so far."""
        return self._ledgers[shard]

    def entries(self, shard: str) -> list[Entry]:
        """The same."""
        return self._ledgers[shard].entries

    async def final_values(self, shard: str) -> dict[bytes, bytes | None]:
        """What the keys hold that were written, when it is over. Raises ChaosError when some cannot be read."""
        keys = list(dict.fromkeys(entry.key for entry in self.entries(shard) if entry.verb == "WRITE"))
        found: dict[bytes, bytes | None] = {}
        async with AsyncClient(self._url, retries=FINAL_RETRIES, timeout=_CALL) as client:
            try:
                for key, value in (await client.read_many(keys)).items():
                    if isinstance(value, RequestError):
                        raise value
                    found[key] = value
            except RequestError as error:
                raise ChaosError(f"{len(keys)} keys of {shard} could not be read in the end: {error!r}") from error
        return found

    async def accepted_write(self, shard: str, moment: float, within: float = _RECOVERY) -> float:
        """Wait for a write that was begun after a moment to be accepted.

        Seconds from that moment to its answer; infinite when none was in time.
        """
        seen = len(self.entries(shard))
        while seen and self.entries(shard)[seen - 1].started >= moment:
            seen -= 1
        while time.monotonic() < moment + within:
            found = _first_accepted(self.entries(shard), seen)
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
