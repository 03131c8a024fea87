"""Adding to counters, and to what only looks like them."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.running import RunningServer
from wireproto import Client
from wireproto.adapters.counting import add
from wireproto.errors import ConflictError


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture(params=["plain", "encrypted"])
def client(request: pytest.FixtureRequest) -> Iterator[Client[bytes]]:
    running: RunningServer = request.getfixturevalue("server" if request.param == "plain" else "encrypted_server")
    with Client(running.url()) as made:
        yield made


@pytest.fixture
def key() -> bytes:
    return secrets.token_hex(8).encode()


def added(client: Client[bytes], key: bytes, delta: Any) -> Any:
    return add(client, key, delta, loads=json.loads, dumps=dumps, if_new={"ex": 100})


def test_what_is_absent_begins_at_nothing(client: Client[bytes], key: bytes) -> None:
    assert added(client, key, 5) == 5
    assert added(client, key, -7) == -2
    found = client.read(key, with_ttl=True)
    assert found is not None
    assert found.value == b"-2"
    assert found.ttl is not None
    assert 90 < found.ttl <= 100


def test_what_was_written(client: Client[bytes], key: bytes) -> None:
    client.write(key, b"41", ex=1000)
    assert added(client, key, 1) == 42
    found = client.read(key, with_ttl=True)
    assert found is not None
    assert found.value == b"42"
    assert found.ttl is not None
    assert 990 < found.ttl <= 1000


@pytest.mark.parametrize(("before", "after"), [(2**63 - 1, 2**63), (10**30, 10**30 + 1), (1.5, 2.5), (True, 2)])
def test_numbers_that_are_no_counters(client: Client[bytes], key: bytes, before: Any, after: Any) -> None:
    client.write(key, dumps(before), ex=1000)
    assert added(client, key, 1) == after
    assert client.read(key) == dumps(after)


@pytest.mark.parametrize("value", ["text", None, {}])
def test_what_is_no_number(client: Client[bytes], key: bytes, value: Any) -> None:
    client.write(key, dumps(value), ex=1000)
    with pytest.raises(TypeError):
        added(client, key, 1)
    assert client.read(key) == dumps(value)


def test_what_the_serializer_cannot_write(client: Client[bytes], key: bytes) -> None:
    client.write(key, b"1.5", ex=1000)
    with pytest.raises(TypeError, match="float"):
        add(client, key, 1, loads=json.loads, dumps=lambda _value: None, if_new={})
    assert client.read(key) == b"1.5"


def test_a_key_that_goes_away_in_between_begins_anew(client: Client[bytes], key: bytes) -> None:
    client.write(key, b"1.5", ex=1000)
    update = client.update

    def late(*arguments: Any, **options: Any) -> Any:
        client.delete(key)
        return update(*arguments, **options)

    client.update = late  # type: ignore[method-assign]  # something happens just before it
    assert added(client, key, 3) == 3


def test_nothing_is_lost_between_threads(client: Client[bytes], key: bytes) -> None:
    client.write(key, b"0", ex=1000)
    lost: list[int] = []

    def count() -> None:
        for _ in range(20):
            try:
                added(client, key, 1)
            except ConflictError:
                lost.append(1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.read(key) == b"%d" % (80 - len(lost))
