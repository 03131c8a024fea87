"""Versions, counters, leases and stale values through both clients and a real server, and many callers at once."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client.both_clients import BOTH
from tests.live.running import RunningServer, wait_until
from wireproto import AsyncClient, Client, Codec, Leased, Versioned
from wireproto.errors import ConflictError, ValueTypeError

MANY = 50
PATIENCE = 30.0
"""Seconds for many callers at once, on a machine that may be busy."""


@pytest.fixture(params=BOTH, ids=["blocking", "asyncio"])
def new_client(request: pytest.FixtureRequest) -> Callable[..., Any]:
    made: Callable[..., Any] = request.param
    return made


@pytest.fixture
def client(server: RunningServer, new_client: Callable[..., Any]) -> Iterator[Any]:
    """A client whose key `k` is absent."""
    with new_client(server.url()) as made:
        made.delete("k")
        yield made


def test_a_version_stands_for_one_write(client: Any) -> None:
    assert client.read("k", with_version=True) is None
    client.write("k", b"v", ex=60)
    first = client.read("k", with_version=True)
    assert (first.value, 50 < first.ttl <= 60) == (b"v", True)
    assert client.read("k", with_version=True).version == first.version
    client.touch("k", ex=70)
    assert client.read("k", with_version=True).version == first.version
    client.write("k", b"v")
    assert client.read("k", with_version=True).version != first.version
    assert client.write("k", b"w", version=first.version) is False
    second = client.read("k", with_version=True)
    assert second == Versioned(b"v", None, second.version)
    third = client.compare_and_set("k", b"w", second.version)
    assert third == client.read("k", with_version=True).version
    assert client.compare_and_set("k", b"x", second.version) is None
    assert client.delete("k", version=second.version) is False
    assert client.delete("k", version=third) is True
    assert client.delete("k", version=third) is False
    assert client.compare_and_set("k", b"x", third) is None
    assert client.read("k") is None


def test_counters(client: Any) -> None:
    assert client.incr("k", ex=60) == 1
    assert client.incr("k", 41, ex=1000) == 42
    assert client.read("k", with_ttl=True).ttl <= 60
    version = client.read("k", with_version=True).version
    assert client.incr("k", -50) == -8
    assert client.write("k", b"0", version=version) is False
    client.write("k", b"9223372036854775806")
    assert client.incr("k") == 2**63 - 1
    with pytest.raises(ValueTypeError, match="64 bits"):
        client.incr("k")
    assert client.incr("k", -(2**63)) == -1
    client.write("k", b"word")
    with pytest.raises(ValueTypeError, match="no counter"):
        client.incr("k")
    assert client.read("k") == b"word"


def test_a_lease_is_one_callers(client: Any, server: RunningServer) -> None:
    with Client(server.plain_url()) as other:
        lease = client.read_or_lease("k", 20).lease
        held = other.read_or_lease("k", 20)
        assert (held.found, held.lease, 0 < held.held <= 20) == (False, None, True)
        assert other.write("k", b"x", lease="nobody-has-it") is False
        assert client.read("k") is None
        assert client.write("k", b"v", ex=60, lease=lease) is True
        assert other.read_or_lease("k", 20) == Leased(b"v", True, False, None, None)
        assert client.write("k", b"w", lease=lease) is False


def test_a_lease_ends_with_another_write(client: Any, server: RunningServer) -> None:
    with Client(server.plain_url()) as other:
        lease = client.read_or_lease("k", 20).lease
        assert other.write("k", b"newer", nx=True) is True
        assert client.write("k", b"older", lease=lease) is False
        assert client.give_back("k", lease) is False
        assert other.read("k") == b"newer"


def test_a_lease_that_is_given_back_or_ends_goes_to_the_next(client: Any, server: RunningServer) -> None:
    with Client(server.plain_url()) as other:
        lease = client.read_or_lease("k", 20).lease
        assert client.give_back("k", lease) is True
        assert other.read_or_lease("k", 0.05).lease is not None
        wait_until(lambda: client.read_or_lease("k", 20).lease)


def test_who_gives_back_too_late_does_not_end_the_lease_of_the_next(client: Any, server: RunningServer) -> None:
    """Even if both go over one connection at the same moment. A lease that nobody fills is a lock."""
    with Client(server.plain_url()) as other:
        late = client.read_or_lease("k", 20).lease
        assert client.give_back("k", late) is True
        with client.pipeline() as pipeline:
            asked = pipeline.read_or_lease("k", 20)
            given_back = pipeline.give_back("k", late)
        assert given_back.result() is False
        assert other.read_or_lease("k", 20).held is not None
        assert client.give_back("k", asked.result().lease) is True


def test_a_stale_value_is_served_while_one_caller_loads_a_new_one(client: Any, server: RunningServer) -> None:
    client.write("k", b"old", px=20, stale=60)
    wait_until(lambda: client.read("k") is None)
    with Client(server.plain_url()) as other:
        first, second = client.read_or_lease("k", 20), other.read_or_lease("k", 20)
        assert (first.value, first.found, first.stale, first.held) == (b"old", True, True, None)
        assert (second.value, second.stale, second.lease, 0 < second.held <= 20) == (b"old", True, None, True)
        assert client.write("k", b"new", ex=60, stale=60, lease=first.lease) is True
        assert other.read_or_lease("k", 20) == Leased(b"new", True, False, None, None)


def test_a_lease_before_the_end(client: Any) -> None:
    client.write("k", b"v", ex=60)
    assert client.read_or_lease("k", 20, early=10) == Leased(b"v", True, False, None, None)
    found = client.read_or_lease("k", 20, early=61)
    assert (found.value, found.stale, found.lease is not None) == (b"v", False, True)
    assert client.read_or_lease("k", 20, early=61) == Leased(b"v", True, False, None, None)


def test_null_is_found(server: RunningServer, new_client: Callable[..., Any]) -> None:
    with new_client(server.url(), codec=Codec.json()) as client:
        client.delete("k")
        assert client.read_or_lease("k", 20).found is False
        assert client.update("k", lambda old: old) is None
        assert client.read_or_lease("k", 20) == Leased(None, True, False, None, None)
        version = client.read("k", with_version=True).version
        assert client.compare_and_set("k", 1, version)


def test_pipeline(client: Any) -> None:
    with client.pipeline() as pipeline:
        pipeline.incr("k", 5)
        found = pipeline.read("k", with_version=True)
        pipeline.write("k", b"v")
        late = pipeline.compare_and_set("k", b"w", "not-a-version")
        kept = pipeline.delete("k", version="not-a-version")
        leased = pipeline.read_or_lease("k", 5)
        back = pipeline.give_back("k", "no-lease")
    assert (found.result().value, late.result(), kept.result(), back.result()) == (b"5", None, False, False)
    assert leased.result() == Leased(b"v", True, False, None, None)


# -- many at once


def in_threads(work: Callable[[int], object]) -> list[Any]:
    """What `MANY` threads that begin together get."""
    results: list[Any] = [None] * MANY
    start = threading.Barrier(MANY)

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = work(number)
        except Exception as fault:
            results[number] = fault

    threads = [threading.Thread(target=run, args=(number,)) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [result for result in results if isinstance(result, Exception)]
    return results


def append(number: int) -> Callable[[Any], Any]:
    """Adds a number to a list."""
    return lambda old: [*(old or []), number]


def test_threads_that_update_one_key_lose_nothing(server: RunningServer) -> None:
    with Client(server.url(), codec=Codec.json(), timeout=PATIENCE) as client:
        client.delete("k")
        lengths = in_threads(lambda number: len(client.update("k", append(number), ex=60)))
        assert sorted(client.read("k")) == list(range(MANY))
        assert sorted(lengths) == list(range(1, MANY + 1))


async def test_tasks_that_update_one_key_lose_nothing(server: RunningServer) -> None:
    async with AsyncClient(server.url(), codec=Codec.json(), timeout=PATIENCE) as client:
        await client.delete("k")
        lists = await asyncio.gather(*[client.update("k", append(number)) for number in range(MANY)])
        assert sorted(await client.read("k")) == list(range(MANY))
        assert sorted(map(len, lists)) == list(range(1, MANY + 1))


def test_threads_that_count_lose_nothing(server: RunningServer) -> None:
    with Client(server.url(), timeout=PATIENCE) as client:
        client.delete("k")
        counts = in_threads(lambda _number: [client.incr("k") for _ in range(10)])
        assert sorted(itertools.chain(*counts)) == list(range(1, 10 * MANY + 1))


async def test_tasks_that_count_lose_nothing(server: RunningServer) -> None:
    async with AsyncClient(server.url(), timeout=PATIENCE) as client:
        await client.delete("k")
        counts = await asyncio.gather(*[client.incr("k") for _ in range(10 * MANY)])
        assert sorted(counts) == list(range(1, 10 * MANY + 1))


def test_of_threads_that_want_to_load_one_does(server: RunningServer) -> None:
    with Client(server.url(), timeout=PATIENCE) as client:
        client.delete("k")
        found = in_threads(lambda _number: client.read_or_lease("k", 20))
        assert sum(each.lease is not None for each in found) == 1
        assert sum(each.held is not None for each in found) == MANY - 1


async def test_of_tasks_that_want_to_load_one_does(server: RunningServer) -> None:
    async with AsyncClient(server.url(), timeout=PATIENCE) as client:
        await client.delete("k")
        found = await asyncio.gather(*[client.read_or_lease("k", 20) for _ in range(MANY)])
        assert sum(each.lease is not None for each in found) == 1
        assert sum(each.held is not None for each in found) == MANY - 1


def test_of_threads_with_the_same_version_one_writes(server: RunningServer) -> None:
    with Client(server.url(), timeout=PATIENCE) as client:
        client.write("k", b"v")
        found = client.read("k", with_version=True)
        assert found is not None
        version = found.version
        written = in_threads(lambda number: client.compare_and_set("k", b"%d" % number, version))
        (winner,) = [number for number, new in enumerate(written) if new]
        assert client.read("k") == b"%d" % winner


def test_an_update_gives_up_on_a_key_that_never_stands_still(client: Any, server: RunningServer) -> None:
    with Client(server.plain_url()) as other:

        def change(_old: bytes | None) -> bytes:
            other.incr("k")
            return b"mine"

        started = time.monotonic()
        with pytest.raises(ConflictError):
            client.update("k", change, attempts=4)
        assert time.monotonic() - started < 5
        assert other.read("k") == b"4"
