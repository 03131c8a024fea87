"""The lock that processes share. Two locks of the same key stand for two processes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.live.running import wait_until
from wireproto import Client
from wireproto.adapters.locks import DistributedLock
from wireproto.errors import LostError

Make = Callable[..., DistributedLock]


@pytest.fixture
def make(client: Client[bytes]) -> Make:
    """Locks of one key."""
    key = secrets.token_hex(8).encode()
    return lambda seconds=30.0: DistributedLock(client, key, seconds, 0.01)


def test_one_has_it(make: Make) -> None:
    one, other = make(), make()
    assert not one.locked()
    assert one.acquire()
    assert one.locked()
    assert other.locked()
    assert not other.acquire(False)
    assert not one.acquire(False)
    one.release()
    assert not other.locked()
    assert other.acquire(False)
    other.release()


def test_who_waits_gets_it(make: Make) -> None:
    one, other = make(), make()
    one.acquire()
    got = threading.Event()
    waiting = threading.Thread(target=lambda: other.acquire() and got.set())
    waiting.start()
    assert not got.wait(0.1)
    one.release()
    assert got.wait(5)
    waiting.join()
    other.release()


def test_one_of_a_process_at_a_time(make: Make) -> None:
    lock, inside, seen = make(), threading.Lock(), []

    def work() -> None:
        for _ in range(10):
            lock.acquire()
            seen.append(inside.acquire(False))
            inside.release()
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 40


def test_another_thread_may_release_it(make: Make) -> None:
    lock = make()
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert make().acquire(False)


def test_who_takes_too_long_lets_another_in_and_does_not_end_its_turn(make: Make) -> None:
    slow, other = make(0.05), make()
    slow.acquire()
    wait_until(lambda: other.acquire(False))
    slow.release()
    assert other.locked()
    assert not slow.acquire(False)
    other.release()


def test_a_release_that_comes_in_the_very_moment(make: Make, client: Client[bytes]) -> None:
    slow, other = make(), make()
    slow.acquire()
    delete = client.delete

    def late(key: bytes, **options: Any) -> bool:
        assert delete(key)
        assert other.acquire(False)
        return delete(key, **options)

    client.delete = late  # type: ignore[method-assign]  # something happens just before it
    slow.release()
    assert other.locked()


def test_what_was_not_acquired_is_not_released(make: Make) -> None:
    one, other = make(), make()
    one.acquire()
    with pytest.raises(RuntimeError):
        other.release()
    assert one.locked()


def test_an_error_leaves_it_free_for_the_process(make: Make, client: Client[bytes]) -> None:
    lock, write = make(), client.write

    def fails(*_arguments: Any, **_options: Any) -> bool:
        raise LostError

    client.write = fails  # type: ignore[method-assign]
    with pytest.raises(LostError):
        lock.acquire()
    client.write = write  # type: ignore[method-assign]
    assert lock.acquire(False)
