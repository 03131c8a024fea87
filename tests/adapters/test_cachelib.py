"""The cache for cachelib: cachelib's own tests, and what they do not ask."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import pytest
from cachelib.serializers import JSONSerializer

from tests.adapters.cachelib_tests import (
    ClearTests,
    CommonTests,
    DeleteManyWithPrefixTests,
    HasTests,
    SerializerTests,
)
from tests.live.running import RunningServer
from wireproto import Client
from wireproto.adapters.cachelib import WireprotoCache
from wireproto.errors import ConfigurationError, LostError, TooBigError


class TestTheirs(CommonTests, ClearTests, HasTests, DeleteManyWithPrefixTests, SerializerTests):
    """All that cachelib asks of a cache."""

    @pytest.fixture(autouse=True)
    def cache_factory(self, server: RunningServer) -> None:
        def factory(**keywords: Any) -> WireprotoCache:
            prefix = keywords.pop("key_prefix", "") + secrets.token_hex(8)
            return WireprotoCache(server.url(), key_prefix=prefix, clear_within=0, **keywords)

        self.cache_factory = factory


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(8) + ":"


@pytest.fixture
def cache(server: RunningServer, prefix: str) -> WireprotoCache:
    return WireprotoCache(server.url(), key_prefix=prefix)


def time_left(client: Client[bytes], key: str) -> float | None:
    found = client.read(key, with_ttl=True)
    assert found is not None
    return found.ttl


def test_what_is_stored_can_be_read_by_others(cache: WireprotoCache, prefix: str, client: Client[bytes]) -> None:
    cache.set("number", 42)
    assert client.read(f"{prefix}number") == b"42"
    cache.serializer = JSONSerializer()
    cache.set("object", {"a": [1, None]})
    assert client.read(f"{prefix}object") == b'{"a": [1, null]}'
    assert cache.get("object") == {"a": [1, None]}
    assert cache.get("none") is None
    assert cache.get_many("none", "object") == [None, {"a": [1, None]}]


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(None, 300), (7, 7), (timedelta(milliseconds=1500), 2), (10**12, 10_000_000_000), (0, None)],
)
def test_timeouts(
    cache: WireprotoCache, prefix: str, client: Client[bytes], timeout: int | timedelta | None, seconds: int | None
) -> None:
    cache.set("set", 1, timeout)
    cache.add("added", 1, timeout)
    cache.set_many({"many": 1}, timeout)
    for key in ("set", "added", "many"):
        left = time_left(client, prefix + key)
        if seconds is None:
            assert left is None
        else:
            assert left is not None
            assert seconds - 5 < left <= seconds


def test_a_negative_timeout_is_over(cache: WireprotoCache) -> None:
    cache.set_many({"a": 1, "b": 1, "c": 1})
    assert cache.set("a", 2, -1)
    assert not cache.add("b", 2, -1)
    assert cache.add("new", 2, -1)
    assert cache.set_many({"c": 2, "d": 2}, -1) == ["c", "d"]
    assert cache.get_many("a", "b", "c", "d", "new") == [None, 1, None, None, None]


def test_a_new_counter_has_the_default_timeout(cache: WireprotoCache, prefix: str, client: Client[bytes]) -> None:
    assert cache.inc("new", 5) == 5
    assert 290 < (time_left(client, f"{prefix}new") or 0) <= 300
    cache.set("old", 1, 1000)
    assert cache.dec("old") == 0
    assert 990 < (time_left(client, f"{prefix}old") or 0) <= 1000
    cache.default_timeout = 0
    assert cache.inc("for ever") == 1
    assert time_left(client, f"{prefix}for ever") is None


def test_counting_where_values_are_encrypted(encrypted_server: RunningServer, prefix: str) -> None:
    cache = WireprotoCache(encrypted_server.url(), key_prefix=prefix)
    cache.set("count", 10)
    assert cache.inc("count", 5) == 15
    assert cache.dec("count", 3) == 12
    assert cache.get("count") == 12


def test_without_clear_within_nothing_is_cleared(cache: WireprotoCache) -> None:
    cache.set("a", 1)
    with pytest.raises(NotImplementedError, match="clear_within"):
        cache.clear()
    assert cache.get("a") == 1


def test_what_the_serializer_cannot_write_is_not_stored(cache: WireprotoCache) -> None:
    cache.serializer = JSONSerializer()
    assert cache.set("a", object()) is False
    assert cache.add("a", object()) is False
    assert cache.set_many({"a": object(), "b": 1}) == ["b"]


def test_one_value_that_is_too_large(cache: WireprotoCache) -> None:
    large = b"x" * 2_000_000
    assert cache.set_many({"large": large, "small": 1}) == ["small"]
    with pytest.raises(TooBigError):
        cache.set("large", large)


def test_keys_that_could_not_be_deleted(cache: WireprotoCache, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = (LostError(), True, False)
    monkeypatch.setattr(cache._client, "delete_many", lambda keys: dict(zip(keys, outcomes, strict=True)))
    assert cache.delete_many("a", "b", "c") == ["b", "c"]
    cache.ignore_delete_many_errors = False
    with pytest.raises(RuntimeError, match=r"\['a'\]"):
        cache.delete_many("a", "b", "c")


def test_a_key_that_cannot_be_read(cache: WireprotoCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache._client, "read_many", lambda keys: dict.fromkeys(keys, LostError()))
    with pytest.raises(LostError):
        cache.get_many("a")


def test_nothing_of_many(cache: WireprotoCache) -> None:
    assert cache.get_many() == []
    assert cache.get_dict() == {}
    assert cache.set_many({}) == []
    assert cache.delete_many() == []
    assert cache.get_many("same", "same") == [None, None]


def test_a_client_of_ones_own(client: Client[bytes], prefix: str) -> None:
    cache = WireprotoCache(client=client, key_prefix=lambda: prefix)
    cache.set("a", 1)
    assert client.read(f"{prefix}a") == b"1"


def test_options_are_the_clients(server: RunningServer) -> None:
    assert WireprotoCache(server.url(), timeout=0.5)._client.options.timeout == 0.5
    with pytest.raises(ConfigurationError, match="no such option"):
        WireprotoCache(server.url(), socket_timeout=0.5)
