"""Clients that load a server and write everything down."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.chaos.entries import MISS, OK, Entry, Verb, value_of
from bench.chaos.record import Ledger
from wireproto import AsyncClient
from wireproto.errors import RequestError

GRACE: Final = 2.0
"""Seconds beyond its time-out that a request under way may take when it is time to stop; then it is cancelled."""

FINAL_RETRIES: Final = 20
"""How often what is no part of the ledger is asked again, within the time-out."""


@dataclass(frozen=True, slots=True)
class Load:
    """What clients do. Keys are dealt out: each has one writer, unless `many_writers`; everybody reads them all."""

    clients: int = 16
    """Each with a connection of its own, and one request at a time."""
    keys: int = 200
    write_share: float = 0.5
    delete_share: float = 0.0
    """Shares of the requests; the rest are reads."""
    many_writers: bool = False
    in_turn: bool = False
    """A client writes its keys one after the other, and not at random: as long as it has more keys than writes, each
    is written once, so that no write that gets lost is hidden by a later one."""
    timeout: float = 5.0
    """Seconds for each call."""
    write_options: Mapping[str, Any] = field(default_factory=dict)
    """Passed on to every `write`."""
    pause: float = 0.0
    """Seconds between a client's requests."""
    pause_after_error: float = 0.01
    """Seconds before its next request when one failed: a server that cannot be reached refuses at once."""
    prefix: str = "ledger"
    """How keys begin."""
    value_size: int = 0
    """Bytes to which values are padded."""
    seed: int = 1

    @property
    def names(self) -> list[bytes]:
        """All keys."""
        return [f"{self.prefix}:{number}".encode() for number in range(self.keys)]


class LedgerClient:
    """Concurrent clients of one server; `ledger` is what they have seen so far. Without a URL it is WIREPROTO_URL's."""

    def __init__(self, url: str | None, load: Load) -> None:
        self.load = load
        self.ledger = Ledger()
        self._url = url
        self._stop = asyncio.Event()
        self._operations_left = float("inf")
        self._names = load.names

    def _client(self, retries: int = 0) -> AsyncClient[bytes]:
        timeout = self.load.timeout
        return AsyncClient(self._url, retries=retries, timeout=timeout, connect_timeout=timeout)

    async def run(
        self, stop: asyncio.Event | None = None, *, seconds: float | None = None, operations: int | None = None
    ) -> Ledger:
        """Load the server until `stop` is set, the time is over, or so many requests were begun.

        Requests under way are waited for, but no longer than `GRACE` seconds beyond their time-out: what has no end
        then keeps none in the ledger. Raises what a client raises that is no RequestError.
        """
        self._stop = stop or asyncio.Event()
        self._operations_left = float("inf") if operations is None else operations
        workers = [asyncio.ensure_future(self._work(number)) for number in range(self.load.clients)]
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await self._until_over([*workers, stopping], workers, stopping, seconds)
            await asyncio.wait(workers, timeout=self.load.timeout + GRACE)
        finally:
            for task in (*workers, stopping):
                task.cancel()
            results = await asyncio.gather(*workers, stopping, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return self.ledger

    async def _until_over(
        self,
        waited_for: list[asyncio.Task[Any]],
        workers: list[asyncio.Task[None]],
        stopping: asyncio.Task[Any],
        seconds: float | None,
    ) -> None:
        """Return when it is time to stop: a worker that has failed is a reason, too."""
        deadline = None if seconds is None else time.monotonic() + seconds
        pending: set[asyncio.Task[Any]] = set(waited_for)
        while not stopping.done() and not all(worker.done() for worker in workers):
            left = None if deadline is None else deadline - time.monotonic()
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done or any(task.exception() for task in done):
                break
        self._stop.set()

    async def _work(self, number: int) -> None:
        load, dice = self.load, random.Random(self.load.seed * 1_000_003 + number)
        names = self._names
        own = names if load.many_writers else names[number :: load.clients]
        sequences: Counter[bytes] = Counter()
        async with self._client() as client:
            while not self._stop.is_set() and self._operations_left > 0:
                self._operations_left -= 1
                chance = dice.random()
                if not own or chance >= load.write_share + load.delete_share:
                    entry = self._begin(number, "READ", dice.choice(names))
                elif chance < load.delete_share:
                    entry = self._begin(number, "DELETE", dice.choice(own))
                else:
                    key = own[sequences.total() % len(own)] if load.in_turn else dice.choice(own)
                    sequences[key] += 1
                    entry = self._begin(number, "WRITE", key, value_of(key, number, sequences[key], load.value_size))
                pause = load.pause if await self._ask(client, entry) else load.pause_after_error
                if pause:
                    await self._rest(pause)

    def _begin(self, number: int, verb: Verb, key: bytes, value: bytes | None = None) -> Entry:
        entry = Entry(number, verb, key, value, time.monotonic())
        self.ledger.entries.append(entry)
        return entry

    async def _ask(self, client: AsyncClient[bytes], entry: Entry) -> bool:
        """Send the request and write down what comes of it; whether that was OK or MISS."""
        try:
            if entry.verb == "READ":
                entry.value = await client.read(entry.key)
                found = entry.value is not None
            elif entry.verb == "DELETE":
                found = await client.delete(entry.key)
            else:
                assert entry.value is not None
                found = await client.write(entry.key, entry.value, **self.load.write_options)
                assert found, "the options of a write must set no condition"
            outcome = OK if found else MISS
        except RequestError as error:
            outcome, entry.text = error.code, str(error)
        entry.ended = time.monotonic()
        entry.outcome = outcome
        return entry.succeeded

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until it is time to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    async def clear(self) -> None:
        """Remove all keys, so that they are absent when the ledger begins. Raises a RequestError."""
        async with self._client(FINAL_RETRIES) as client:
            for error in (await client.delete_many(self.load.names)).values():
                if isinstance(error, RequestError):
                    raise error

    async def final_values(self) -> dict[bytes, bytes | None]:
        """What all keys hold now, for `Ledger.lost_writes`. A key that cannot be read is left out."""
        async with self._client(FINAL_RETRIES) as client:
            try:
                values = await client.read_many(self.load.names)
            except RequestError:
                return {}
        return {key: value for key, value in values.items() if not isinstance(value, RequestError)}
