"""Functions whose results are kept."""

from __future__ import annotations

from typing import Any, assert_type

import pytest

from tests.client.fake_server import FakeServer
from tests.client.leasing_cache import LeasingCache
from wireproto import AsyncClient, Client, Codec, cached
from wireproto.errors import ArgumentError, ConfigurationError
from wireproto.recipes.cached import AsyncCached, Cached


def test_a_function() -> None:
    calls: list[tuple[int, bool]] = []
    with FakeServer(LeasingCache()) as server, Client(server.url, codec=Codec.json()) as client:

        @cached(client, ttl=60, key="user:{user_id}:{full}")
        def user(user_id: int, full: bool = False) -> dict[str, int]:
            """A user."""
            calls.append((user_id, full))
            return {"id": user_id}

        assert_type(user(5), dict[str, int])
        assert user(user_id=5, full=False) == {"id": 5}
        assert user(5, full=True) == {"id": 5}
        assert calls == [(5, False), (5, True)]
        assert user.key(5) == "user:5:False"
        assert user.invalidate(5)
        assert not user.invalidate(5)
        assert user(5) == {"id": 5}
        assert len(calls) == 3
        assert (vars(user)["__name__"], user.__doc__) == ("user", "A user.")
        assert isinstance(user, Cached)
        assert user.__wrapped__(7) == {"id": 7}


async def test_a_coroutine_function() -> None:
    calls: list[int] = []
    with FakeServer(LeasingCache()) as server:
        async with AsyncClient(server.url, codec=Codec.json()) as client:

            @cached(client, ttl=60, key=lambda user_id: b"user:%d" % user_id)
            async def user(user_id: int) -> str:
                calls.append(user_id)
                return f"user {user_id}"

            assert_type(await user(5), str)
            assert await user(user_id=5) == "user 5"
            assert calls == [5]
            assert user.key(5) == b"user:5"
            assert await user.invalidate(5)
            assert not await user.invalidate(5)
            assert isinstance(user, AsyncCached)


def test_a_method() -> None:
    class Shop:
        def __init__(self, factor: int) -> None:
            self.factor = factor

    with FakeServer(LeasingCache()) as server, Client(server.url, codec=Codec.json()) as client:

        def price(self: Shop, article: int) -> int:
            return article * self.factor

        Shop.price = cached(client, ttl=60, key="price:{self.factor}:{article}")(price)  # type: ignore[attr-defined]
        shop: Any = Shop(2)
        assert shop.price(3) == shop.price(article=3) == 6
        assert Shop.price.invalidate(shop, 3)  # type: ignore[attr-defined]


def test_nothing_is_kept_only_if_that_was_asked_for() -> None:
    calls: list[str] = []
    with FakeServer(LeasingCache()) as server, Client(server.url, codec=Codec.json()) as client:

        def find(name: str) -> None:
            calls.append(name)

        forgetful = cached(client, ttl=60, key="a:{name}")(find)
        remembering = cached(client, ttl=60, key="b:{name}", missing_ttl=5)(find)
        for function in (forgetful, forgetful, remembering, remembering):
            function("x")
        assert len(calls) == 3


def module_level(a: int, b: str = "x") -> int:
    """A function with a name."""
    return a


def test_a_function_without_a_key_of_its_own() -> None:
    cache = LeasingCache()
    with FakeServer(cache) as server, Client(server.url, codec=Codec.json()) as client:
        function = cached(client, ttl=60)(module_level)
        assert function(1) == 1
        assert list(cache.values) == [b"cached:tests.recipes.test_cached.module_level(a=1,b='x')"]
        with pytest.raises(ArgumentError):
            function(object())  # type: ignore[arg-type]


async def test_what_cannot_work_is_told_at_once() -> None:
    async def coroutine() -> int:
        return 1

    blocking, asynchronous = Client("wireproto+plain://localhost"), AsyncClient("wireproto+plain://localhost")
    with pytest.raises(ConfigurationError):
        cached(blocking, ttl=1, key="k")(coroutine)
    with pytest.raises(ConfigurationError):
        cached(asynchronous, ttl=1, key="k")(module_level)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        cached(blocking, ttl=1, key="{c}")(module_level)
    with pytest.raises(ArgumentError):
        cached(blocking, ttl=0)
    with pytest.raises(TypeError):
        cached(blocking, ttl=1, nx=True)  # type: ignore[call-overload]


def test_a_cache_that_is_down_takes_no_function_down() -> None:
    with Client("wireproto+plain://127.0.0.1:1", retries=0) as client:

        @cached(client, ttl=1, key="k")
        def function() -> bytes:
            return b"v"

        assert function() == b"v"


async def test_an_object_that_is_called_like_a_coroutine_function() -> None:
    class Half:
        async def __call__(self, number: int) -> int:
            return number // 2

    with FakeServer(LeasingCache()) as server:
        async with AsyncClient(server.url, codec=Codec.json()) as client:
            half = cached(client, ttl=60, key="half:{number}")(Half())
            again = cached(client, ttl=60, key="again:{number}")(half)
            assert (await half(8), await again(8), await again(8)) == (4, 4, 4)
        with Client(server.url) as blocking, pytest.raises(ConfigurationError):
            cached(blocking, ttl=60, key="half:{number}")(Half())
