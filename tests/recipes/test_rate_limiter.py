"""Rate limits, against a server of the test's own: what is sent, and what if it fails."""

from __future__ import annotations

import pytest

from tests.client.fake_server import FakeServer, Peer
from wireproto import AsyncClient, AsyncRateLimiter, Client, Codec, RateLimit, RateLimiter
from wireproto.errors import ArgumentError, LostError, NodeDownError


class Counters:
    """Answers INCR and READ with the next of these lines."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = list(lines)
        self.writes = 0

    async def __call__(self, peer: Peer) -> None:
        while self.lines:
            peer.answer(await peer.request(), self.lines.pop(0))
        await peer.gone()


def test_a_hit() -> None:
    with FakeServer(Counters(b"OK 1:2", b"OK 1:2 ttl=4000", b"OK 1:3", b"OK 1:3 ttl=3000")) as server:
        with Client(server.url, codec=Codec.msgspec(str)) as client:
            limiter = RateLimiter(client, 2, 5)
            assert limiter.hit("me") == RateLimit(True, 0, 0.0)
            assert limiter.hit("me") == RateLimit(False, 0, 3.0)
        assert server.heard == ["INCR", "READ"] * 2


async def test_a_hit_of_a_coroutine_with_a_clock_of_its_own() -> None:
    with FakeServer(Counters(b"OK 1:1", b"OK 2:10")) as server:
        async with AsyncClient(server.url) as client:
            limiter = AsyncRateLimiter(client, 10, 60, kind="sliding", clock=lambda: 60.0 * 7 + 30.0)
            assert await limiter.hit("me") == RateLimit(True, 4, 0.0)


def test_a_hit_is_not_counted_twice() -> None:
    with FakeServer(Counters(b"ERR LOST :x", b"OK 1:1 ttl=1")) as server, Client(server.url) as client:
        with pytest.raises(LostError):
            RateLimiter(client, 2, 5).hit("me")
        assert server.heard == ["INCR", "READ"]
    with (
        FakeServer(Counters(b"ERR DOWN :x", b"ERR DOWN :x", b"OK 1:1", b"MISS")) as server,
        Client(server.url) as client,
    ):
        assert RateLimiter(client, 2, 5).hit("me").allowed, "it was sent again, as it had no effect"


def test_what_cannot_work() -> None:
    with Client("wireproto+plain://127.0.0.1:1", retries=0) as client:
        with pytest.raises(NodeDownError):
            RateLimiter(client, 2, 5).hit("me")
        with pytest.raises(ArgumentError):
            RateLimiter(client, 2, 5).hit("me", 3)
        with pytest.raises(ArgumentError):
            RateLimiter(client, 0, 5)
