"""A pipeline: calls that are queued one by one and sent together, with a place for each result."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar, Unpack, overload

from wireproto.core.call_plan import Call, Plan, raise_if_all_failed
from wireproto.core.calls import Calls, Key
from wireproto.core.locations import Location
from wireproto.core.results import Leased, Value, Versioned
from wireproto.core.store_options import Storing, Writing
from wireproto.errors import ConfigurationError, RequestError, WireprotoError

T = TypeVar("T")
V = TypeVar("V")


class Queued(Generic[T]):
    """The place of a result that a pipeline will have."""

    __slots__ = ("_outcome",)

    def __init__(self) -> None:
        self._outcome: T | WireprotoError = ConfigurationError("the pipeline has not been sent")

    def result(self) -> T:
        """The result. Raises the call's error, or ConfigurationError before the pipeline was sent."""
        if isinstance(self._outcome, WireprotoError):
            raise self._outcome
        return self._outcome

    @property
    def error(self) -> RequestError | None:
        """The call's error, or None."""
        return self._outcome if isinstance(self._outcome, RequestError) else None

    def settle(self, outcome: T | RequestError) -> None:
        """Put in what came of the call."""
        self._outcome = outcome


class CallQueue(Generic[V]):
    """Queues calls; the clients' pipelines send them.

    Each method raises ArgumentError at once for what the protocol does not allow. Calls for one key take effect in the
    order queued. Because a later one may rely on an earlier one, a pipeline is sent again only as a whole, and only if
    surely nothing of it took effect.
    """

    def __init__(self, calls: Calls[V], timeout: float) -> None:
        self._calls = calls
        self._timeout = timeout
        self._queue: list[tuple[Call[Any], Queued[Any]]] = []

    def __len__(self) -> int:
        return len(self._queue)

    @overload
    def read(
        self,
        key: Key,
        *,
        with_ttl: Literal[False] = False,
        with_version: Literal[False] = False,
        replica: bool = False,
    ) -> Queued[V | None]: ...
    @overload
    def read(
        self, key: Key, *, with_ttl: Literal[True], with_version: Literal[False] = False, replica: bool = False
    ) -> Queued[Value[V] | None]: ...
    @overload
    def read(
        self, key: Key, *, with_ttl: bool = False, with_version: Literal[True], replica: bool = False
    ) -> Queued[Versioned[V] | None]: ...
    def read(
        self, key: Key, *, with_ttl: bool = False, with_version: bool = False, replica: bool = False
    ) -> Queued[V | None] | Queued[Value[V] | None] | Queued[Versioned[V] | None]:
        """The value, or None for a miss; see `Client.read`."""
        if with_version:
            return self._add(self._calls.read_with_version(key, replica))
        if with_ttl:
            return self._add(self._calls.read_with_ttl(key, replica))
        return self._add(self._calls.read_replica(key) if replica else self._calls.read(key))

    def read_or_lease(
        self, key: Key, lease: float, *, early: float | None = None, replica: bool = False
    ) -> Queued[Leased[V]]:
        """The value, and who is to load it; see `Client.read_or_lease`."""
        return self._add(self._calls.read_or_lease(key, lease, early, replica))

    def write(self, key: Key, value: V, **options: Unpack[Writing]) -> Queued[bool]:
        """Whether the value was stored; see `Client.write`, also for what NotReplicatedError means."""
        return self._add(self._calls.write(key, value, **options))

    def compare_and_set(self, key: Key, value: V, version: str, **storing: Unpack[Storing]) -> Queued[str | None]:
        """The new version, or None if the key has another than `version`; see `Client.compare_and_set`."""
        return self._add(self._calls.compare_and_set(key, value, version, **storing))

    def delete(self, key: Key, *, version: str = "", sync: int | None = None) -> Queued[bool]:
        """Whether the key was removed: False when there was none, or it has another than `version`."""
        return self._add(self._calls.delete(key, sync, version))

    def give_back(self, key: Key, lease: str) -> Queued[bool]:
        """Whether the lease held until then; see `Client.give_back`."""
        return self._add(self._calls.give_back(key, lease))

    def incr(
        self, key: Key, by: int = 1, *, ex: int | None = None, px: int | None = None, sync: int | None = None
    ) -> Queued[int]:
        """What the counter is then; see `Client.incr`."""
        return self._add(self._calls.incr(key, by, ex=ex, px=px, sync=sync))

    def touch(self, key: Key, *, ex: int | None = None, px: int | None = None) -> Queued[bool]:
        """Whether there was such a key; it has a new time to live then."""
        return self._add(self._calls.touch(key, ex=ex, px=px))

    def where(self, key: Key) -> Queued[Location]:
        """The node that serves a key."""
        return self._add(self._calls.where(key))

    def _add(self, call: Call[T]) -> Queued[T]:
        place: Queued[T] = Queued()
        self._queue.append((call, place))
        return place

    def _take_plan(self) -> tuple[Plan, list[Queued[Any]]]:
        """What is queued, to be sent; the queue is empty then."""
        queue, self._queue = self._queue, []
        calls = [call for call, _place in queue]
        plan = Plan([call.request for call in calls], [call.kind for call in calls], in_order=True)
        return plan, [place for _call, place in queue]

    @staticmethod
    def _settle(plan: Plan, places: list[Queued[Any]]) -> list[Any]:
        """Hand out the outcomes, and give them back. Raises if every call failed."""
        for place, outcome in zip(places, plan.outcomes, strict=True):
            place.settle(outcome)
        raise_if_all_failed(plan.outcomes)
        return plan.outcomes
