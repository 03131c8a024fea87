"""The client libraries that are measured: ours and redis-py, each as a program would use it.

Both with their own defaults, but without retries: one of the two would otherwise hide what the other tells.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

import wireproto
from bench.targets import Target

R = TypeVar("R")

FAILURES = (wireproto.errors.WireprotoError, redis.RedisError, OSError)
"""What a call of either library may raise."""


@dataclass(frozen=True)
class Library(Generic[R]):
    """One way to ask. A question is a key, or a list of keys where many are asked for at once."""

    ask: Callable[[Any], R]
    """A method of the library itself where there is one: nothing of the benchmark's comes between."""
    expected: Callable[[Sequence[bytes], Sequence[bytes]], object]
    """What it must answer for these keys, which have these values."""


def _first(keys: Sequence[bytes], values: Sequence[bytes]) -> object:
    return values[0]


def _as_dict(keys: Sequence[bytes], values: Sequence[bytes]) -> object:
    return dict(zip(keys, values, strict=True))


def _as_list(keys: Sequence[bytes], values: Sequence[bytes]) -> object:
    return list(values)


@contextlib.contextmanager
def blocking_library(target: Target, *, many: bool) -> Iterator[Library[object]]:
    """A blocking client: `read` or `get` of one key, or with `many` `read_many` or a pipeline of GETs."""
    if target.protocol == "wireproto":
        with wireproto.Client(target.url, retries=0) as ours:
            yield Library(ours.read_many, _as_dict) if many else Library(ours.read, _first)
        return
    with redis.Redis.from_url(target.url, retry=Retry(NoBackoff(), 0)) as theirs:

        def get_many(keys: Sequence[bytes]) -> object:
            with theirs.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.get(key)
                return pipeline.execute()

        yield Library(get_many, _as_list) if many else Library(theirs.get, _first)


@contextlib.asynccontextmanager
async def asyncio_library(target: Target, callers: int) -> AsyncIterator[Library[Awaitable[object]]]:
    """An asyncio client for so many coroutines: ours has one connection, a redis-py pool one for each of them."""
    if target.protocol == "wireproto":
        async with wireproto.AsyncClient(target.url, retries=0) as ours:
            yield Library(ours.read, _first)
        return
    pool = redis.asyncio.ConnectionPool.from_url(target.url, max_connections=callers, retry=AsyncRetry(NoBackoff(), 0))
    async with redis.asyncio.Redis(connection_pool=pool) as theirs:
        yield Library(theirs.get, _first)
    await pool.aclose()
