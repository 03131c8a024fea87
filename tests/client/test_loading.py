"""Values that are loaded on demand, by one caller of either client: what is asked of the cache, and if it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.client.both_clients import BOTH
from tests.client.fake_server import FakeServer, verb_of
from tests.client.leasing_cache import Fault, LeasingCache, Loader
from wireproto import Client, Codec
from wireproto.core.codec import ABSENT
from wireproto.core.request_wire import Frame
from wireproto.errors import ArgumentError, AuthError, ConfigurationError, DeniedError

GetOrLoad = Callable[..., Any]


@pytest.fixture(params=BOTH)
def get(request: pytest.FixtureRequest) -> GetOrLoad:
    """`get_or_load` of a new client of either kind."""

    def get_or_load(url: str, loader: Any, key: str = "k", codec: Any = None, **options: Any) -> Any:
        with request.param(url, retries=0, codec=codec) as client:
            return client.get_or_load(key, loader, **{"ttl": 60, **options})

    return get_or_load


def failing(verb: str, line: bytes, times: int = 10**9) -> Fault:
    """Answers the first requests with this verb so."""
    left = [times]

    def fault(frame: Frame) -> bytes | None:
        if verb_of(frame) != verb:
            return None
        left[0] -= 1
        return line if left[0] >= 0 else None

    return fault


def test_a_value_is_loaded_once_and_then_read(get: GetOrLoad) -> None:
    cache, loader = LeasingCache(), Loader()
    with FakeServer(cache) as server:
        assert get(server.url, loader) == b"v"
        assert server.heard == ["READ", "WRITE"]
        assert get(server.url, loader) == b"v"
        assert server.heard == ["READ", "WRITE", "READ"]
    assert loader.calls == 1
    assert cache.leases == {}


def test_a_codec_is_used_both_ways(get: GetOrLoad) -> None:
    cache = LeasingCache()
    with FakeServer(cache) as server:
        assert get(server.url, lambda: {"a": 1}, codec=Codec.json()) == {"a": 1}
        assert cache.values == {b"k": b'{"a":1}'}
        assert get(server.url, Loader(ValueError()), codec=Codec.json()) == {"a": 1}
        with pytest.raises(ArgumentError):
            get(server.url, object, codec=Codec.json(), key="l")
        assert cache.leases == {}, "it was given back"


def test_the_loaders_error_is_raised_and_the_lease_given_back(get: GetOrLoad) -> None:
    cache = LeasingCache()
    with FakeServer(cache) as server:
        with pytest.raises(ZeroDivisionError):
            get(server.url, Loader(ZeroDivisionError()))
        assert server.heard == ["READ", "DELETE"]
        assert get(server.url, Loader()) == b"v"


def test_where_there_is_nothing_that_may_be_remembered(get: GetOrLoad) -> None:
    cache, loader = LeasingCache(), Loader(None)
    with FakeServer(cache) as server:
        assert get(server.url, loader) is None
        assert get(server.url, loader) is None
        assert (loader.calls, cache.leases, cache.values) == (2, {}, {})
        for _ in range(2):
            assert get(server.url, loader, missing_ttl=5, codec=Codec.json()) is None
            assert get(server.url, loader, missing_ttl=5) is None
        assert loader.calls == 3
        assert cache.values == {b"k": ABSENT}
        with Client(server.url) as raw, Client(server.url, codec=Codec.json()) as client:
            assert raw.read("k") == ABSENT
            assert client.read("k") is None
            assert client.read_many(["k"]) == {"k": None}


def test_the_winner_loads_a_stale_value_anew_and_the_others_get_it_as_it_is(get: GetOrLoad) -> None:
    cache = LeasingCache()
    cache.stale[b"k"] = b"old"
    with FakeServer(cache) as server:
        cache.leases[b"k"] = b"another"
        assert get(server.url, Loader(ValueError()), stale=60) == b"old"
        assert server.heard == ["READ"]
        cache.leases.clear()
        assert get(server.url, Loader(b"new"), stale=60) == b"new"
        assert cache.values == {b"k": b"new"}


def test_a_stale_value_is_good_enough_when_the_loader_fails(get: GetOrLoad) -> None:
    cache = LeasingCache()
    cache.stale[b"k"] = b"old"
    with FakeServer(cache) as server:
        assert get(server.url, Loader(ZeroDivisionError()), stale=60) == b"old"
        assert server.heard == ["READ", "DELETE"]
        assert (cache.stale, cache.leases) == ({b"k": b"old"}, {})


def test_what_is_gone_is_removed_although_it_could_be_served_stale(get: GetOrLoad) -> None:
    cache = LeasingCache()
    cache.stale[b"k"] = b"old"
    with FakeServer(cache) as server:
        assert get(server.url, Loader(None), stale=60) is None
        assert cache.stale == {}


def test_a_value_is_loaded_before_its_time_is_over(get: GetOrLoad) -> None:
    cache = LeasingCache()
    cache._store(b"k", b"old")
    with FakeServer(cache) as server:
        # The fake server's values have one second left.
        drawn = [get(server.url, Loader(b"new"), early=1.0) for _ in range(12)]
        assert set(drawn) <= {b"old", b"new"}
        assert len(set(cache.early)) > 6, "it is drawn anew each time"
        assert (max(cache.early) > 1000) is (b"new" in drawn)
        assert get(server.url, Loader(b"newer"), early=86_400) == b"newer"
        assert cache.values == {b"k": b"newer"}


def test_a_change_meanwhile_is_not_overwritten(get: GetOrLoad) -> None:
    cache = LeasingCache()

    def load() -> bytes:
        with Client(server.url) as other:
            other.delete("k")
        return b"old"

    with FakeServer(cache) as server:
        assert get(server.url, load) == b"old"
        assert cache.values == {}


def test_a_key_that_another_loads_is_waited_for(get: GetOrLoad) -> None:
    cache, loader = LeasingCache(), Loader()
    cache.fault = failing("READ", b"MISS held=1000", 3)
    cache._store(b"k", b"theirs")
    with FakeServer(cache) as server:
        assert get(server.url, loader) == b"theirs"
    assert loader.calls == 0
    assert cache.asked.count("READ") == 4


@pytest.mark.parametrize("options", [{"wait": 0.05}, {"lease": 0.05}, {"timeout": 0.05}])
def test_one_that_never_comes_is_not_waited_for_for_ever(get: GetOrLoad, options: dict[str, float]) -> None:
    cache, loader = LeasingCache(), Loader()
    cache.fault = failing("READ", b"MISS held=5000")
    with FakeServer(cache) as server:
        assert get(server.url, loader, **options) == b"v"
        assert set(server.heard) == {"READ"}, "what was loaded without a lease is not stored"
    assert loader.calls == 1


@pytest.mark.parametrize("line", [b"ERR DOWN :x", b"ERR BUSY retry=5 :x", b"ERR LIMIT retry=5 :x", b"ERR LATE :x"])
def test_a_cache_that_fails_is_passed_by(get: GetOrLoad, line: bytes) -> None:
    cache, loader = LeasingCache(), Loader()
    cache.fault = failing("READ", line)
    with FakeServer(cache) as server:
        assert get(server.url, loader) == b"v"
        assert server.heard == ["READ"]
    assert loader.calls == 1


def test_a_cache_that_is_not_there_or_says_nothing_is_passed_by(get: GetOrLoad) -> None:
    cache, loader = LeasingCache(), Loader()
    with FakeServer(cache) as server:
        url = server.url
        cache.fault = failing("READ", b"silence")
        assert get(url, loader, timeout=0.1) == b"v"
        cache.fault = failing("READ", b"reset")
        assert get(url, loader) == b"v"
    assert get(url, loader) == b"v"
    assert loader.calls == 3


def test_what_the_program_has_to_see_is_raised(get: GetOrLoad) -> None:
    cache, loader = LeasingCache(), Loader()
    with FakeServer(cache) as server:
        for line, error in ((b"ERR DENIED :x", DeniedError), (b"ERR AUTH :x", AuthError)):
            cache.fault = failing("READ", line)
            with pytest.raises(error):
                get(server.url, loader)
        for arguments in ({"key": ""}, {"ttl": 0}, {"lease": -1}, {"stale": "5"}):
            with pytest.raises(ArgumentError):
                get(server.url, loader, **arguments)
        with pytest.raises(TypeError):
            get(server.url, loader, nx=True)
    with pytest.raises(ConfigurationError):
        get("wireproto://localhost:1?ca=/nowhere", loader)
    assert loader.calls == 0


@pytest.mark.parametrize("line", [b"ERR BUSY retry=5 :x", b"ERR TOOBIG :x", b"ERR LOST :x", b"ERR NOSYNC :x"])
def test_a_value_that_cannot_be_stored_is_returned(get: GetOrLoad, line: bytes) -> None:
    cache, loader = LeasingCache(), Loader()
    cache.fault = failing("WRITE", line)
    with FakeServer(cache) as server:
        assert get(server.url, loader) == b"v"
        is_safe_to_give_back = line.startswith((b"ERR BUSY", b"ERR TOOBIG"))
        assert server.heard == ["READ", "WRITE", "DELETE"][: 3 if is_safe_to_give_back else 2]


@pytest.mark.parametrize("line", [b"ERR DOWN :x", b"ERR DENIED :x", b"CONFLICT", b"reset"])
def test_it_does_not_matter_when_a_lease_cannot_be_given_back(get: GetOrLoad, line: bytes) -> None:
    cache = LeasingCache()
    cache.fault = failing("DELETE", line)
    with FakeServer(cache) as server:
        assert get(server.url, Loader(None)) is None
        cache.leases.clear()
        with pytest.raises(ZeroDivisionError):
            get(server.url, Loader(ZeroDivisionError()))


def test_what_nobody_can_read_is_removed_and_loaded_anew(get: GetOrLoad) -> None:
    cache, loader = LeasingCache(), Loader([1])
    cache._store(b"k", b"no JSON")
    with FakeServer(cache) as server:
        assert get(server.url, loader, codec=Codec.json()) == [1]
        assert server.heard == ["READ", "DELETE", "READ", "WRITE"]
        assert cache.values == {b"k": b"[1]"}
        cache.fault = failing("READ", b"ERR CORRUPT :x", 1)
        assert get(server.url, loader, codec=Codec.json()) == [1]
        assert server.heard[4:] == ["READ", "DELETE", "READ", "WRITE"]
        cache.fault = failing("READ", b"ERR CORRUPT :x")
        assert get(server.url, loader, codec=Codec.json()) == [1]
        assert server.heard[8:] == ["READ", "DELETE", "READ"], "removing it does not help"
