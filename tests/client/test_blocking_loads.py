"""Threads that want the same value, and the one of them that loads it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.client.fake_server import FakeServer
from tests.client.leasing_cache import LeasingCache, Loader
from tests.client.test_loading import failing
from wireproto import Client
from wireproto.client.blocking_flights import Flights
from wireproto.core.load_steps import Landing

EVERYBODY = 20


class Caller(threading.Thread):
    """A thread that wants a value."""

    def __init__(self, client: Client[bytes], loader: Any, **options: Any) -> None:
        super().__init__()
        self.outcome: Any = None
        self._client = client
        self._arguments = {"loader": loader, "ttl": 60, **options}
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._client.get_or_load("k", **self._arguments)
        except BaseException as error:
            self.outcome = error

    def result(self) -> Any:
        self.join(10)
        assert not self.is_alive()
        return self.outcome


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.001)


def waiting(client: Client[bytes]) -> int:
    """How many threads have joined the load that is under way."""
    flight = client._loads.flights.find(b"k")
    return 0 if flight is None else len(flight._is_over._cond._waiters)  # type: ignore[attr-defined]


def joined(client: Client[bytes], loader: Any, count: int = EVERYBODY, **options: Any) -> list[Caller]:
    """So many threads, all of which have joined a load."""
    before = waiting(client)
    callers = [Caller(client, loader, **options) for _ in range(count)]
    until(lambda: waiting(client) == before + count)
    return callers


def test_one_loads_for_all() -> None:
    cache, loader = LeasingCache(), Loader(waits=True)
    with FakeServer(cache) as server, Client(server.url) as client:
        first = Caller(client, loader)
        assert loader.begun.wait(5)
        others = joined(client, Loader(ValueError()))
        loader.may_end.set()
        assert {caller.result() for caller in (first, *others)} == {b"v"}
        assert (loader.calls, cache.asked.count("READ"), cache.asked.count("WRITE")) == (1, 1, 1)
        assert client._loads.flights._open == {}


def test_all_get_the_error_of_the_load_that_they_joined() -> None:
    cache, error = LeasingCache(), ZeroDivisionError()
    loader = Loader(error, waits=True)
    with FakeServer(cache) as server, Client(server.url) as client:
        first = Caller(client, loader)
        assert loader.begun.wait(5)
        others = joined(client, loader)
        loader.may_end.set()
        assert {caller.result() for caller in (first, *others)} == {error}
        assert loader.calls == 1
        assert client.get_or_load("k", Loader(), ttl=60) == b"v", "nothing is left of it"


def test_when_the_one_who_loads_is_interrupted_another_does() -> None:
    cache = LeasingCache()
    interrupted, loader = Loader(KeyboardInterrupt(), waits=True), Loader()
    with FakeServer(cache) as server, Client(server.url) as client:
        first = Caller(client, interrupted)
        assert interrupted.begun.wait(5)
        others = joined(client, loader)
        interrupted.may_end.set()
        assert isinstance(first.result(), KeyboardInterrupt)
        assert {caller.result() for caller in others} == {b"v"}
        assert loader.calls == 1


def test_whoever_joined_a_load_that_a_change_has_overtaken_asks_again() -> None:
    cache = LeasingCache()
    old, new = Loader(b"old", waits=True), Loader(b"new")
    with FakeServer(cache) as server, Client(server.url) as client:
        first = Caller(client, old)
        assert old.begun.wait(5)
        others = joined(client, new)
        client.delete("k")
        old.may_end.set()
        assert first.result() == b"old", "as fresh as a read without a cache"
        assert {caller.result() for caller in others} == {b"new"}
        assert cache.values == {b"k": b"new"}
        assert new.calls == 1


def test_one_who_has_waited_long_enough_loads_for_all_who_have() -> None:
    cache = LeasingCache()
    slow, loader = Loader(b"slow", waits=True), Loader(b"quick", waits=True)
    with FakeServer(cache) as server, Client(server.url) as client:
        first = Caller(client, slow)
        assert slow.begun.wait(5)
        others = joined(client, loader, wait=0.5)
        assert loader.begun.wait(5)
        until(lambda: waiting(client) == EVERYBODY - 1)
        loader.may_end.set()
        assert {caller.result() for caller in others} == {b"quick"}
        assert loader.calls == 1
        assert cache.values == {}
        slow.may_end.set()
        assert first.result() == b"slow"
        assert cache.values == {b"k": b"slow"}, "it had the lease"


def test_nobody_waits_for_ever() -> None:
    cache = LeasingCache()
    never = Loader(b"late", waits=True)
    with FakeServer(cache) as server, Client(server.url) as client:
        first = Caller(client, never)
        assert never.begun.wait(5)
        second = Caller(client, never, wait=0.05)
        until(lambda: never.calls == 2)
        started = time.monotonic()
        assert client.get_or_load("k", Loader(), ttl=60, wait=0.05) == b"v"
        assert time.monotonic() - started < 2
        never.may_end.set()
        assert first.result() == second.result() == b"late"


def test_a_load_without_a_lease_is_shared_too() -> None:
    cache, loader = LeasingCache(), Loader(waits=True)
    cache.fault = failing("READ", b"ERR DOWN :x")
    with FakeServer(cache) as server, Client(server.url, retries=0) as client:
        first = Caller(client, loader)
        assert loader.begun.wait(5)
        others = joined(client, loader)
        loader.may_end.set()
        assert {caller.result() for caller in (first, *others)} == {b"v"}
        assert loader.calls == 1
        assert set(server.heard) == {"READ"}


def test_old_values_are_served_while_one_loads() -> None:
    cache, loader = LeasingCache(), Loader(b"new", waits=True)
    cache.stale[b"k"] = b"old"
    with FakeServer(cache) as server, Client(server.url) as client:
        first = Caller(client, loader, stale=60)
        assert loader.begun.wait(5)
        for _ in range(3):
            assert client.get_or_load("k", Loader(ValueError()), ttl=60, stale=60) == b"old"
        loader.may_end.set()
        assert first.result() == b"new"
        assert client.get_or_load("k", Loader(ValueError()), ttl=60, stale=60) == b"new"


def test_whoever_comes_when_the_write_is_under_way_reads_for_himself() -> None:
    cache = LeasingCache()
    writes = threading.Event()
    may_write = threading.Event()

    def fault(frame: Any) -> bytes | None:
        if frame.spec.verb.name == "WRITE":
            writes.set()
        return None

    cache.fault = fault
    with FakeServer(cache) as server, Client(server.url) as client:

        def load() -> bytes:
            may_write.wait(5)
            return b"v"

        first = Caller(client, load)
        until(lambda: client._loads.flights.find(b"k") is not None)
        may_write.set()
        assert writes.wait(5)
        assert client._loads.flights.find(b"k") is None
        assert first.result() == b"v"


def test_a_child_does_not_wait_for_a_load_of_its_parent() -> None:
    cache, loader = LeasingCache(), Loader(waits=True)
    with FakeServer(cache) as server, Client(server.url) as client:
        first = Caller(client, loader)
        assert loader.begun.wait(5)
        cache.leases.clear()
        child = os.fork()
        if child == 0:
            os._exit(0 if client.get_or_load("k", lambda: b"child", ttl=60) == b"child" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        loader.may_end.set()
        assert first.result() == b"v", "it had lost its lease"
        assert cache.values == {b"k": b"child"}


def test_flights() -> None:
    flights = Flights()
    assert flights.find(b"k") is None
    first, is_new = flights.find_or_open(b"k", None)
    assert is_new
    assert flights.find_or_open(b"k", None) == (first, False)
    assert flights.find(b"l") is None
    second, is_new = flights.find_or_open(b"k", first)
    assert is_new
    assert second is not first
    flights.close(b"k", first)
    assert flights.find(b"k") is second, "the first has been replaced"
    assert second.wait(0.001) is None
    second.land(Landing(b"v"))
    assert second.wait(0.001) == Landing(b"v")
    third = flights.open(b"k")
    assert flights.find(b"k") is third
    flights.close(b"k", third)
    assert flights.find(b"k") is None


@pytest.mark.parametrize("waits", [0.0, 0.01])
def test_a_crowd_with_a_slow_cache(waits: float) -> None:
    cache = LeasingCache()

    def fault(_frame: Any) -> None:
        time.sleep(waits)

    cache.fault = fault
    loader = Loader()
    with FakeServer(cache) as server, Client(server.url) as client:
        callers = [Caller(client, loader) for _ in range(EVERYBODY)]
        assert {caller.result() for caller in callers} == {b"v"}
    assert loader.calls == 1
