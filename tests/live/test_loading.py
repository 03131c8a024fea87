"""Values that are loaded on demand, by crowds in several processes, some of which die, against a real server."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.loading_child import TASKS, THREADS
from tests.live.running import RunningServer, wait_until
from wireproto import AsyncClient, Client, Codec


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client[bytes]]:
    with Client(server.plain_url()) as client:
        yield client


def loads(folder: Path) -> list[tuple[int, float]]:
    """The process and the time of each call of a loader."""
    path = folder / "loads"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(process), float(when)) for process, when in map(str.split, lines)]


def test_one_of_three_thousand_callers_loads(start_children: Any, client: Client[bytes], tmp_path: Path) -> None:
    client.delete("crowded")
    children = start_children("crowd")
    for child in children:
        assert child.result() == {"b'value'": THREADS + TASKS}
    assert len(loads(tmp_path)) == 1
    assert client.read("crowded") == b"value"


def test_a_change_meanwhile_is_not_overwritten(server: RunningServer, client: Client[bytes]) -> None:
    client.delete("changed")

    def load() -> bytes:
        with Client(server.plain_url()) as other:
            other.delete("changed")
        return b"old"

    assert client.get_or_load("changed", load, ttl=60) == b"old"
    assert client.read("changed") is None

    def write() -> bytes:
        client.write("changed", b"newer")
        return b"old"

    assert client.get_or_load("changed", write, ttl=60) == b"old"
    assert client.read("changed") == b"newer"


def test_another_takes_over_from_a_process_that_is_killed(
    start_children: Any, client: Client[bytes], tmp_path: Path
) -> None:
    client.delete("hanging")
    (child,) = start_children("hang", "1.0", count=1)
    child.expect("loading")
    child.process.send_signal(signal.SIGKILL)
    child.process.wait()
    started = time.monotonic()
    assert client.get_or_load("hanging", lambda: b"taken over", ttl=60) == b"taken over"
    assert time.monotonic() - started < 2.0
    assert client.read("hanging") == b"taken over", "it had a lease of its own"
    assert len(loads(tmp_path)) == 1


def test_nobody_waits_for_ever_for_a_process_that_hangs(
    start_children: Any, server: RunningServer, client: Client[bytes]
) -> None:
    client.delete("hanging")
    (child,) = start_children("hang", "30.0", count=1)
    child.expect("loading")

    async def all_at_once() -> list[Any]:
        async with AsyncClient(server.plain_url()) as client:
            wants = [client.get_or_load("hanging", lambda: b"own", ttl=60, wait=0.3) for _ in range(100)]
            return await asyncio.gather(*wants)

    started = time.monotonic()
    assert set(asyncio.run(all_at_once())) == {b"own"}
    assert 0.25 < time.monotonic() - started < 3.0


def in_threads(count: int, ask: Callable[[], Any]) -> list[Any]:
    """What each of so many threads got."""
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(ask())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_an_old_value_is_served_while_one_loads_anew_or_when_none_can(client: Client[bytes]) -> None:
    terms: dict[str, Any] = {"ttl": 0.2, "stale": 60}
    client.delete("stale")
    assert client.get_or_load("stale", lambda: b"old", **terms) == b"old"
    wait_until(lambda: client.read("stale") is None)
    may_end = threading.Event()
    begun = threading.Event()

    def load() -> bytes:
        begun.set()
        assert may_end.wait(10)
        return b"new"

    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(client.get_or_load("stale", load, **terms)))
    thread.start()
    assert begun.wait(5)
    assert in_threads(20, lambda: client.get_or_load("stale", load, **terms)) == [b"old"] * 20
    may_end.set()
    thread.join()
    assert first == [b"new"]
    wait_until(lambda: client.read("stale") is None)

    def fail() -> bytes:
        raise ZeroDivisionError

    assert client.get_or_load("stale", fail, **terms) == b"new"
    assert client.get_or_load("stale", lambda: b"newer", **terms) == b"newer", "the lease was given back"


def test_a_value_is_loaded_anew_before_its_time_is_over_by_one(
    start_children: Any, client: Client[bytes], tmp_path: Path
) -> None:
    client.delete("early")
    children = start_children("early", count=2)
    assert all(child.result()["reads"] > 100 for child in children)
    times = [when for _process, when in loads(tmp_path)]
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert len(gaps) >= 3
    assert min(gaps) > 0.1, "one loads, and nobody when there is much time left"
    assert sum(gap < 1.0 for gap in gaps) >= len(gaps) - 1, "before its time is over; the machine may have stood still"


def test_that_there_is_nothing_is_remembered(server: RunningServer, client: Client[bytes]) -> None:
    calls: list[int] = []
    with Client(server.plain_url(), codec=Codec.json()) as coded:
        for one in (client, coded):
            one.delete("nothing")
            for _ in range(3):
                assert one.get_or_load("nothing", lambda: calls.append(1), ttl=60, missing_ttl=0.3) is None
        assert len(calls) == 2
        assert coded.read("nothing") is None
        wait_until(lambda: client.read("nothing") is None)
        assert coded.get_or_load("nothing", lambda: [1], ttl=60) == [1]
        coded.delete("nothing")
        assert coded.get_or_load("nothing", lambda: None, ttl=60, missing_ttl=60) is None
        assert coded.update("nothing", lambda found: [found]) == [None], "it is no value that is in the way"
        assert coded.read("nothing") == [None]


async def test_a_thousand_tasks_of_which_many_are_cancelled(server: RunningServer) -> None:
    calls = 0

    async def load() -> bytes:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.05)
        return b"v"

    async with AsyncClient(server.plain_url()) as client:
        await client.delete("cancelled")
        tasks = [asyncio.create_task(client.get_or_load("cancelled", load, ttl=60, lease=30)) for _ in range(1000)]
        await asyncio.sleep(0.02)
        for task in tasks[:990]:
            task.cancel()
        started = time.monotonic()
        assert await asyncio.gather(*tasks[990:]) == [b"v"] * 10
        assert time.monotonic() - started < 5
        assert calls == 1
        assert sum(task.cancelled() for task in tasks) == 990


def test_a_server_that_has_gone_takes_nobody_down(start_server: Callable[..., RunningServer]) -> None:
    server = start_server()
    with Client(server.plain_url(), retries=0) as client:
        assert client.get_or_load("k", lambda: b"1", ttl=60) == b"1"
        assert client.get_or_load("k", lambda: b"2", ttl=60) == b"1"
        server.stop()
        assert client.get_or_load("k", lambda: b"3", ttl=60) == b"3"
