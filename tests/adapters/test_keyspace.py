"""How keys are stored, and what clearing does."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto import Client
from wireproto.adapters.keyspace import Keyspace, stored_key
from wireproto.core.wire import MAX_KEY
from wireproto.errors import ConfigurationError


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(8)


def test_a_short_key_is_stored_as_it_is() -> None:
    assert stored_key("shop:my key/é") == "shop:my key/é".encode()
    assert stored_key("a" * (MAX_KEY - 1)) == b"a" * (MAX_KEY - 1)


LONG = st.text(min_size=1, max_size=8).map(lambda text: text * MAX_KEY)


@given(LONG, LONG)
def test_long_keys_fit_and_differ(one: str, other: str) -> None:
    keys = {stored_key(one), stored_key(other)}
    assert {len(key) for key in keys} == {MAX_KEY}
    assert len(keys) == len({one, other})


def test_no_short_key_is_a_long_one() -> None:
    long = "a" * 5000
    assert stored_key(stored_key(long).decode()) != stored_key(long)


def test_any_text_is_a_key(client: Client[bytes], prefix: str) -> None:
    for text in ("\ud800", "\x00\n\r ", "a" * 100_000, "清" * 1000):
        client.write(stored_key(prefix + text), text.encode("utf-8", "replace"), ex=10)
        assert client.read(stored_key(prefix + text)) == text.encode("utf-8", "replace")


def test_without_clearing_there_is_no_generation(client: Client[bytes], prefix: str) -> None:
    keyspace = Keyspace(client, prefix)
    assert keyspace.key("k") == f"{prefix}k".encode()
    with pytest.raises(NotImplementedError, match="clear_within"):
        keyspace.clear()
    assert client.read(f"{prefix}generation") is None


def test_what_is_cleared_is_another_key(client: Client[bytes], prefix: str) -> None:
    keyspace = Keyspace(client, prefix, 60)
    before = keyspace.key("k")
    assert keyspace.key("k") == before
    keyspace.clear()
    assert keyspace.key("k") != before
    assert Keyspace(client, prefix, 60).key("k") == keyspace.key("k")


def test_others_notice_within_the_time(client: Client[bytes], prefix: str) -> None:
    clock = Clock()
    clearing, other = Keyspace(client, prefix, 2, clock), Keyspace(client, prefix, 2, clock)
    before = other.key("k")
    clearing.clear()
    clock.now += 1.9
    assert other.key("k") == before
    clock.now += 0.1
    assert other.key("k") == clearing.key("k") != before


def test_with_no_time_others_notice_at_once(client: Client[bytes], prefix: str) -> None:
    clearing, other = Keyspace(client, prefix, 0), Keyspace(client, prefix, 0)
    assert other.key("k") == clearing.key("k")
    clearing.clear()
    assert other.key("k") == clearing.key("k")


def test_for_many_keys_the_generation_is_asked_for_once(
    client: Client[bytes], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyspace = Keyspace(client, prefix, 0)
    expected = [keyspace.key("a"), keyspace.key("b"), keyspace.key("a")]
    asked: list[bytes] = []
    read = client.read
    monkeypatch.setattr(client, "read", lambda key: asked.append(key) or read(key))
    assert keyspace.keys(["a", "b", "a"]) == expected
    assert len(asked) == 1


def test_a_lost_generation_brings_nothing_back(client: Client[bytes], prefix: str) -> None:
    keyspace = Keyspace(client, prefix, 0)
    seen = {keyspace.key("k")}
    for _ in range(3):
        keyspace.clear()
        seen.add(keyspace.key("k"))
        assert client.delete(f"{prefix}generation")
        seen.add(keyspace.key("k"))
    assert len(seen) == 7


def test_of_two_that_begin_one_counts(client: Client[bytes], prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Keyspace(client, prefix, 60)
    theirs: list[bytes] = []
    read = client.read

    def overtaken(key: bytes) -> bytes | None:
        found = read(key)
        if not theirs:
            theirs.append(b"")
            theirs[0] = Keyspace(client, prefix, 60).key("k")
        return found

    monkeypatch.setattr(client, "read", overtaken)
    assert slow.key("k") == theirs[0]


def test_a_prefix_that_is_a_function(client: Client[bytes], prefix: str) -> None:
    current = [f"{prefix}a:"]
    keyspace = Keyspace(client, lambda: current[0], 60)
    of_a = keyspace.key("k")
    current[0] = f"{prefix}b:"
    of_b = keyspace.key("k")
    keyspace.clear()
    assert keyspace.key("k") != of_b
    current[0] = f"{prefix}a:"
    assert keyspace.key("k") == of_a
    assert Keyspace(client, lambda: current[0]).key("k") == f"{prefix}a:k".encode()


def test_prefixes_without_end_are_not_all_kept(client: Client[bytes], prefix: str) -> None:
    numbers = iter(range(10_000))
    keyspace = Keyspace(client, lambda: f"{prefix}{next(numbers)}:", 60)
    for _ in range(1005):
        keyspace.key("k")
    assert len(keyspace._generations) == 5


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_what_is_no_time(client: Client[bytes], seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="clear_within"):
        Keyspace(client, "", seconds)
