"""The asyncio client."""

# ruff: noqa: ASYNC109 - `timeout` is the call's own, over all its attempts; it needs no task and no timer.

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, cast, overload

from wireproto.client.async_loads import AsyncLoads
from wireproto.client.async_pipeline import AsyncPipeline
from wireproto.client.async_sender import AsyncSender
from wireproto.client.options import ClientOptions, OptionArguments, call_timeout
from wireproto.client.shared_connection import SharedConnection
from wireproto.core.call_plan import KeyedPlan
from wireproto.core.calls import Calls, Key
from wireproto.core.codec import Codec
from wireproto.core.load_terms import LoadOptions, LoadTerms
from wireproto.core.locations import Location
from wireproto.core.reply_meaning import DELETING, WRITING
from wireproto.core.results import Leased, Value, Versioned
from wireproto.core.retry import RetryPolicy
from wireproto.core.store_options import Storing, Writing, WritingMany
from wireproto.core.update import Update
from wireproto.errors import RequestError

K = TypeVar("K", str, bytes, Key)
V = TypeVar("V")


class AsyncClient(Generic[V]):
    """A client for any number of coroutines of one event loop, on one connection.

        async with AsyncClient("wireproto://KEY@cache.example:7379?ca=ca.pem") as client:
            await client.write("my_key", b"my_value", ex=60)
            await client.read("my_key")

    It has the methods of `wireproto.Client`, with the same arguments, results and errors; see there. What coroutines
    ask in one turn of the loop travels in one write. A call may be cancelled at any time: its answer is dropped when it
    comes, and no other call gets it; whether the cancelled call took effect is not known.
    """

    @overload
    def __init__(self: AsyncClient[bytes], url: str | None = None, **options: Unpack[OptionArguments]) -> None: ...
    @overload
    def __init__(self, url: str | None = None, *, codec: Codec[V], **options: Unpack[OptionArguments]) -> None: ...
    def __init__(
        self, url: str | None = None, *, codec: Codec[Any] | None = None, **options: Unpack[OptionArguments]
    ) -> None:
        self.options = ClientOptions.from_sources(url, options)
        self._calls: Calls[V] = Calls(codec)
        policy = RetryPolicy(self.options.retries)
        self._shared = SharedConnection(self.options, policy)
        sender = AsyncSender(self._shared, self.options, policy)
        self._run, self._run_keys, self._execute = sender.run, sender.run_keys, sender.execute
        self._loads: AsyncLoads[V] = AsyncLoads(sender, self._calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls under way raise LostError; new ones raise ConfigurationError."""
        await self._shared.close()

    # -- one key

    @overload
    async def read(
        self,
        key: Key,
        *,
        with_ttl: Literal[False] = False,
        with_version: Literal[False] = False,
        replica: bool = False,
        timeout: float | None = None,
    ) -> V | None: ...
    @overload
    async def read(
        self,
        key: Key,
        *,
        with_ttl: Literal[True],
        with_version: Literal[False] = False,
        replica: bool = False,
        timeout: float | None = None,
    ) -> Value[V] | None: ...
    @overload
    async def read(
        self,
        key: Key,
        *,
        with_ttl: bool = False,
        with_version: Literal[True],
        replica: bool = False,
        timeout: float | None = None,
    ) -> Versioned[V] | None: ...
    async def read(
        self,
        key: Key,
        *,
        with_ttl: bool = False,
        with_version: bool = False,
        replica: bool = False,
        timeout: float | None = None,
    ) -> V | Value[V] | None:
        """The value, or None for a miss. `with_ttl`: a `Value`; `with_version`: a `Versioned`.

        `replica`: a replica may answer. See `Client.read`.
        """
        if with_version:
            return await self._run(self._calls.read_with_version(key, replica), timeout)
        if with_ttl:
            return await self._run(self._calls.read_with_ttl(key, replica), timeout)
        if replica:
            return await self._run(self._calls.read_replica(key), timeout)
        return await self._run(self._calls.read(key), timeout)

    async def read_or_lease(
        self,
        key: Key,
        lease: float,
        *,
        early: float | None = None,
        replica: bool = False,
        timeout: float | None = None,
    ) -> Leased[V]:
        """The value, and who is to load it when there is none, or a stale one. See `Client.read_or_lease`."""
        return await self._run(self._calls.read_or_lease(key, lease, early, replica), timeout)

    async def write(self, key: Key, value: V, *, timeout: float | None = None, **options: Unpack[Writing]) -> bool:
        """Store a value; False when its condition did not hold: `nx`, `xx`, `version` or `lease`.

        Raises NotReplicatedError if it is written, but `sync` replicas have not confirmed it. See `Client.write`.
        """
        return await self._run(self._calls.write(key, value, **options), timeout)

    async def compare_and_set(
        self, key: Key, value: V, version: str, *, timeout: float | None = None, **storing: Unpack[Storing]
    ) -> str | None:
        """Store a value if the key has that version still. The new version; None: it has another.

        See `Client.compare_and_set`, also for errors after which nobody knows whether the value was stored.
        """
        return await self._run(self._calls.compare_and_set(key, value, version, **storing), timeout)

    async def update(
        self,
        key: Key,
        fn: Callable[[V | None], V | Awaitable[V]],
        *,
        attempts: int = 16,
        timeout: float | None = None,
        **storing: Unpack[Storing],
    ) -> V:
        """Store what `fn`, a function or a coroutine function, makes of the value, and return it.

        `fn` may be called several times. See `Client.update`, also for the errors.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + call_timeout(timeout, self.options.timeout)
        update = Update(self._calls, key, attempts, deadline, **storing)
        while True:
            found = await self._run(update.reading, update.time_left(loop.time()))
            made = fn(update.note(found))
            value = cast(V, await made if isinstance(made, Awaitable) else made)
            if await self._run(update.writing(value), update.time_left(loop.time())):
                return value
            await asyncio.sleep(update.delay(loop.time(), random.random()))  # noqa: S311 - no secret

    async def delete(
        self, key: Key, *, version: str = "", sync: int | None = None, timeout: float | None = None
    ) -> bool:
        """Remove a key. False: nothing was removed. `sync`: as with `Client.write`.

        `version`: only if it has that version still; False: there was none, or another has changed it.
        """
        return await self._run(self._calls.delete(key, sync, version), timeout)

    async def give_back(self, key: Key, lease: str, *, timeout: float | None = None) -> bool:
        """Give back a lease, when there is nothing to write. False: it did not hold any more."""
        return await self._run(self._calls.give_back(key, lease), timeout)

    async def incr(
        self,
        key: Key,
        by: int = 1,
        *,
        ex: int | None = None,
        px: int | None = None,
        sync: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Add to a counter, and return what it is then. `ex`, `px`: its time to live, if it begins now.

        Raises ValueTypeError if the value is no counter, or would not be one. See `Client.incr`.
        """
        return await self._run(self._calls.incr(key, by, ex=ex, px=px, sync=sync), timeout)

    async def get_or_load(
        self,
        key: Key,
        loader: Callable[[], V | Awaitable[V | None] | None],
        *,
        ttl: float,
        timeout: float | None = None,
        **options: Unpack[LoadOptions],
    ) -> V | None:
        """The value, or what `loader`, a function or a coroutine function, returns, which is kept for `ttl` seconds.

        The loader runs in a task of its own, which goes on if its caller is cancelled and others wait for it. See
        `Client.get_or_load`.
        """
        return await self._loads.get_or_load(key, loader, LoadTerms(ttl, **options), timeout)

    async def touch(
        self, key: Key, *, ex: int | None = None, px: int | None = None, timeout: float | None = None
    ) -> bool:
        """Give a key a new time to live: `ex` seconds or `px` milliseconds. False: there is no such key."""
        return await self._run(self._calls.touch(key, ex=ex, px=px), timeout)

    # -- about the server

    async def ping(self, *, timeout: float | None = None) -> float:
        """The seconds that a round trip took; the first one connects, too."""
        started = time.perf_counter()
        await self._run(self._calls.ping(), timeout)
        return time.perf_counter() - started

    async def where(self, key: Key, *, timeout: float | None = None) -> Location:
        """The node that serves a key."""
        return await self._run(self._calls.where(key), timeout)

    async def stats(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The server's counters."""
        return await self._run(self._calls.stats(), timeout)

    # -- many keys

    async def read_many(
        self, keys: Iterable[K], *, replica: bool = False, timeout: float | None = None
    ) -> dict[K, V | RequestError | None]:
        """Read keys in one go: for each its value, None for a miss, or its error. See `Client.read_many`."""
        encode = self._calls.read_replica_requests if replica else self._calls.read_requests
        return await self._run_keys(KeyedPlan(keys, encode, self._calls.reading), timeout)

    async def write_many(
        self, values: Mapping[K, V], *, timeout: float | None = None, **options: Unpack[WritingMany]
    ) -> dict[K, bool | RequestError]:
        """Store values in one go: for each key whether it was stored, or its error. See `Client.write_many`."""
        encode = self._calls.write_requests(values, **options)
        return await self._run_keys(KeyedPlan(values, encode, WRITING), timeout)

    async def delete_many(
        self, keys: Iterable[K], *, sync: int | None = None, timeout: float | None = None
    ) -> dict[K, bool | RequestError]:
        """Remove keys in one go: for each whether there was one, or its error. See `Client.read_many`."""
        encode = self._calls.delete_requests if sync is None else self._calls.synced_delete_requests(sync)
        return await self._run_keys(KeyedPlan(keys, encode, DELETING), timeout)

    def pipeline(self, *, timeout: float | None = None) -> AsyncPipeline[V]:
        """Calls of any kind, sent together when the `async with` block ends. `timeout` is for all of them."""
        return AsyncPipeline(self._execute, self._calls, call_timeout(timeout, self.options.timeout))
