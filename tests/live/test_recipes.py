"""Rate limits, sessions and cached functions, against a real server."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.running import RunningServer, wait_until
from tests.live.test_loading import in_threads
from wireproto import (
    AsyncClient,
    AsyncRateLimiter,
    AsyncSessionStore,
    Client,
    Codec,
    RateLimiter,
    SessionStore,
    cached,
)
from wireproto.core.rate_windows import Kind


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client[Any]]:
    with Client(server.plain_url(), codec=Codec.json()) as client:
        yield client


# -- rate limits


def test_processes_together_are_allowed_the_limit_and_not_one_more(
    start_children: Any,
    client: Client[Any],
) -> None:
    client.delete("processes:30000:{all}")
    outcomes: Counter[str] = Counter()
    for child in start_children("hits"):
        outcomes.update(child.result())
    assert outcomes == {"allowed": 100, "refused": 3 * 8 * 25 - 100}


@pytest.mark.parametrize("kind", ["fixed", "sliding"])
async def test_tasks_together_are_allowed_the_limit(server: RunningServer, kind: Kind) -> None:
    async with AsyncClient(server.plain_url()) as client:
        limiter = AsyncRateLimiter(client, 50, 60, prefix=f"tasks:{time.time()}:", kind=kind, clock=lambda: 6e8)
        hits = await asyncio.gather(*[limiter.hit("all") for _ in range(200)])
        assert Counter(hit.allowed for hit in hits) == {True: 50, False: 150}
        assert sorted(hit.remaining for hit in hits if hit.allowed) == list(range(50))
        assert all(0 < hit.retry_after <= 120 for hit in hits if not hit.allowed)
        assert (await limiter.hit("another")).remaining == 49


def test_a_fixed_window_ends(client: Client[Any]) -> None:
    limiter = RateLimiter(client, 2, 0.2, prefix=f"ending:{time.time()}:")
    assert [limiter.hit("me").allowed for _ in range(2)] == [True, True]
    refused = limiter.hit("me")
    assert not refused.allowed
    assert 0 < refused.retry_after <= 0.2
    time.sleep(refused.retry_after + 0.01)
    assert limiter.hit("me").allowed


def test_a_sliding_window_slides(client: Client[Any]) -> None:
    now = [6e8]
    limiter = RateLimiter(client, 10, 60, prefix=f"sliding:{time.time()}:", kind="sliding", clock=lambda: now[0])
    assert limiter.hit("me", 10).remaining == 0
    now[0] += 60
    refused = limiter.hit("me")
    assert not refused.allowed
    now[0] += refused.retry_after + 0.001
    assert limiter.hit("me").allowed
    now[0] += 120
    assert limiter.hit("me").remaining == 9


# -- sessions


def test_sessions(client: Client[Any]) -> None:
    store = SessionStore(client, 0.5)
    session_id = store.create({"user": 5})
    assert len(session_id) == 43
    for _ in range(3):
        time.sleep(0.2)
        assert store.load(session_id) is not None, "it lives longer each time"
    session, other = store.load(session_id), store.load(session_id)
    assert session is not None
    assert other is not None
    session.data["cart"] = [1]
    assert store.save(session)
    assert not store.save(other), "another has changed it"
    session.data["cart"].append(2)
    assert store.save(session), "it has the new version"
    found = store.load(session_id)
    assert found is not None
    assert found.data == {"user": 5, "cart": [1, 2]}
    assert store.load("x" * 43) is None
    assert store.load("../" + session_id) is None
    assert store.delete(session_id)
    assert not store.delete(session_id)
    assert not store.save(found), "what is gone does not come back"
    assert store.load(session_id) is None
    session_id = store.create({})
    wait_until(lambda: client.read(f"session:{session_id}") is None)
    assert store.load(session_id) is None


async def test_sessions_of_coroutines(server: RunningServer) -> None:
    async with AsyncClient(server.plain_url(), codec=Codec.json()) as client:
        store = AsyncSessionStore(client, 60, prefix="s:")
        session_id = await store.create({"user": 5})

        async def add() -> bool:
            session = await store.load(session_id)
            assert session is not None
            return await store.save(session)

        assert sum(await asyncio.gather(*[add() for _ in range(10)])) == 1, "nobody's change is lost unseen"
        assert await store.load("no id") is None
        assert await store.delete(session_id)
        assert not await store.delete(session_id)
        assert not await store.delete("no id")
        assert await store.load(session_id) is None


# -- cached functions


def test_a_cached_function_in_threads(client: Client[Any]) -> None:
    calls: list[int] = []
    run = time.time()

    @cached(client, ttl=60, key=f"square:{run}:{{number}}")
    def square(number: int) -> int:
        calls.append(number)
        time.sleep(0.1)
        return number * number

    assert in_threads(20, lambda: square(7)) == [49] * 20
    assert calls == [7]
    assert square.invalidate(7)
    assert square(7) == 49
    assert calls == [7, 7]


async def test_a_cached_coroutine_function_with_compressed_values_of_a_type(server: RunningServer) -> None:
    codec: Codec[dict[str, str]] = Codec.compressed(Codec.msgspec(dict[str, str]))
    calls: list[str] = []
    async with AsyncClient(server.plain_url(), codec=codec) as client:

        @cached(client, ttl=60, key="page:{name}")
        async def page(name: str) -> dict[str, str]:
            calls.append(name)
            return {"name": name, "text": "long " * 1000}

        await page.invalidate("one")
        first, *others = await asyncio.gather(*[page("one") for _ in range(10)])
        assert first["text"] == "long " * 1000
        assert others == [first] * 9
        assert calls == ["one"]
        async with AsyncClient(server.plain_url()) as raw:
            stored = await raw.read("page:one")
            assert stored is not None
            assert len(stored) < 200
