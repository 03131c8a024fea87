"""The blocking client."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, overload

from wireproto.client.blocking_loads import BlockingLoads
from wireproto.client.blocking_pipeline import Pipeline
from wireproto.client.blocking_sender import BlockingSender
from wireproto.client.options import ClientOptions, OptionArguments, call_timeout
from wireproto.client.pool import ConnectionPool
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
        policy = RetryPolicy(self.options.retries)
        self._pool = ConnectionPool(self.options, policy)
        sender = BlockingSender(self._pool, self.options, policy)
        self._run, self._run_keys, self._execute = sender.run, sender.run_keys, sender.execute
        self._loads: BlockingLoads[V] = BlockingLoads(sender, self._calls)

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
        self,
        key: Key,
        *,
        with_ttl: Literal[False] = False,
        with_version: Literal[False] = False,
        replica: bool = False,
        timeout: float | None = None,
    ) -> V | None: ...
    @overload
    def read(
        self,
        key: Key,
        *,
        with_ttl: Literal[True],
        with_version: Literal[False] = False,
        replica: bool = False,
        timeout: float | None = None,
    ) -> Value[V] | None: ...
    @overload
    def read(
        self,
        key: Key,
        *,
        with_ttl: bool = False,
        with_version: Literal[True],
        replica: bool = False,
        timeout: float | None = None,
    ) -> Versioned[V] | None: ...
    def read(
        self,
        key: Key,
        *,
        with_ttl: bool = False,
        with_version: bool = False,
        replica: bool = False,
        timeout: float | None = None,
    ) -> V | Value[V] | None:
        """The value, or None for a miss.

        `with_ttl`: a `Value`, which also tells the seconds that are left. `with_version`: a `Versioned`, which tells
        the version too; see `compare_and_set`. `replica`: a replica may answer, whose value may be older than the last
        write, by the server's limit at most; what tells a version is always the master.
        """
        if with_version:
            return self._run(self._calls.read_with_version(key, replica), timeout)
        if with_ttl:
            return self._run(self._calls.read_with_ttl(key, replica), timeout)
        if replica:
            return self._run(self._calls.read_replica(key), timeout)
        return self._run(self._calls.read(key), timeout)

    def read_or_lease(
        self,
        key: Key,
        lease: float,
        *,
        early: float | None = None,
        replica: bool = False,
        timeout: float | None = None,
    ) -> Leased[V]:
        """The value, and who is to load it when there is none, or a stale one: one caller for `lease` seconds.

        `Leased.lease` is that right, for `write` with what was loaded, or for `give_back`. Where it is None and
        `Leased.held` is not, another has it: ask again a little later. `early`: also when less than so many seconds
        are left of the value's time to live. A caller whose answer was lost leaves a lease behind that ends by itself.
        """
        return self._run(self._calls.read_or_lease(key, lease, early, replica), timeout)

    def write(self, key: Key, value: V, *, timeout: float | None = None, **options: Unpack[Writing]) -> bool:
        """Store a value, for `ex` seconds or `px` milliseconds, or for as long as the old one (`keepttl`).

        `nx`: only if the key is absent; `xx`: only if it is present; `version`: only if it has that version still;
        `lease`: only while that lease holds. False says that this did not hold. A version or a lease that is None
        raises ArgumentError. `stale`: for so many seconds more `read_or_lease` may get the value while it is renewed.

        `sync`: return only when so many replicas have the value too; without it, the server decides how many. Raises
        NotReplicatedError if they have not in time: the value is written on the master, and readers see it, but it is
        not confirmed that it would outlive the master. It is not written again by itself; whoever knows that this is
        harmless may do so.
        """
        return self._run(self._calls.write(key, value, **options), timeout)

    def compare_and_set(
        self, key: Key, value: V, version: str, *, timeout: float | None = None, **storing: Unpack[Storing]
    ) -> str | None:
        """Store a value if the key has the version still that `read` told. The new version; None: it has another.

        After LostError, NodeTimeoutError or InternalError nobody knows whether the value was stored: read again.
        """
        return self._run(self._calls.compare_and_set(key, value, version, **storing), timeout)

    def update(
        self,
        key: Key,
        fn: Callable[[V | None], V],
        *,
        attempts: int = 16,
        timeout: float | None = None,
        **storing: Unpack[Storing],
    ) -> V:
        """Store what `fn` makes of the value (None for a miss), and return it; nobody's write in between is lost.

        `fn` is called again with the new value whenever another has changed the key meanwhile, so it may be called
        several times, and should do nothing but compute. It is stored as with `write`: without `keepttl` the time to
        live is not that of the old value.

        Raises ConflictError, and nothing is written, when others were faster `attempts` times or until the time is used
        up; DeadlineError, likewise, when `fn` has used it up. After LostError, NodeTimeoutError or InternalError nobody
        knows whether the value was stored.
        """
        deadline = time.monotonic() + call_timeout(timeout, self.options.timeout)
        update = Update(self._calls, key, attempts, deadline, **storing)
        while True:
            found = self._run(update.reading, update.time_left(time.monotonic()))
            value = fn(update.note(found))
            if self._run(update.writing(value), update.time_left(time.monotonic())):
                return value
            time.sleep(update.delay(time.monotonic(), random.random()))  # noqa: S311 - no secret

    def delete(self, key: Key, *, version: str = "", sync: int | None = None, timeout: float | None = None) -> bool:
        """Remove a key. False: nothing was removed. `sync`: as with `write`.

        `version`: only if it has that version still; False: there was none, or another has changed it.
        """
        return self._run(self._calls.delete(key, sync, version), timeout)

    def give_back(self, key: Key, lease: str, *, timeout: float | None = None) -> bool:
        """Give back a lease of `read_or_lease`, when there is nothing to write. False: it did not hold any more."""
        return self._run(self._calls.give_back(key, lease), timeout)

    def incr(
        self,
        key: Key,
        by: int = 1,
        *,
        ex: int | None = None,
        px: int | None = None,
        sync: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Add to a counter, a signed number of 64 bits, and return what it is then. One that is absent begins at 0.

        `ex`, `px`: its time to live, if it begins now. `sync`: as with `write`. Raises ValueTypeError if the value is
        no counter, or would not be one; LostError, NodeTimeoutError or InternalError if nobody knows whether it was
        added: it is not added again.
        """
        return self._run(self._calls.incr(key, by, ex=ex, px=px, sync=sync), timeout)

    def get_or_load(
        self,
        key: Key,
        loader: Callable[[], V | None],
        *,
        ttl: float,
        timeout: float | None = None,
        **options: Unpack[LoadOptions],
    ) -> V | None:
        """The value, or else what `loader` returns, which is kept for `ttl` seconds. One caller loads it for all.

        The others wait, or get the old value where there is one; see `LoadOptions`. The loader's error is raised,
        unless there is an old value; a loader that returns None has found nothing. `timeout` is for each request to the
        cache, and for the waiting, not for the loader. When the cache fails, the value is loaded and not kept; only an
        ArgumentError, AuthError, ExpiredError, DeniedError, VerbError or ConfigurationError is raised. A value that
        cannot be decoded is removed and loaded anew.
        """
        return self._loads.get_or_load(key, loader, LoadTerms(ttl, **options), timeout)

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
        self, values: Mapping[K, V], *, timeout: float | None = None, **options: Unpack[WritingMany]
    ) -> dict[K, bool | RequestError]:
        """Store values in one go: for each key whether it was stored, or its error; see `write` and `read_many`."""
        encode = self._calls.write_requests(values, **options)
        return self._run_keys(KeyedPlan(values, encode, WRITING), timeout)

    def delete_many(
        self, keys: Iterable[K], *, sync: int | None = None, timeout: float | None = None
    ) -> dict[K, bool | RequestError]:
        """Remove keys in one go: for each whether there was one, or its error; see `read_many`."""
        encode = self._calls.delete_requests if sync is None else self._calls.synced_delete_requests(sync)
        return self._run_keys(KeyedPlan(keys, encode, DELETING), timeout)

    def pipeline(self, *, timeout: float | None = None) -> Pipeline[V]:
        """Calls of any kind, sent together when the `with` block ends; see `Pipeline`. `timeout` is for all of them."""
        return Pipeline(self._execute, self._calls, call_timeout(timeout, self.options.timeout))
