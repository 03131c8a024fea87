"""The asyncio client."""

# ruff: noqa: ASYNC109 - `timeout` is the call's own, over all its attempts; it needs no task and no timer.

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, Unpack, overload

from wireproto.client.async_pipeline import AsyncPipeline
from wireproto.client.connecting import connect_failure, tls_context, while_backing_off
from wireproto.client.multiplexed_connection import MultiplexedConnection
from wireproto.client.options import ClientOptions, OptionArguments, call_timeout
from wireproto.core.call_plan import Call, KeyedPlan, Plan, copy_of
from wireproto.core.calls import DELETING, WRITING, Calls, Codec, Key, Value
from wireproto.core.credentials import Credentials
from wireproto.core.locations import Location
from wireproto.core.retry import Backoff, RetryPolicy
from wireproto.errors import ConfigurationError, DeadlineError, RequestError, WireprotoError

K = TypeVar("K", str, bytes, Key)
T = TypeVar("T")
V = TypeVar("V")

FAREWELL: Final = 1.0
"""Seconds for a TLS connection to be closed politely; then it is dropped."""


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
        self._policy = RetryPolicy(self.options.retries)
        self._tls = tls_context(self.options)
        self._is_closed = False
        self._begin(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls under way raise LostError; new ones raise ConfigurationError."""
        self._is_closed = True
        if self._loop is not asyncio.get_running_loop():
            return
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for connection in list(self._open):
            await connection.close(FAREWELL)

    # -- one key

    @overload
    async def read(
        self, key: Key, *, with_ttl: Literal[False] = False, replica: bool = False, timeout: float | None = None
    ) -> V | None: ...
    @overload
    async def read(
        self, key: Key, *, with_ttl: Literal[True], replica: bool = False, timeout: float | None = None
    ) -> Value[V] | None: ...
    async def read(
        self, key: Key, *, with_ttl: bool = False, replica: bool = False, timeout: float | None = None
    ) -> V | Value[V] | None:
        """The value, or None for a miss. `with_ttl`: a `Value`, which also tells the seconds that are left.

        `replica`: a replica may answer. See `Client.read`.
        """
        if with_ttl:
            return await self._run(self._calls.read_with_ttl(key, replica), timeout)
        if replica:
            return await self._run(self._calls.read_replica(key), timeout)
        return await self._run(self._calls.read(key), timeout)

    async def write(
        self,
        key: Key,
        value: V,
        *,
        ex: int | None = None,
        px: int | None = None,
        keepttl: bool = False,
        nx: bool = False,
        xx: bool = False,
        sync: int | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Store a value; False when `nx` or `xx` did not hold.

        Raises NotReplicatedError if it is written, but `sync` replicas have not confirmed it. See `Client.write`.
        """
        call = self._calls.write(key, value, ex=ex, px=px, keepttl=keepttl, nx=nx, xx=xx, sync=sync)
        return await self._run(call, timeout)

    async def delete(self, key: Key, *, sync: int | None = None, timeout: float | None = None) -> bool:
        """Remove a key. False: there was none. `sync`: as with `Client.write`."""
        return await self._run(self._calls.delete(key, sync), timeout)

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
        self,
        values: Mapping[K, V],
        *,
        ex: int | None = None,
        px: int | None = None,
        keepttl: bool = False,
        nx: bool = False,
        xx: bool = False,
        sync: int | None = None,
        timeout: float | None = None,
    ) -> dict[K, bool | RequestError]:
        """Store values in one go: for each key whether it was stored, or its error. See `Client.write_many`."""
        encode = self._calls.write_requests(values, ex, px, keepttl, nx, xx, sync)
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

    # -- how calls are run

    async def _run(self, call: Call[T], timeout: float | None) -> T:
        plan = Plan([call.request], [call.kind])
        await self._execute(plan, timeout)
        result: T = plan.result()
        return result

    async def _run_keys(self, plan: KeyedPlan, timeout: float | None) -> dict[Any, Any]:
        await self._execute(plan, timeout)
        return plan.by_key()

    async def _execute(self, plan: Plan, timeout: float | None) -> None:
        """Send what there is to send, and again what is worth it, until all is settled or the time is used up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + call_timeout(timeout, self.options.timeout)
        while plan.todo:
            await self._attempt(plan, loop, deadline)
            if not plan.failures:
                return
            delay = plan.next_delay(self._policy, loop.time(), deadline, random.random())  # noqa: S311 - no secret
            if delay is None:
                return
            await asyncio.sleep(delay)

    async def _attempt(self, plan: Plan, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        connection = self._connection
        if connection is None or not connection.is_usable or loop is not self._loop or self._is_closed:
            try:
                connection = await self._connected(loop, deadline)
            except RequestError as error:
                plan.fail(error)
                return
        plan.settle(await connection.exchange(plan.requests(), deadline))
        if plan.untrusted:
            connection.distrust()

    # -- the connection

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Start without a connection, in this loop."""
        self._loop = loop
        self._process = os.getpid()
        self._credentials = Credentials(self.options.api_key, has_certificate=self.options.certificate is not None)
        self._backoff = Backoff(self._policy)
        self._connection: MultiplexedConnection | None = None
        self._connecting: asyncio.Task[MultiplexedConnection | WireprotoError] | None = None
        self._open: set[MultiplexedConnection] = set()

    async def _connected(self, loop: asyncio.AbstractEventLoop, deadline: float) -> MultiplexedConnection:
        """The connection; all who need one wait for the same. Raises ConfigurationError or a RequestError."""
        if self._is_closed:
            raise ConfigurationError("the client is closed")
        if loop is not self._loop:
            if self._loop is not None and not self._loop.is_closed() and self._process == os.getpid():
                raise ConfigurationError("an AsyncClient belongs to the event loop that used it first")
            self._begin(loop)
        task = self._connecting
        if task is None:
            seconds, error = self._backoff.remaining(loop.time()), self._backoff.error
            if seconds and error is not None:
                raise while_backing_off(error, seconds)
            # A task of the client's own: should a caller be cancelled, the others wait on.
            task = self._connecting = loop.create_task(self._connect(loop))
        await asyncio.wait([task], timeout=deadline - loop.time())
        if task.cancelled():
            raise ConfigurationError("the client is closed")
        if not task.done():
            raise DeadlineError("not sent: there was no connection in time")
        result = task.result()
        if isinstance(result, RequestError):
            raise copy_of(result)
        if isinstance(result, WireprotoError):
            raise ConfigurationError(str(result))
        return result

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> MultiplexedConnection | WireprotoError:
        """Connect, shake hands, log in. The error is returned: perhaps nobody is there any more to be raised at."""
        started = loop.time()
        try:
            connection = await self._open_connection(loop)
        except (OSError, RequestError) as fault:
            error = connect_failure(fault, self.options)
            self._backoff.failed(error, started, loop.time(), random.random())  # noqa: S311 - no secret
            return error
        finally:
            self._connecting = None
        self._backoff.succeeded()
        self._connection = connection
        return connection

    async def _open_connection(self, loop: asyncio.AbstractEventLoop) -> MultiplexedConnection:
        """Raises OSError or a RequestError."""
        options = self.options
        connection = MultiplexedConnection(options, self._credentials, loop)
        tls: dict[str, Any] = {}
        if self._tls is not None:
            tls = {"ssl": self._tls, "server_hostname": options.host, "ssl_shutdown_timeout": FAREWELL}
        async with asyncio.timeout(options.connect_timeout):
            await loop.create_connection(lambda: connection, options.host, options.port, **tls)
            self._open.add(connection)
            connection.closed.add_done_callback(lambda _closed: self._open.discard(connection))
            try:
                await connection.ready
            except BaseException:
                connection.abort()
                raise
        return connection
