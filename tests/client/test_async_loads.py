"""Coroutines that want the same value, the task that loads it, and callers that are cancelled."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.client.fake_server import FakeServer, verb_of
from tests.client.leasing_cache import LeasingCache
from tests.client.test_loading import failing
from wireproto import AsyncClient
from wireproto.core.request_wire import Frame

EVERYBODY = 100


class AsyncLoader:
    """A loader that counts its calls, and waits in each until it may go on."""

    def __init__(self, value: object = b"v", waits: bool = False) -> None:
        self.value = value
        self.calls = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        if not waits:
            self.may_end.set()

    async def __call__(self) -> Any:
        self.calls += 1
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.001)


def waiting(client: AsyncClient[bytes]) -> int:
    """How many coroutines wait for the load that is under way."""
    flight = client._loads.flights.find(b"k")
    return 0 if flight is None else flight._waiting


def wants(client: AsyncClient[bytes], loader: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(client.get_or_load("k", loader, **{"ttl": 60, **options}))


async def joined(client: AsyncClient[bytes], loader: Any, **options: Any) -> list[asyncio.Task[Any]]:
    """Many tasks, all of which have joined the load that is under way."""
    before = waiting(client)
    tasks = [wants(client, loader, **options) for _ in range(EVERYBODY)]
    await until(lambda: waiting(client) == before + EVERYBODY)
    return tasks


async def test_one_loads_for_all() -> None:
    cache, loader = LeasingCache(), AsyncLoader(waits=True)
    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            first = wants(client, loader)
            await loader.begun.wait()
            others = await joined(client, AsyncLoader(ValueError()))
            loader.may_end.set()
            assert set(await asyncio.gather(first, *others)) == {b"v"}
            assert (loader.calls, cache.asked.count("READ"), cache.asked.count("WRITE")) == (1, 1, 1)
            assert client._loads.flights._open == {}


async def test_one_loads_for_all_who_came_at_once() -> None:
    cache, loader = LeasingCache(), AsyncLoader()
    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            assert set(await asyncio.gather(*[wants(client, loader) for _ in range(EVERYBODY)])) == {b"v"}
            assert (loader.calls, cache.asked.count("WRITE")) == (1, 1)


async def test_all_get_the_error_of_the_load_that_they_joined() -> None:
    cache, error = LeasingCache(), ZeroDivisionError()
    loader = AsyncLoader(error, waits=True)
    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            first = wants(client, loader)
            await loader.begun.wait()
            others = await joined(client, loader)
            loader.may_end.set()
            assert set(await asyncio.gather(first, *others, return_exceptions=True)) == {error}
            assert loader.calls == 1
            assert await client.get_or_load("k", AsyncLoader(), ttl=60) == b"v"


async def test_a_load_goes_on_when_the_one_who_began_it_is_cancelled() -> None:
    cache, loader = LeasingCache(), AsyncLoader(waits=True)
    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            first = wants(client, loader)
            await loader.begun.wait()
            others = await joined(client, AsyncLoader(ValueError()))
            for task in (first, *others[: EVERYBODY // 2]):
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            loader.may_end.set()
            assert set(await asyncio.gather(*others[EVERYBODY // 2 :])) == {b"v"}
            assert (loader.calls, loader.cancelled) == (1, 0)
            assert cache.values == {b"k": b"v"}


async def test_a_load_that_nobody_waits_for_is_cancelled_and_its_lease_given_back() -> None:
    cache, loader = LeasingCache(), AsyncLoader(waits=True)
    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            tasks = [wants(client, loader)]
            await loader.begun.wait()
            tasks += await joined(client, loader)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert await client.get_or_load("k", AsyncLoader(b"new"), ttl=60, lease=60) == b"new", "nobody joins it"
            assert (loader.calls, loader.cancelled) == (1, 1)
            await until(lambda: not client._loads.flights._tasks)
            assert cache.values == {b"k": b"new"}


async def test_a_lease_that_comes_for_one_who_is_gone_is_given_back() -> None:
    cache, loader = LeasingCache(), AsyncLoader()
    answered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fault(frame: Frame) -> bytes | None:
        if verb_of(frame) == "READ":
            loop.call_soon_threadsafe(answered.set)
        return None

    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            await client.ping()
            for seed in range(50):
                cache.fault = fault
                answered.clear()
                task = wants(client, loader)
                if seed % 2:
                    await answered.wait()
                for _ in range(random.Random(seed).randrange(4)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                cache.fault = None
                await client.ping()
                await until(lambda: not client._loads.flights._tasks)
                assert cache.leases == {}
                await client.delete("k")


async def test_a_lease_that_comes_too_late_is_given_back() -> None:
    cache, loader = LeasingCache(), AsyncLoader()
    held: list[Any] = []

    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            await client.ping()
            cache.fault = lambda frame: held.append(frame) or b"silence"  # type: ignore[func-returns-value]
            assert await client.get_or_load("k", loader, ttl=60, timeout=0.05) == b"v"
            cache.fault = None
            connection = client._shared.connection
            assert connection is not None
            # What the server says at last.
            line = b"#%b MISS lease=x7\n" % held[0].tag
            connection.get_buffer(-1)[: len(line)] = line
            connection.buffer_updated(len(line))
            await until(lambda: cache.asked.count("DELETE") == 1)
            await client.ping()
            assert connection is client._shared.connection


async def test_whoever_joined_a_load_that_a_change_has_overtaken_asks_again() -> None:
    cache = LeasingCache()
    old, new = AsyncLoader(b"old", waits=True), AsyncLoader(b"new")
    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            first = wants(client, old)
            await old.begun.wait()
            others = await joined(client, new)
            await client.delete("k")
            old.may_end.set()
            assert await first == b"old", "as fresh as a read without a cache"
            assert set(await asyncio.gather(*others)) == {b"new"}
            assert cache.values == {b"k": b"new"}
            assert new.calls == 1


async def test_one_who_has_waited_long_enough_loads_for_all_who_have() -> None:
    cache = LeasingCache()
    slow, loader = AsyncLoader(b"slow", waits=True), AsyncLoader(b"quick", waits=True)
    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            first = wants(client, slow)
            await slow.begun.wait()
            others = await joined(client, loader, wait=0.3)
            await loader.begun.wait()
            await until(lambda: waiting(client) == EVERYBODY)
            loader.may_end.set()
            assert set(await asyncio.gather(*others)) == {b"quick"}
            assert (loader.calls, cache.values) == (1, {})
            slow.may_end.set()
            assert await first == b"slow"
            assert cache.values == {b"k": b"slow"}, "it had the lease"


async def test_a_load_without_a_lease_is_shared_too() -> None:
    cache, loader = LeasingCache(), AsyncLoader(waits=True)
    cache.fault = failing("READ", b"ERR DOWN :x")
    with FakeServer(cache) as server:
        async with AsyncClient(server.url, retries=0) as client:
            tasks = [wants(client, loader) for _ in range(EVERYBODY)]
            await until(lambda: waiting(client) == EVERYBODY)
            loader.may_end.set()
            assert set(await asyncio.gather(*tasks)) == {b"v"}
            assert loader.calls == 1
            assert set(server.heard) == {"READ"}


async def test_a_plain_function_and_one_that_cancels_itself() -> None:
    with FakeServer(LeasingCache()) as server:
        async with AsyncClient(server.url) as client:
            assert await client.get_or_load("k", lambda: b"v", ttl=60) == b"v"
            with pytest.raises(asyncio.CancelledError):
                await client.get_or_load("l", AsyncLoader(asyncio.CancelledError()), ttl=60)
            assert await client.get_or_load("l", lambda: b"v", ttl=60) == b"v"


async def test_a_load_that_was_cancelled_before_it_began_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(LeasingCache()) as server:
        async with AsyncClient(server.url) as client:
            keep = client._loads.flights.keep

            def cancelled_at_once(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
                task = keep(work)
                task.cancel()
                return task

            with monkeypatch.context() as patch:
                patch.setattr(client._loads.flights, "keep", cancelled_at_once)
                with pytest.raises(asyncio.CancelledError):
                    await client.get_or_load("k", AsyncLoader(), ttl=60)
            await client.delete("k")
            started = asyncio.get_running_loop().time()
            assert await client.get_or_load("k", AsyncLoader(b"w"), ttl=60, lease=3) == b"w"
            assert asyncio.get_running_loop().time() - started < 2
            assert client._loads.flights._open == {}


async def test_an_error_that_nobody_waits_for_is_not_reported_as_never_retrieved() -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    loader = AsyncLoader(waits=True)

    async def stubborn() -> bytes:
        try:
            await loader()
        except asyncio.CancelledError:
            await client.close()
        return b"v"

    with FakeServer(LeasingCache()) as server:
        client = AsyncClient(server.url)
        caller = wants(client, stubborn)
        await loader.begun.wait()
        caller.cancel()
        await asyncio.wait([caller])
        await until(lambda: not client._loads.flights._tasks)
    del caller  # its error's traceback holds the load
    gc.collect()
    assert reported == []


async def test_old_values_are_served_while_one_loads() -> None:
    cache, loader = LeasingCache(), AsyncLoader(b"new", waits=True)
    cache.stale[b"k"] = b"old"
    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            first = wants(client, loader, stale=60)
            await loader.begun.wait()
            others = [wants(client, AsyncLoader(ValueError()), stale=60) for _ in range(5)]
            assert set(await asyncio.gather(*others)) == {b"old"}
            loader.may_end.set()
            assert await first == b"new"


def test_one_client_in_one_loop_after_the_other() -> None:
    cache = LeasingCache()
    with FakeServer(cache) as server:
        client = AsyncClient(server.url)

        async def hang_up() -> None:
            assert client._shared.connection is not None
            client._shared.connection.abort()
            await asyncio.sleep(0.01)

        async def begin() -> None:
            loader = AsyncLoader(waits=True)
            wants(client, loader)
            await loader.begun.wait()
            await hang_up()

        async def go_on() -> None:
            assert await client.get_or_load("k", AsyncLoader(b"v"), ttl=60) == b"v"
            await client.delete("k")
            await hang_up()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        assert client._loads.flights._open, "the load has ended with its loop, and does not know it"
        cache.leases.clear()
        asyncio.run(go_on())


async def test_cancels_at_random_leave_nothing_behind() -> None:
    cache = LeasingCache()
    dice = random.Random(11)

    async def load() -> bytes:
        await asyncio.sleep(dice.random() * 0.002)
        return b"v"

    with FakeServer(cache) as server:
        async with AsyncClient(server.url) as client:
            await client.ping()
            for _ in range(20):
                tasks = [wants(client, load, lease=30) for _ in range(30)]
                for task in tasks:
                    asyncio.get_running_loop().call_later(dice.random() * 0.004, task.cancel)
                await asyncio.wait(tasks)
                async with asyncio.timeout(5):
                    assert await client.get_or_load("k", load, ttl=60, lease=30) == b"v"
                await client.delete("k")
            await until(lambda: not client._loads.flights._tasks)
            assert client._loads.flights._open == {}
