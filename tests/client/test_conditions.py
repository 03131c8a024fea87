"""Versions, leases, counters and updates: the same in both clients, and in their pipelines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, assert_type

import pytest

from tests.client import scripts
from tests.client.both_clients import BOTH
from tests.client.fake_server import Cache, FakeServer, Peer, Script
from wireproto import AsyncClient, Client, Codec, Leased, Value, Versioned
from wireproto.client.pipeline import Queued
from wireproto.errors import (
    ArgumentError,
    BusyError,
    ConflictError,
    DeadlineError,
    DeniedError,
    Effect,
    LostError,
    NodeTimeoutError,
    NotReplicatedError,
    RequestError,
    ValueTypeError,
)

NewClient = Callable[..., Any]


@pytest.fixture(params=BOTH, ids=["blocking", "asyncio"])
def new_client(request: pytest.FixtureRequest) -> NewClient:
    made: NewClient = request.param
    return made


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def server(cache: Cache) -> Iterator[FakeServer]:
    with FakeServer(cache) as running:
        yield running


@pytest.fixture
def client(server: FakeServer, new_client: NewClient) -> Iterator[Any]:
    with new_client(server.url) as made:
        yield made


# -- versions


def test_versions(client: Any, cache: Cache) -> None:
    assert client.read("k", with_version=True) is None
    client.write("k", b"v")
    assert client.read("k", with_version=True) == Versioned(b"v", 1.5, "stamp-1")
    assert client.read("k", with_version=True, with_ttl=True) == Versioned(b"v", 1.5, "stamp-1")
    assert client.read("k", with_ttl=True) == Value(b"v", 1.5)
    assert client.write("k", b"w", version="stamp-1") is True
    assert client.write("k", b"x", version="stamp-1") is False
    assert client.compare_and_set("k", b"x", "stamp-2", ex=5) == "stamp-3"
    assert client.compare_and_set("k", b"y", "stamp-2") is None
    assert client.compare_and_set("none", b"y", "stamp-3") is None
    assert cache.values == {b"k": b"x"}


def test_a_key_that_has_another_version_is_not_removed(client: Any, cache: Cache) -> None:
    client.write("k", b"v")
    assert client.delete("k", version="stamp-9") is False
    assert cache.values == {b"k": b"v"}
    assert client.delete("k", version="stamp-1", sync=0) is True
    assert client.delete("k", version="stamp-1") is False


def test_none_is_no_condition_that_may_be_left_out(client: Any, server: FakeServer) -> None:
    """Such as the lease of who has got none: that would take it from who has it."""
    with client.pipeline() as pipeline:
        for asked in (client, pipeline):
            for change in (
                lambda asked: asked.write("k", b"v", version=None),
                lambda asked: asked.write("k", b"v", lease=None),
                lambda asked: asked.compare_and_set("k", b"v", None),
                lambda asked: asked.delete("k", version=None),
                lambda asked: asked.give_back("k", None),
            ):
                with pytest.raises(ArgumentError, match=r"(version|lease) is None: "):
                    change(asked)
    assert server.heard == []


async def test_what_a_type_checker_knows(server: FakeServer) -> None:
    """It would complain of an `ignore` that is not needed."""
    with Client(server.url) as client:
        assert_type(client.read("k"), bytes | None)
        assert_type(client.read("k", with_ttl=True), Value[bytes] | None)
        assert_type(client.read("k", with_version=True), Versioned[bytes] | None)
        assert_type(client.read("k", with_ttl=True, with_version=True), Versioned[bytes] | None)
        queue = client.pipeline()
        assert_type(queue.read("k", with_ttl=True), Queued[Value[bytes] | None])
        assert_type(queue.read("k", with_version=True), Queued[Versioned[bytes] | None])
        assert_type(queue.read("k", with_ttl=True, with_version=True), Queued[Versioned[bytes] | None])
        client.write("k", b"v")
        with pytest.raises(ArgumentError):
            client.write("k", b"v", lease=client.read_or_lease("k", 5).lease)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError):
            client.delete("k", version=None)  # type: ignore[arg-type]
    async with AsyncClient(server.url) as other:
        assert_type(await other.read("k", with_ttl=True), Value[bytes] | None)
        assert_type(await other.read("k", with_version=True), Versioned[bytes] | None)
        with pytest.raises(ArgumentError):
            await other.write("k", b"v", version=None)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError):
            await other.delete("k", version=None)  # type: ignore[arg-type]


# -- leases


def test_leases(client: Any, cache: Cache) -> None:
    assert client.read_or_lease("k", 2.5) == Leased(None, False, False, "stamp-1", None)
    assert client.read_or_lease("k", 2.5) == Leased(None, False, False, None, 2.5)
    assert client.read("k") is None
    assert client.write("k", b"old", lease="stamp-0") is False
    assert client.write("k", b"v", ex=60, stale=5, lease="stamp-1") is True
    assert client.read_or_lease("k", 2.5, early=0.1) == Leased(b"v", True, False, None, None)
    assert client.write("k", b"w", lease="stamp-1") is False
    cache.stale[b"s"] = b"old"
    assert client.read_or_lease("s", 1) == Leased(b"old", True, True, "stamp-3", None)
    assert client.read_or_lease("s", 1) == Leased(b"old", True, True, None, 1.0)
    assert client.read("s") is None


def test_a_lease_that_is_given_back_goes_to_the_next(client: Any) -> None:
    assert client.give_back("k", "stamp-1") is False
    lease = client.read_or_lease("k", 5).lease
    assert client.give_back("k", lease) is True
    assert client.give_back("k", lease) is False
    assert client.read_or_lease("k", 5).lease == "stamp-2"


# -- counters


def test_counters(client: Any) -> None:
    assert client.incr("n") == 1
    assert client.incr("n", 41, ex=60) == 42
    assert client.incr("n", -50) == -8
    assert client.incr("n", 0) == -8
    assert client.read("n") == b"-8"
    client.write("n", b"word")
    with pytest.raises(ValueTypeError, match="no counter") as caught:
        client.incr("n")
    assert caught.value.took_effect is Effect.NO
    with pytest.raises(ArgumentError):
        client.incr("n", 2**63)


# -- what travels


def test_what_is_sent(new_client: NewClient) -> None:
    heard: list[dict[str, Any]] = []
    answers = {"INCR": b"OK 1:5", "READ": b"OK 1:v ver=a", "WRITE": b"OK ver=b"}
    with FakeServer(scripts.options_heard(heard, answers)) as server, new_client(server.url) as client:
        client.read("k", with_version=True, replica=True)
        client.read_or_lease("k", 5, early=0.0004, replica=True)
        client.read_or_lease("k", 0.5, early=0)
        client.write("k", b"v", px=5, stale=7, lease="x", sync=1)
        client.write("k", b"v", keepttl=True, version="x")
        client.write_many({"k": b"v"}, ex=5, stale=7, xx=True)
        client.compare_and_set("k", b"v", "x", ex=1, stale=2, sync=3)
        client.delete("k", version="x", sync=1)
        client.give_back("k", "x")
        client.incr("k", -1, px=5, sync=1)
    assert heard == [
        {"ttl": 1, "ver": 1, "replica": 1},
        {"lease": 5000, "early": 1, "replica": 1},
        {"lease": 500},
        {"px": 5, "stale": 7, "lease": "x", "sync": 1},
        {"keepttl": 1, "ver": "x"},
        {"ex": 5, "stale": 7, "xx": 1},
        {"ex": 1, "stale": 2, "ver": "x", "sync": 3},
        {"ver": "x", "sync": 1},
        {"lease": "x"},
        {"by": -1, "px": 5, "sync": 1},
    ]


def test_pipeline(client: Any, server: FakeServer) -> None:
    with client.pipeline() as pipeline:
        pipeline.write("k", b"v")
        found = pipeline.read("k", with_version=True)
        timed = pipeline.read("k", with_ttl=True)
        new = pipeline.compare_and_set("k", b"w", "stamp-1", ex=5)
        old = pipeline.compare_and_set("k", b"x", "stamp-1")
        conditional = pipeline.write("k", b"x", version="stamp-1")
        kept = pipeline.delete("k", version="stamp-1")
        removed = pipeline.delete("k", version="stamp-2")
        leased = pipeline.read_or_lease("k", 5, early=1)
        given = pipeline.give_back("k", "stamp-3")
        count = pipeline.incr("n", 5, ex=60)
    assert (found.result(), timed.result()) == (Versioned(b"v", 1.5, "stamp-1"), Value(b"v", 1.5))
    assert (new.result(), old.result(), conditional.result()) == ("stamp-2", None, False)
    assert (kept.result(), removed.result()) == (False, True)
    assert leased.result() == Leased(None, False, False, "stamp-3", None)
    assert (given.result(), count.result()) == (True, 5)
    assert len(server.heard) == 11


def test_options_that_are_none_of_the_call_are_no_options(client: Any, server: FakeServer) -> None:
    for call in (
        lambda: client.write("k", b"v", lifetime=5),
        lambda: client.write("k", b"v", ver="x"),
        lambda: client.compare_and_set("k", b"v", "x", nx=True),
        lambda: client.write_many({"k": b"v"}, version="x"),
        lambda: client.update("k", lambda old: b"v", xx=True),
    ):
        with pytest.raises(TypeError, match="unexpected keyword"):
            call()
    assert server.heard == []


def test_codec(server: FakeServer, cache: Cache, new_client: NewClient) -> None:
    with new_client(server.url, codec=Codec.json()) as client:
        client.write("k", None)
        assert client.read("k", with_version=True) == Versioned(None, 1.5, "stamp-1")
        assert client.read_or_lease("k", 5) == Leased(None, True, False, None, None)
        assert client.read_or_lease("none", 5).found is False
        assert client.compare_and_set("k", [1], "stamp-1") == "stamp-3"
        assert client.update("k", lambda old: [*old, 2]) == [1, 2]
        assert cache.values[b"k"] == b"[1,2]"
        assert client.incr("n") == 1
        assert client.read("n") == 1


# -- what is sent again


CHANGES: dict[str, Callable[[Any], Any]] = {
    "incr": lambda client: client.incr("k"),
    "compare_and_set": lambda client: client.compare_and_set("k", b"v", "x"),
    "give_back": lambda client: client.give_back("k", "x"),
    "delete": lambda client: client.delete("k", version="x"),
    "write": lambda client: client.write("k", b"v", lease="x"),
}


def failing(line: bytes, times: int, answers: dict[str, bytes]) -> Script:
    """Answers the first requests with an error."""
    left = [times]

    async def script(peer: Peer) -> None:
        while True:
            frame = await peer.request()
            left[0] -= 1
            peer.answer(frame, line if left[0] >= 0 else answers.get(peer.server.heard[-1], b"OK"))

    return script


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_sent_again_only_if_it_surely_changed_nothing(new_client: NewClient, name: str) -> None:
    answers = {"INCR": b"OK 1:5", "WRITE": b"OK ver=y"}
    with FakeServer(failing(b"ERR BUSY retry=1 :full", 2, answers)) as server, new_client(server.url) as client:
        assert CHANGES[name](client)
        assert len(server.heard) == 3
    for code in (b"TIMEOUT", b"LOST", b"INTERNAL"):
        with FakeServer(failing(b"ERR %b :x" % code, 1, answers)) as server, new_client(server.url) as client:
            with pytest.raises(RequestError) as caught:
                CHANGES[name](client)
            assert caught.value.took_effect is Effect.MAYBE
            assert len(server.heard) == 1


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_whose_answer_does_not_come_is_not_sent_again(new_client: NewClient, name: str) -> None:
    with FakeServer(scripts.reset_after_request) as server, new_client(server.url) as client:
        with pytest.raises(LostError):
            CHANGES[name](client)
        assert len(server.heard) == 1


def test_a_read_with_a_lease_is_sent_again(new_client: NewClient) -> None:
    with FakeServer(failing(b"ERR LOST :x", 1, {"READ": b"MISS held=5"})) as server, new_client(server.url) as client:
        assert client.read_or_lease("k", 5) == Leased(None, False, False, None, 0.005)
        assert server.heard == ["READ", "READ"]


# -- updates


def append(old: bytes | None) -> bytes:
    return (old or b"") + b"x"


def test_an_update_of_what_is_there_and_of_what_is_not(client: Any, cache: Cache, server: FakeServer) -> None:
    assert client.update("k", append) == b"x"
    assert client.update("k", append, ex=60) == b"xx"
    assert cache.values == {b"k": b"xx"}
    assert server.heard == ["READ", "WRITE"] * 2


def test_how_an_update_is_stored(new_client: NewClient) -> None:
    heard: list[dict[str, Any]] = []
    with (
        FakeServer(scripts.options_heard(heard, {"READ": b"OK 1:v ver=a"})) as server,
        new_client(server.url) as client,
    ):
        client.update("k", append, ex=5, stale=6, sync=1)
        client.update("k", append, keepttl=True)
    read = {"ttl": 1, "ver": 1}
    assert heard == [read, {"ex": 5, "stale": 6, "ver": "a", "sync": 1}, read, {"keepttl": 1, "ver": "a"}]


def test_an_update_that_another_has_overtaken_begins_again_with_the_new_value(client: Any, cache: Cache) -> None:
    seen = []

    def change(old: bytes | None) -> bytes:
        seen.append(old)
        if len(seen) == 1:
            cache._store(b"k", b"other")
        elif len(seen) == 2:
            cache._forget(b"k")
        return append(old)

    cache._store(b"k", b"first")
    assert client.update("k", change) == b"x"
    assert seen == [b"first", b"other", None]
    assert cache.values == {b"k": b"x"}


def test_an_update_of_nothing_does_not_overwrite_what_came_in_between(client: Any, cache: Cache) -> None:
    def change(old: bytes | None) -> bytes:
        if old is None:
            cache._store(b"k", b"other")
        return append(old)

    assert client.update("k", change) == b"otherx"


def test_an_update_gives_up_after_so_many_attempts(client: Any, cache: Cache, server: FakeServer) -> None:
    calls = []

    def change(old: bytes | None) -> bytes:
        calls.append(old)
        cache._store(b"k", b"%d" % len(calls))
        return b"mine"

    with pytest.raises(ConflictError, match="3 times in a row") as caught:
        client.update("k", change, attempts=3)
    assert caught.value.took_effect is Effect.NO
    assert (len(calls), cache.values[b"k"], len(server.heard)) == (3, b"3", 6)


def test_an_update_gives_up_when_its_time_is_used_up(client: Any, cache: Cache) -> None:
    def change(_old: bytes | None) -> bytes:
        cache._store(b"k", b"other")
        return b"mine"

    started = time.monotonic()
    with pytest.raises((ConflictError, DeadlineError, NodeTimeoutError)):
        client.update("k", change, attempts=10**9, timeout=0.1)
    assert time.monotonic() - started < 1
    assert cache.values == {b"k": b"other"}


def test_a_value_that_took_too_long_to_make_is_not_written(client: Any, server: FakeServer) -> None:
    def change(_old: bytes | None) -> bytes:
        time.sleep(0.06)
        return b"v"

    with pytest.raises(DeadlineError, match="not written"):
        client.update("k", change, timeout=0.05)
    assert server.heard == ["READ"]


def test_a_function_that_fails_writes_nothing(client: Any, server: FakeServer) -> None:
    with pytest.raises(ZeroDivisionError):
        client.update("k", lambda old: b"%d" % (1 // 0))
    with pytest.raises(ArgumentError, match="a value is bytes"):
        client.update("k", lambda old: 5)
    assert server.heard == ["READ", "READ"]


def test_what_cannot_be_stored_is_refused_before_the_function_is_called(client: Any, server: FakeServer) -> None:
    for options in ({"ex": 0}, {"attempts": 0}, {"timeout": 0}, {"stale": 5}):
        with pytest.raises(ArgumentError):
            client.update("k", lambda old: pytest.fail("called"), **options)
    assert server.heard == []


@pytest.mark.parametrize(("line", "error"), [(b"ERR LOST :x", LostError), (b"ERR TIMEOUT :x", NodeTimeoutError)])
def test_an_update_whose_outcome_nobody_knows_is_not_tried_again(
    new_client: NewClient, line: bytes, error: type[RequestError]
) -> None:
    heard: list[dict[str, Any]] = []
    script = scripts.options_heard(heard, {"READ": b"OK 1:v ver=a", "WRITE": line})
    with FakeServer(script) as server, new_client(server.url) as client:
        with pytest.raises(error):
            client.update("k", append)
        assert server.heard == ["READ", "WRITE"]


@pytest.mark.parametrize(
    ("line", "error"), [(b"ERR NOSYNC :0 of 1", NotReplicatedError), (b"ERR DENIED :no", DeniedError)]
)
def test_what_else_goes_wrong_with_an_update_is_told(
    new_client: NewClient, line: bytes, error: type[RequestError]
) -> None:
    script = scripts.options_heard([], {"READ": b"OK 1:v ver=a", "WRITE": line})
    with FakeServer(script) as server, new_client(server.url) as client:
        with pytest.raises(error):
            client.update("k", append, sync=1)
        assert server.heard == ["READ", "WRITE"]


def test_in_an_update_too_is_sent_again_what_surely_changed_nothing(new_client: NewClient) -> None:
    with FakeServer(failing(b"ERR BUSY retry=1 :x", 2, {"READ": b"MISS"})) as server, new_client(server.url) as client:
        assert client.update("k", append) == b"x"
        assert server.heard == ["READ", "READ", "READ", "WRITE"]
    script = scripts.options_heard([], {"READ": b"MISS", "WRITE": b"ERR BUSY retry=1 :x"})
    with FakeServer(script) as server, new_client(server.url) as client:
        with pytest.raises(BusyError):
            client.update("k", append)
        assert server.heard == ["READ", "WRITE", "WRITE", "WRITE"]


# -- only with asyncio


async def test_an_update_takes_a_coroutine_function_too() -> None:
    class Appending:
        async def __call__(self, old: bytes | None) -> bytes:
            await asyncio.sleep(0)
            return append(old)

    async def change(old: bytes | None) -> bytes:
        await asyncio.sleep(0)
        return append(old)

    with FakeServer(Cache()) as server:
        async with AsyncClient(server.url) as client:
            assert await client.update("k", change) == b"x"
            assert await client.update("k", Appending()) == b"xx"
            assert await client.update("k", lambda old: change(old)) == b"xxx"
            assert await client.read("k") == b"xxx"


async def test_an_update_may_be_cancelled_while_its_value_is_made() -> None:
    started = asyncio.Event()

    async def change(old: bytes | None) -> bytes:
        started.set()
        await asyncio.Event().wait()
        return append(old)

    with FakeServer(Cache()) as server:
        async with AsyncClient(server.url) as client:
            task = asyncio.ensure_future(client.update("k", change))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await client.read("k") is None
            assert server.heard == ["READ", "READ"]
