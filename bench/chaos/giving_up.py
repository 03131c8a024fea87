"""Cancels and time-outs at random moments, against any server. Values name their keys: no wrong answer can hide."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

from wireproto import AsyncClient, Client
from wireproto.errors import DeadlineError, NodeTimeoutError

KEYS = [f"cancelled-{number}" for number in range(200)]


def value_of(key: str) -> bytes:
    """What a key holds, for good."""
    return b"the value of " + key.encode()


async def cancel_many(url: str, count: int, within: float, *, coroutines: int = 20) -> Counter[str]:
    """Read, and give up after a random time below `within` seconds, `count` times in all; what became of the calls.

    Raises AssertionError at the first wrong answer.
    """
    outcomes: Counter[str] = Counter()
    dice = random.Random(11)
    async with AsyncClient(url, timeout=30.0) as client:
        await client.write_many({key: value_of(key) for key in KEYS})

        async def one_after_another() -> None:
            while outcomes["cancelled"] + outcomes["timed out"] < count:
                key = dice.choice(KEYS)
                patience = dice.random() * within
                outcomes[await give_up_after(client, key, patience, by_cancel=dice.random() < 0.5)] += 1

        await asyncio.gather(*[one_after_another() for _ in range(coroutines)])
        assert {key: await client.read(key) for key in KEYS} == {key: value_of(key) for key in KEYS}
    return outcomes


async def give_up_after(client: AsyncClient[bytes], key: str, patience: float, *, by_cancel: bool) -> str:
    """Read once; what became of it."""
    if by_cancel:
        reading = asyncio.ensure_future(client.read(key))
        asyncio.get_running_loop().call_later(patience, reading.cancel)
        try:
            value = await reading
        except asyncio.CancelledError:
            return "cancelled"
    else:
        try:
            value = await client.read(key, timeout=max(patience, 1e-6))
        except (NodeTimeoutError, DeadlineError):
            return "timed out"
    assert value == value_of(key), (key, value)
    return "answered"


def time_out_many(url: str, count: int, within: float, *, threads: int = 8) -> Counter[str]:
    """The same with threads and a blocking client, which can only time out."""
    outcomes: Counter[str] = Counter()
    wrong: list[object] = []
    with Client(url, timeout=30.0, pool_size=threads) as client:
        client.write_many({key: value_of(key) for key in KEYS})

        def one_after_another(seed: int) -> None:
            dice = random.Random(seed)
            while outcomes["timed out"] < count and not wrong:
                key = dice.choice(KEYS)
                try:
                    value = client.read(key, timeout=dice.random() * within + 1e-6)
                    if value != value_of(key):
                        wrong.append((key, value))
                    outcomes["answered"] += 1
                except (NodeTimeoutError, DeadlineError):
                    outcomes["timed out"] += 1
                except Exception as error:
                    wrong.append(error)

        workers = [threading.Thread(target=one_after_another, args=(seed,)) for seed in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not wrong, wrong
        assert {key: client.read(key) for key in KEYS} == {key: value_of(key) for key in KEYS}
    return outcomes
