"""Clients that load a server with requests under conditions, and write everything down."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from bench.chaos.asking import Asker, ask_in_turn
from bench.chaos.exchanges import Exchange, Kind
from bench.chaos.users import COUNTER, LEASE, REGISTER, CounterUser, LeaseUser, RegisterUser, User

PAUSE_AFTER_ERROR: Final = 0.01
"""Seconds: a server that cannot be reached refuses at once."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many clients of each kind there are, on how many keys of each kind."""

    registers: int = 6
    leases: int = 6
    counters: int = 4
    keys: int = 10
    lease: int = 1500
    """Milliseconds for which a lease is asked for."""
    pause: float = 0.001
    """Seconds between a client's packets."""
    prefix: bytes = b""
    seed: int = 1


class ConditionalLoad:
    """Loads a server from the beginning of a block to its end. `exchanges` is what was asked so far."""

    def __init__(self, url: str, crowd: Crowd) -> None:
        self.exchanges: list[Exchange] = []
        self._url = url
        self._crowd = crowd
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work(user)) for user in self._users()]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def go_on(self, seconds: float) -> None:
        """Let it run. Raises what a client has failed with."""
        done, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def _users(self) -> list[User]:
        crowd = self._crowd
        bits = itertools.count()
        numbers = itertools.count()

        def dice(number: int) -> random.Random:
            return random.Random(crowd.seed * 1_000_003 + number)

        users: list[User] = []
        for number in itertools.islice(numbers, crowd.registers):
            users.append(RegisterUser(number, dice(number), crowd.prefix + REGISTER, crowd.keys))
        for number in itertools.islice(numbers, crowd.leases):
            users.append(LeaseUser(number, dice(number), crowd.prefix + LEASE, crowd.keys, crowd.lease))
        for number in itertools.islice(numbers, crowd.counters):
            users.append(CounterUser(number, dice(number), crowd.prefix + COUNTER, crowd.keys, bits))
        return users

    async def _work(self, user: User) -> None:
        async with Asker(self._url) as asker:
            while not self._stop.is_set():
                exchanges = user.next()
                self.exchanges += exchanges
                await asker.ask(*exchanges)
                user.heard(exchanges)
                is_refused = any(not one.is_sure for one in exchanges)
                await asyncio.sleep(PAUSE_AFTER_ERROR if is_refused else self._crowd.pause)

    async def read_all(self) -> None:
        """Read every key once more, when it is over. Raises ChaosError."""
        keys = list(dict.fromkeys(one.key for one in self.exchanges))
        reads = [Exchange(-1, key, Kind.READ, time.monotonic()) for key in keys]
        self.exchanges += reads
        await ask_in_turn(self._url, reads)


def of(exchanges: Sequence[Exchange], *beginnings: bytes) -> list[Exchange]:
    """Those of keys that begin so."""
    return [one for one in exchanges if one.key.startswith(beginnings)]
