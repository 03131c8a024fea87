"""The backend for dogpile.cache: dogpile.cache's own tests, and what they do not ask."""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from dogpile.cache import CacheRegion, make_region
from dogpile.cache.api import NO_VALUE
from dogpile.testing.fixtures import (
    _GenericBackendFixture,
    _GenericBackendTestSuite,
    _GenericMutexTestSuite,
    _GenericSerializerTestSuite,
)

from tests.live.running import RunningServer, wait_until
from wireproto import Client
from wireproto.adapters.dogpile import WireprotoBackend
from wireproto.errors import ConfigurationError, LostError

NAME = "dogpile.cache.wireproto"


class Configured:
    """Where the server is, is known only when it runs."""

    backend = NAME
    extra: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _arguments(self, server: RunningServer) -> None:
        self.config_args = {"arguments": {"url": server.url(), **self.extra}}


class TestTheirBackend(Configured, _GenericBackendTestSuite):
    pass


class TestTheirSerializer(Configured, _GenericSerializerTestSuite, _GenericBackendFixture):
    pass


class TestTheirMutex(Configured, _GenericMutexTestSuite):
    extra: ClassVar[dict[str, Any]] = {"distributed_lock": True, "lock_sleep": 0.02}


@pytest.fixture
def key() -> str:
    return secrets.token_hex(8)


def time_left(client: Client[bytes], key: str) -> float | None:
    found = client.read(key, with_ttl=True)
    assert found is not None
    return found.ttl


def test_time_on_the_server(server: RunningServer, client: Client[bytes], key: str) -> None:
    backend = WireprotoBackend({"url": server.url(), "wireproto_expiration_time": 100})
    backend.set_serialized(key, b"1")
    backend.set_serialized_multi({f"{key}-many": b"1"})
    assert 90 < (time_left(client, key) or 0) <= 100
    assert 90 < (time_left(client, f"{key}-many") or 0) <= 100
    WireprotoBackend({"url": server.url()}).set_serialized(key, b"1")
    assert time_left(client, key) is None


def test_of_all_processes_one_creates_a_value(server: RunningServer, key: str) -> None:
    """Two regions stand for two processes."""
    together, created = threading.Barrier(2), []
    arguments = {"url": server.url(), "distributed_lock": True, "lock_sleep": 0.01}

    def create() -> str:
        created.append(1)
        time.sleep(0.1)
        return "made"

    def ask(region: CacheRegion) -> str:
        together.wait()
        return str(region.get_or_create(key, create))

    regions = [make_region().configure(NAME, arguments=arguments) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, regions)) == ["made", "made"]
    assert created == [1]


def test_a_creator_of_another_thread_releases_the_lock(server: RunningServer, client: Client[bytes], key: str) -> None:
    with ThreadPoolExecutor(1) as pool:

        def create_behind(region: CacheRegion, name: str, creator: Any, mutex: Any) -> None:
            def create() -> None:
                region.set(name, creator())
                mutex.release()

            pool.submit(create)

        region = make_region(async_creation_runner=create_behind).configure(
            NAME, expiration_time=0.1, arguments={"url": server.url(), "distributed_lock": True}
        )
        numbers = iter(range(10))
        assert region.get_or_create(key, lambda: next(numbers)) == 0
        wait_until(lambda: region.get_or_create(key, lambda: next(numbers)) > 0)
    assert client.read(f"lock:{key}") is None


def test_a_lock_has_its_own_key_and_time(server: RunningServer, client: Client[bytes], key: str) -> None:
    arguments = {"url": server.url(), "distributed_lock": True, "lock_timeout": 30, "lock_prefix": "l/"}
    backend = WireprotoBackend(arguments)
    assert backend.has_lock_timeout()
    mutex = backend.get_mutex(key)
    assert mutex is not None
    mutex.acquire()
    assert 20 < (time_left(client, f"l/{key}") or 0) <= 30
    mutex.release()
    assert client.read(f"l/{key}") is None


def test_without_a_distributed_lock_it_is_dogpiles_own(server: RunningServer, key: str) -> None:
    backend = WireprotoBackend({"url": server.url()})
    assert not backend.has_lock_timeout()
    assert backend.get_mutex(key) is None


def test_regions_share_a_client(server: RunningServer, client: Client[bytes], key: str) -> None:
    options = {"url": server.url(), "client_options": {"timeout": 0.5}}
    one, other = WireprotoBackend(options), WireprotoBackend(options)
    assert one._client is other._client
    assert one._client.options.timeout == 0.5
    assert WireprotoBackend({"client": client})._client is client
    with pytest.raises(ConfigurationError, match="no such option"):
        WireprotoBackend({"url": server.url(), "client_options": {"socket_timeout": 0.5}})


def test_long_keys(server: RunningServer, key: str) -> None:
    region = make_region().configure(NAME, arguments={"url": server.url(), "wireproto_expiration_time": 10})
    region.set(key * 1000, 1)
    assert region.get(key * 1000) == 1
    assert region.get(key * 1001) is NO_VALUE


def test_one_key_that_cannot_be_asked_for(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = WireprotoBackend({"url": server.url()})
    for name in ("read_many", "delete_many", "write_many"):
        failing = {b"a": True, b"b": LostError()}
        monkeypatch.setattr(backend._client, name, lambda _keys, _failing=failing, **_options: _failing)
    calls = (
        lambda: backend.get_serialized_multi(["a", "b"]),
        lambda: backend.delete_multi(["a", "b"]),
        lambda: backend.set_serialized_multi({"a": b"1", "b": b"1"}),
    )
    for call in calls:
        with pytest.raises(LostError):
            call()
