"""The cache backend for Django: Django's own tests, and what they do not ask."""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.running import RunningServer
from wireproto import Client
from wireproto.adapters.django import WireprotoCache
from wireproto.errors import LostError, TooBigError

REPOSITORY = Path(__file__).resolve().parents[2]
Make = Callable[..., WireprotoCache]


class JsonSerializer:
    """As OPTIONS may name one."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


def run_theirs(server: RunningServer, *patterns: str, url: str = "") -> tuple[int, str]:
    """The exit code of Django's own tests, and what they wrote."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "WIREPROTO_URL": url or server.url()}
    command = [sys.executable, "-m", "tests.adapters.django_tests", *patterns]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_theirs(server: RunningServer) -> None:
    code, output = run_theirs(server)
    assert code == 0, output
    assert int(output.split(" tests ran, 0 were skipped")[0].rpartition("\n")[2]) > 100, output


def test_they_can_fail(server: RunningServer) -> None:
    code, output = run_theirs(server, "test_delete_nonexistent", url="wireproto+plain://key@127.0.0.1:1")
    assert code == 1
    assert "\nFAILED" in output


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def make(server: RunningServer, prefix: str) -> Make:
    """Caches with one prefix."""

    def made(location: str = "", timeout: Any = 300, **options: Any) -> WireprotoCache:
        params = {"TIMEOUT": timeout, "KEY_PREFIX": prefix, "OPTIONS": options}
        return WireprotoCache(location or server.url(), params)

    return made


def time_left(client: Client[bytes], prefix: str, key: str) -> float | None:
    found = client.read(f"{prefix}:1:{key}", with_ttl=True)
    assert found is not None
    return found.ttl


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(7, 7), (0.5, 0.5), (100.25, 100.25), (10**12, 10_000_000_000), (None, None), (math.inf, 10_000_000_000)],
)
def test_timeouts(make: Make, prefix: str, client: Client[bytes], timeout: float | None, seconds: float | None) -> None:
    cache = make()
    cache.set("set", 1, timeout)
    cache.add("added", 1, timeout)
    cache.set_many({"many": 1}, timeout)
    for key in ("set", "added", "many"):
        left = time_left(client, prefix, key)
        assert (left is None) is (seconds is None)
        if left is not None and seconds is not None:
            assert seconds - 5 < left <= seconds
    cache.set("touched", 1, 1000)
    assert cache.touch("touched", timeout)
    left = time_left(client, prefix, "touched")
    assert left is not None
    assert left > 9_999_999_000 if seconds is None else seconds - 5 < left <= seconds


@pytest.mark.parametrize("timeout", [0, -1, -0.5, -math.inf])
def test_no_time_is_not_stored(make: Make, timeout: float) -> None:
    cache = make()
    for key in "abcd":
        cache.set(key, 1)
    cache.set("a", 2, timeout)
    assert not cache.add("b", 2, timeout)
    assert cache.add("new", 2, timeout)
    assert cache.set_many({"c": 2, "e": 2}, timeout) == []
    assert cache.touch("d", timeout)
    assert not cache.touch("none", timeout)
    assert cache.get_many(["a", "b", "c", "d", "e", "new"]) == {"b": 1}


def test_whole_numbers_are_counters_of_the_server(make: Make, prefix: str, client: Client[bytes]) -> None:
    cache = make()
    cache.set("count", 41, 1000)
    assert client.read(f"{prefix}:1:count") == b"41"
    assert client.incr(f"{prefix}:1:count") == 42
    assert cache.decr("count", 2) == 40
    assert 990 < (time_left(client, prefix, "count") or 0) <= 1000
    for key, value in {"large": 2**63 - 1, "larger": 10**40, "fraction": 1.5}.items():
        cache.set(key, value)
        assert cache.incr(key) == value + 1 == cache.get(key)


def test_a_counter_that_is_absent_is_not_made(make: Make) -> None:
    cache = make()
    with pytest.raises(ValueError, match="Key 'none' not found"):
        cache.incr("none")
    assert not cache.has_key("none")


