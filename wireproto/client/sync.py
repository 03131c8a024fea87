"""The blocking client."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, overload

from wireproto.client.options import ClientOptions, OptionArguments, call_timeout
from wireproto.client.pipeline import CallQueue
from wireproto.client.pool import ConnectionPool
from wireproto.core.call_plan import Call, KeyedPlan, Plan
from wireproto.core.calls import DELETING, WRITING, Calls, Codec, Key, Value
from wireproto.core.locations import Location
from wireproto.core.retry import RetryPolicy
from wireproto.errors import RequestError

K = TypeVar("K", str, bytes, Key)
T = TypeVar("T")
V = TypeVar("V")


class Client(Generic[V]):
    """A client for any number of threads, with a few connections among them.

        with Client("wireproto://KEY@cache.example:7379?ca=ca.pem") as client:
            client.write("my_key", b"my_value", ex=60)
            client.read("my_key")

    Where no URL is given, `WIREPROTO_URL` is taken; options by name (`ClientOptions`) come before either. Values are
    bytes, unless a `codec` turns others into bytes and back. It connects on the first call, so that making a client
    never fails for a server that is down. It may be used on both sides of a fork.

    Every call takes a `timeout` in seconds, for all its attempts together. It raises an error of `wireproto.errors`:
    ArgumentError before anything is sent, ConfigurationError when no retry will help, or another RequestError, which
    says whether the call took effect. A call is sent again where that is harmless: a READ, WHERE, STATS or PING always,
    any other only if it surely did not take effect.
    """

    @overload
    def __init__(self: Client[bytes], url: str | None = None, **options: Unpack[OptionArguments]) -> None: ...
    @overload
    def __init__(self, url: str | None = None, *, codec: Codec[V], **options: Unpack[OptionArguments]) -> None: ...
    def __init__(
        self, url: str | None = None, *, codec: Codec[Any] | None = None, **options: Unpack[OptionArguments]
    ) -> None:
        self.options = ClientOptions.from_sources(url, options)
        self._calls: Calls[V] = Calls(codec)
        self._policy = RetryPolicy(self.options.retries)
        self._pool = ConnectionPool(self.options, self._policy)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calls under way in other threads still end; new ones raise ConfigurationError."""
        self._pool.close()

    # -- one key

    @overload
    def read(
        self, key: Key, *, with_ttl: Literal[False] = False, replica: bool = False, timeout: float | None = None
    ) -> V | None: ...
    @overload
    def read(
        self, key: Key, *, with_ttl: Literal[True], replica: bool = False, timeout: float | None = None
    ) -> Value[V] | None: ...
    def read(
        self, key: Key, *, with_ttl: bool = False, replica: bool = False, timeout: float | None = None
    ) -> V | Value[V] | None:
        """The value, or None for a miss. `with_ttl`: a `Value`, which also tells the seconds that are left.

        `replica`: a replica may answer, whose value may be older than the last write, by the server's limit at most.
        """
        if with_ttl:
            return self._run(self._calls.read_with_ttl(key, replica), timeout)
        if replica:
            return self._run(self._calls.read_replica(key), timeout)
        return self._run(self._calls.read(key), timeout)

    def write(
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
        """Store a value, for `ex` seconds or `px` milliseconds, or for as long as the old one (`keepttl`).

        `nx`: only if the key is absent; `xx`: only if it is present. False says that this did not hold.

        `sync`: return only when so many replicas have the value too; without it, the server decides how many. Raises
        NotReplicatedError if they have not in time: the value is written on the master, and readers see it, but it is
        not confirmed that it would outlive the master. It is not written again by itself; whoever knows that this is
        harmless may do so.
        """
        call = self._calls.write(key, value, ex=ex, px=px, keepttl=keepttl, nx=nx, xx=xx, sync=sync)
        return self._run(call, timeout)

    def delete(self, key: Key, *, sync: int | None = None, timeout: float | None = None) -> bool:
        """Remove a key. False: there was none. `sync`: as with `write`."""
        return self._run(self._calls.delete(key, sync), timeout)

    def touch(self, key: Key, *, ex: int | None = None, px: int | None = None, timeout: float | None = None) -> bool:
        """Give a key a new time to live: `ex` seconds or `px` milliseconds. False: there is no such key."""
        return self._run(self._calls.touch(key, ex=ex, px=px), timeout)

    # -- about the server

    def ping(self, *, timeout: float | None = None) -> float:
        """The seconds that a round trip took; the first one connects, too."""
        started = time.perf_counter()
        self._run(self._calls.ping(), timeout)
        return time.perf_counter() - started

    def where(self, key: Key, *, timeout: float | None = None) -> Location:
        """The node that serves a key."""
        return self._run(self._calls.where(key), timeout)

    def stats(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The server's counters."""
        return self._run(self._calls.stats(), timeout)

    # -- many keys

    def read_many(
        self, keys: Iterable[K], *, replica: bool = False, timeout: float | None = None
    ) -> dict[K, V | RequestError | None]:
        """Read keys in one go: for each its value, None for a miss, or its error.

        A key that fails does not fail the others: its error object stands in its place. Raises an error only if every
        key failed; this holds for the other calls with many keys, too.
        """
        encode = self._calls.read_replica_requests if replica else self._calls.read_requests
        return self._run_keys(KeyedPlan(keys, encode, self._calls.reading), timeout)

    def write_many(
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
        """Store values in one go: for each key whether it was stored, or its error; see `write` and `read_many`."""
        encode = self._calls.write_requests(values, ex, px, keepttl, nx, xx, sync)
        return self._run_keys(KeyedPlan(values, encode, WRITING), timeout)

    def delete_many(
        self, keys: Iterable[K], *, sync: int | None = None, timeout: float | None = None
    ) -> dict[K, bool | RequestError]:
        """Remove keys in one go: for each whether there was one, or its error; see `read_many`."""
        encode = self._calls.delete_requests if sync is None else self._calls.synced_delete_requests(sync)
        return self._run_keys(KeyedPlan(keys, encode, DELETING), timeout)

    def pipeline(self, *, timeout: float | None = None) -> Pipeline[V]:
        """Calls of any kind, sent together when the `with` block ends; see `Pipeline`. `timeout` is for all of them."""
        return Pipeline(self, self._calls, call_timeout(timeout, self.options.timeout))

    # -- how calls are run

    def _run(self, call: Call[T], timeout: float | None) -> T:
        plan = Plan([call.request], [call.kind])
        self._execute(plan, timeout)
        result: T = plan.result()
        return result

    def _run_keys(self, plan: KeyedPlan, timeout: float | None) -> dict[Any, Any]:
        self._execute(plan, timeout)
        return plan.by_key()

    def _execute(self, plan: Plan, timeout: float | None) -> None:
        """Send what there is to send, and again what is worth it, until all is settled or the time is used up."""
        deadline = time.monotonic() + call_timeout(timeout, self.options.timeout)
        while plan.todo:
            self._attempt(plan, deadline)
            if not plan.failures:
                return
            delay = plan.next_delay(self._policy, time.monotonic(), deadline, random.random())  # noqa: S311 - no secret
            if delay is None:
                return
            time.sleep(delay)

    def _attempt(self, plan: Plan, deadline: float) -> None:
        try:
            connection = self._pool.acquire(deadline)
        except RequestError as error:
            plan.fail(error)
            return
        try:
            plan.settle(connection.exchange(plan.requests(), deadline))
        finally:
            # Also when a signal's handler raised in the middle: what is owed to this call must reach no other.
            self._pool.release(connection, reusable=connection.is_reusable and not plan.untrusted)


class Pipeline(CallQueue[V]):
    """Calls that are queued in a `with` block and sent together at its end.

        with client.pipeline() as pipeline:
            pipeline.write("a", b"1")
            value = pipeline.read("b")
        value.result()

    A call that fails does not fail the others: `result()` raises its error. The block raises only if all failed. If it
    is left by an exception, nothing is sent.
    """

    def __init__(self, client: Client[V], calls: Calls[V], timeout: float) -> None:
        super().__init__(calls, timeout)
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.execute()

    def execute(self) -> list[Any]:
        """Send what is queued now. The outcomes, results or RequestErrors, in the order queued."""
        plan, places = self._take_plan()
        self._client._execute(plan, self._timeout)
        return self._settle(plan, places)