def test_a_counter_that_goes_away_in_between_has_the_default_timeout(
    make: Make, prefix: str, client: Client[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make(timeout=50)
    monkeypatch.setattr(cache._client, "read", lambda _key: b"1")
    assert cache.incr("gone") == 1
    assert 40 < (time_left(client, prefix, "gone") or 0) <= 50
    for timeout in (None, 0):
        cache = make(timeout=timeout)
        assert cache.incr(f"gone-with-{timeout}") == 1
        assert time_left(client, prefix, f"gone-with-{timeout}") is None


def test_counting_where_values_are_encrypted(make: Make, encrypted_server: RunningServer) -> None:
    cache = make(encrypted_server.url())
    cache.set("count", 41)
    assert cache.incr("count") == 42
    assert cache.decr("count", 2) == 40
    assert cache.get("count") == 40


def test_clear_is_for_the_prefix_and_for_all_objects_of_the_process(make: Make, server: RunningServer) -> None:
    one, other, plain = make(clear_within=60), make(clear_within=60), make()
    elsewhere = WireprotoCache(server.url(), {"KEY_PREFIX": secrets.token_hex(8), "OPTIONS": {"clear_within": 60}})
    for cache in (one, plain, elsewhere):
        cache.set("a", 1)
    assert other.get("a") == 1
    one.clear()
    assert other.get("a") is None
    assert plain.get("a") == elsewhere.get("a") == 1
    with pytest.raises(NotImplementedError, match="clear_within"):
        plain.clear()


def test_objects_share_a_client_and_closing_one_closes_nothing(make: Make, client: Client[bytes]) -> None:
    one, other = make(), make()
    assert one._client is other._client
    one.close()
    other.set("a", 1)
    assert one.get("a") == 1


def test_without_a_location_it_is_the_environments(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIREPROTO_URL", server.url())
    assert WireprotoCache("", {}).get(secrets.token_hex(8)) is None


@pytest.mark.parametrize(
    "serializer",
    [
        "tests.adapters.test_django.JsonSerializer",
        JsonSerializer,
        JsonSerializer(),
    ],
)
def test_a_serializer_of_ones_own(make: Make, prefix: str, client: Client[bytes], serializer: Any) -> None:
    cache = make(serializer=serializer)
    cache.set("a", {"b": [1, None]})
    assert client.read(f"{prefix}:1:a") == b'{"b": [1, null]}'
    assert cache.get("a") == {"b": [1, None]}


def test_one_value_that_is_too_large(make: Make) -> None:
    cache = make()
    large = b"x" * 2_000_000
    assert cache.set_many({"large": large, "small": 1}) == ["large"]
    assert cache.get("small") == 1
    with pytest.raises(TooBigError):
        cache.set("large", large)


def test_one_key_that_cannot_be_asked_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make()
    for name in ("read_many", "delete_many"):
        monkeypatch.setattr(cache._client, name, lambda keys: dict(zip(keys, (None, LostError()), strict=True)))
    with pytest.raises(LostError):
        cache.get_many(["a", "b"])
    with pytest.raises(LostError):
        cache.delete_many(["a", "b"])


async def test_asynchronous(make: Make, prefix: str, client: Client[bytes]) -> None:
    cache = make(clear_within=0)
    await cache.aset("a", 1, 1000)
    assert await cache.aadd("a", 2) is False
    assert await cache.aget("a") == 1
    assert await cache.aset_many({"b": 2, "c": 3}) == []
    assert await cache.aget_many(["a", "b", "none"]) == {"a": 1, "b": 2}
    assert await cache.atouch("a", 500)
    assert [await cache.aincr("a", 5), await cache.adecr("a")] == [6, 5]
    with pytest.raises(ValueError, match="not found"):
        await cache.aincr("none")
    assert await cache.ahas_key("a")
    assert await cache.aget_or_set("d", lambda: 4) == 4
    assert await cache.aincr_version("d") == 2
    assert await cache.aget("d", version=2) == 4
    assert await cache.adelete("a")
    await cache.adelete_many(["b", "c"])
    assert await cache.aget_many(["a", "b", "c", "d"]) == {}
    await cache.aset("e", 5)
    await cache.aclear()
    assert await cache.aget("e") is None
    await cache.aclose()


async def test_asynchronous_counting_loses_nothing(make: Make) -> None:
    cache = make()
    await cache.aset("count", 0)
    await asyncio.gather(*(cache.aincr("count") for _ in range(20)))
    assert await cache.aget("count") == 20
