"""The asyncio client, against servers of every kind, under both event loops where that may matter."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from bench.chaos.giving_up import cancel_many
from tests.client import scripts
from tests.client.fake_server import Cache, FakeServer, Peer
from wireproto import AsyncClient, Codec, Value
from wireproto.client import multiplexed_connection
from wireproto.errors import (
    ArgumentError,
    AuthError,
    BusyError,
    ConfigurationError,
    DeadlineError,
    Effect,
    LostError,
    NodeDownError,
    NodeTimeoutError,
    NotReplicatedError,
    ProtocolError,
    RequestError,
)

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine in a loop of its own, in which nothing may be left over."""

    async def checked() -> None:
        await main()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(checked())


async def outcome(client: AsyncClient[bytes], verb: str, **options: Any) -> object:
    try:
        if verb == "READ":
            return await client.read("k", **options)
        return await client.write("k", b"v", **options)
    except RequestError as error:
        return error


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_every_method(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        async with AsyncClient(server.url) as client:
            assert await client.read("k") is None
            assert await client.write("k", b"v", ex=60) is True
            assert await client.read("k") == b"v"
            assert await client.read(b"k", with_ttl=True) == Value(b"v", 1.5)
            assert await client.write("k", b"w", nx=True) is False
            assert await client.touch("k", px=5) is True
            assert await client.delete("k") is True
            assert await client.touch("k", ex=5) is False
            assert 0 < await client.ping() < 5
            assert (await client.where("k")).node == "shard-2"
            assert await client.stats() == {"version": "0"}
            assert await client.write_many({"a": b"1", b"b": b"2"}, ex=5) == {"a": True, b"b": True}
            assert await client.read_many(["a", "b", "c", "a"]) == {"a": b"1", "b": b"2", "c": None}
            assert await client.delete_many(["a", "c"]) == {"a": True, "c": False}
            assert await client.read_many([]) == {}
            large = b"v" * 1_000_000
            await client.write("large", large)
            assert await client.read("large") == large

    with FakeServer(Cache()) as server:
        run(loop_factory, main)
        assert server.connections == 1


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_ten_thousand_cancels_and_time_outs_give_nobody_a_wrong_answer(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        outcomes = await cancel_many(server.url, 10_000, 0.006)
        assert min(outcomes["cancelled"], outcomes["timed out"], outcomes["answered"]) > 2000

    with FakeServer(Cache(max_delay=0.004)) as server:
        run(loop_factory, main)
        assert server.connections == 1


async def test_pipeline() -> None:
    with FakeServer(Cache()) as server:
        async with AsyncClient(server.url) as client:
            async with client.pipeline() as pipeline:
                pipeline.write("k", b"1")
                first = pipeline.read("k")
                pipeline.delete("k")
                second = pipeline.read("k", with_ttl=True)
            assert (first.result(), second.result()) == (b"1", None)
            assert server.heard == ["WRITE", "READ", "DELETE", "READ"]

            async def leave() -> None:
                async with client.pipeline() as pipeline:
                    pipeline.write("k", b"1")
                    raise RuntimeError

            with pytest.raises(RuntimeError):
                await leave()
            assert await client.read("k") is None


async def test_what_is_asked_of_replicas() -> None:
    heard: list[dict[str, Any]] = []
    with FakeServer(scripts.options_heard(heard)) as server:
        async with AsyncClient(server.url) as client:
            assert await client.read("k", replica=True) == b"v"
            assert await client.read("k", with_ttl=True, replica=True) == Value(b"v", None)
            assert await client.read_many(["k", "l"], replica=True) == {"k": b"v", "l": b"v"}
            assert await client.write("k", b"v", ex=5, sync=1) is True
            assert await client.write_many({"k": b"v"}, sync=0) == {"k": True}
            assert await client.delete("k", sync=2) is True
            assert await client.delete_many(["k", "l"], sync=8) == {"k": True, "l": True}
            reads = [{"replica": 1}, {"ttl": 1, "replica": 1}, {"replica": 1}, {"replica": 1}]
            assert heard == [*reads, {"ex": 5, "sync": 1}, {"sync": 0}, {"sync": 2}, {"sync": 8}, {"sync": 8}]


async def test_a_write_without_enough_replicas_is_not_sent_again() -> None:
    with FakeServer(scripts.refuse(b"ERR NOSYNC :0 of 1 replicas")) as server:
        async with AsyncClient(server.url) as client:
            with pytest.raises(NotReplicatedError):
                await client.write("k", b"v", sync=1)
            pipeline = client.pipeline()
            place = pipeline.write("k", b"v", sync=1)
            with pytest.raises(NotReplicatedError):
                await pipeline.execute()
            assert isinstance(place.error, NotReplicatedError)
            assert server.heard == ["WRITE", "WRITE"]


async def test_codec() -> None:
    with FakeServer(Cache()) as server:
        async with AsyncClient(server.url, codec=Codec.text()) as client:
            await client.write("k", "й")
            assert await client.read("k") == "й"


class CountingTransport:
    """A transport that counts what is written through it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.writes = 0
        self._transport = transport

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_what_is_asked_in_one_turn_of_the_loop_travels_in_one_write() -> None:
    with FakeServer(Cache()) as server:
        async with AsyncClient(server.url) as client:
            await client.ping()
            connection = client._shared.connection
            assert connection is not None
            counting = CountingTransport(connection._transport)
            connection._transport = counting  # type: ignore[assignment]
            await asyncio.gather(*[client.read(f"k{number}") for number in range(50)])
            assert counting.writes == 1
            await client.read_many([f"k{number}" for number in range(100)])
            assert counting.writes == 2


async def test_answers_that_overtake_others() -> None:
    async def backwards(peer: Peer) -> None:
        frames = [await peer.request() for _ in range(10)]
        for frame in reversed(frames):
            peer.answer(frame, b"OK 1:%b" % frame.arguments[0])
        await peer.gone()

    with FakeServer(backwards) as server:
        async with AsyncClient(server.url) as client:
            keys = [str(number) for number in range(10)]
            assert await asyncio.gather(*map(client.read, keys)) == [key.encode() for key in keys]


async def test_one_slow_answer_holds_up_nobody() -> None:
    async def script(peer: Peer) -> None:
        while True:
            frame = await peer.request()
            delay = 0.3 if frame.arguments[0] == b"slow" else 0.0
            asyncio.get_running_loop().call_later(delay, peer.answer, frame, scripts.HIT)

    with FakeServer(script) as server:
        async with AsyncClient(server.url) as client:
            slow = asyncio.ensure_future(client.read("slow"))
            started = time.monotonic()
            for _ in range(20):
                await client.read("fast")
            assert time.monotonic() - started < 0.25
            with pytest.raises(NodeTimeoutError):
                await client.read("slow", timeout=0.05)
            assert await slow == b"v"
            assert server.connections == 1


# -- limits


async def test_no_more_is_in_flight_than_allowed_and_the_rest_wait_their_turn() -> None:
    async def script(peer: Peer) -> None:
        waiting = []
        while True:
            waiting.append(await peer.request())
            most.append(len(waiting))
            if len(waiting) == 4:
                await asyncio.sleep(0.002)
                for frame in waiting:
                    peer.answer(frame, scripts.HIT)
                waiting = []

    most: list[int] = []
    with FakeServer(script) as server:
        async with AsyncClient(server.url, max_in_flight=4) as client:
            order: list[int] = []

            async def read(number: int) -> None:
                assert await client.read("k") == b"v"
                order.append(number)

            await asyncio.gather(*[read(number) for number in range(40)])
            assert (max(most), order) == (4, list(range(40)))
            assert len(await client.read_many([f"k{number}" for number in range(40)])) == 40
            assert max(most) == 4


async def test_bytes_in_flight_are_bounded_too() -> None:
    most = 0
    with FakeServer(Cache(max_delay=0.002)) as server:
        async with AsyncClient(server.url, max_in_flight_bytes=3000) as client:
            await client.ping()
            connection = client._shared.connection
            assert connection is not None

            async def write(number: int) -> None:
                nonlocal most
                await client.write(f"k{number}", b"v" * 1000)
                most = max(most, connection.session.in_flight_bytes)

            await asyncio.gather(*[write(number) for number in range(30)])
            assert most < 3000 + 1100
            await client.write("large", b"v" * 10_000)


async def test_who_waits_for_room_may_give_up() -> None:
    with FakeServer(scripts.silence) as server:
        async with AsyncClient(server.url, max_in_flight=1, timeout=0.4, retries=0) as client:
            first = asyncio.ensure_future(outcome(client, "WRITE"))
            await until(lambda: server.heard == [] and server.connections == 1)
            await asyncio.sleep(0.01)
            cancelled = asyncio.ensure_future(client.write("k", b"v"))
            await asyncio.sleep(0.01)
            cancelled.cancel()
            late = await outcome(client, "WRITE", timeout=0.05)
            assert isinstance(late, DeadlineError)
            assert late.took_effect is Effect.NO
            assert isinstance(await first, NodeTimeoutError)


async def test_a_cancel_in_the_queue_does_not_keep_the_next_one_waiting() -> None:
    with FakeServer(Cache(max_delay=0.005)) as server:
        async with AsyncClient(server.url, max_in_flight=1) as client:
            for _ in range(30):
                calls = [asyncio.ensure_future(client.read("k")) for _ in range(4)]
                await asyncio.sleep(0.002)
                calls[0].cancel()
                calls[1].cancel()
                assert (await asyncio.gather(*calls, return_exceptions=True))[2:] == [None, None]


# -- logging in


async def test_the_key_is_traded_for_a_token_which_is_renewed_in_mid_stream() -> None:
    cache = Cache(needs_login=True, token_lifetime=1, max_delay=0.003)
    with FakeServer(cache) as server:
        async with AsyncClient(server.url, api_key="key") as client:
            stop = time.monotonic() + 1.7

            async def read() -> None:
                while time.monotonic() < stop:
                    assert await client.read("k") is None
                    await asyncio.sleep(0.01)

            await asyncio.gather(*[read() for _ in range(5)])
            assert server.connections == 1
            assert len(cache.tokens) == server.heard.count("AUTH") == 3


async def test_a_new_connection_shows_the_token_and_falls_back_to_the_key() -> None:
    cache = Cache(needs_login=True)
    with FakeServer(cache) as server:
        async with AsyncClient(server.url, api_key="key") as client:
            for forget in (False, True):
                await client.ping()
                if forget:
                    cache.tokens.clear()
                assert client._shared.connection is not None
                client._shared.connection.abort()
                await until(lambda: server.open == 0)
                await client.ping()
            assert server.heard == ["AUTH", "PING", "AUTH", "PING", "PING", "AUTH", "AUTH", "PING"]


async def test_a_wrong_key_is_told_to_all_and_not_tried_again_and_again() -> None:
    with FakeServer(Cache(needs_login=True)) as server:
        async with AsyncClient(server.url, api_key="wrong") as client:
            errors = await asyncio.gather(*[outcome(client, "WRITE") for _ in range(10)])
            assert {type(error) for error in errors} == {AuthError}
            assert server.connections == 1


async def test_a_token_that_is_refused_is_replaced_by_way_of_the_api_key() -> None:
    with FakeServer(scripts.refused_token) as server:
        async with AsyncClient(server.url, api_key="key") as client:
            assert await client.read("k") == b"v"
            await until(lambda: server.open == 0)
            assert await client.read("k") == b"v"
            assert server.heard == ["AUTH", "READ", "AUTH", "AUTH", "READ"]


@pytest.mark.parametrize("code", [b"EXPIRED", b"CLOSING"])
async def test_a_connection_that_takes_nothing_new_is_replaced_while_it_still_answers(code: bytes) -> None:
    async def script(peer: Peer) -> None:
        if peer.server.connections > 1:
            await Cache(needs_login=True)(peer)
            return
        peer.answer(await peer.request(), b"OK 5:a.b.c ttl=900")
        slow = await peer.request()
        peer.answer(await peer.request(), b"ERR %b :no more" % code)
        await asyncio.sleep(0.1)
        peer.answer(slow, scripts.HIT)
        await peer.gone()

    with FakeServer(script) as server:
        async with AsyncClient(server.url, api_key="key") as client:
            slow = asyncio.ensure_future(client.read("slow"))
            await asyncio.sleep(0)
            assert await client.write("k", b"v") is True
            assert not slow.done()
            assert await slow == b"v"
            await until(lambda: server.open == 1)
            assert server.connections == 2


# -- what goes wrong


async def test_no_server() -> None:
    with FakeServer(Cache()) as server:
        url = server.url
    async with AsyncClient(url) as client:
        errors = await asyncio.gather(*[outcome(client, "WRITE") for _ in range(20)])
        assert {type(error) for error in errors} == {NodeDownError}
        assert len({id(error) for error in errors}) == 20


@pytest.mark.parametrize("verb", ["READ", "WRITE"])
async def test_silence_is_a_time_out_on_time(verb: str) -> None:
    with FakeServer(scripts.silence) as server:
        async with AsyncClient(server.url) as client:
            for timeout in (0.1, 0.02):
                started = time.monotonic()
                error = await outcome(client, verb, timeout=timeout)
                assert isinstance(error, NodeTimeoutError)
                assert error.took_effect is Effect.MAYBE
                assert timeout * 0.9 < time.monotonic() - started < timeout + 0.05
            assert server.connections == 1


async def test_a_connection_that_has_fallen_silent_is_given_up() -> None:
    with FakeServer(scripts.first_connection(scripts.silence, Cache())) as server:
        async with AsyncClient(server.url, timeout=0.1, retries=0) as client:
            assert isinstance(await outcome(client, "READ"), NodeTimeoutError)
            await until(lambda: server.open == 0)
            assert await outcome(client, "READ") is None
            assert server.connections == 2


async def test_one_answer_that_never_comes_does_not_take_a_place_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forgetful(peer: Peer) -> None:
        while True:
            frame = await peer.request()
            if frame.arguments != [b"forgotten"]:
                peer.answer(frame, scripts.HIT)

    monkeypatch.setattr(multiplexed_connection, "LATEST_REPLY", 0.2)
    with FakeServer(forgetful) as server:
        async with AsyncClient(server.url, timeout=0.05) as client:
            with pytest.raises(NodeTimeoutError):
                await client.read("forgotten")
            for _ in range(40):
                assert await client.read("k") == b"v"
                await asyncio.sleep(0.01)
            assert server.connections == 2


@pytest.mark.parametrize("bad", [scripts.garbage, scripts.shifted, scripts.untagged, scripts.reset_after_request])
@pytest.mark.parametrize("loop_factory", LOOPS)
def test_a_connection_that_cannot_be_trusted_gives_no_answer(
    bad: Any, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    for verb in ("READ", "WRITE"):

        async def main(verb: str = verb) -> None:
            async with AsyncClient(server.url) as client:
                found = await outcome(client, verb)
                if verb == "READ":
                    assert found is None
                else:
                    assert isinstance(found, LostError)
                    assert found.took_effect is Effect.MAYBE

        with FakeServer(scripts.first_connection(bad, Cache())) as server:
            run(loop_factory, main)


async def test_a_reply_that_does_not_fit_closes_the_connection() -> None:
    with FakeServer(scripts.misfitting) as server:
        async with AsyncClient(server.url) as client:
            assert isinstance(await outcome(client, "READ"), ProtocolError)
            assert isinstance(await outcome(client, "READ"), ProtocolError)
            assert server.connections == 2


async def test_closing_at_every_byte_of_three_replies() -> None:
    stream = b"#1 OK 5:a\nb c\n#2 MISS\n#3 OK 2:xy\n"
    ends = (stream.index(b"#2"), stream.index(b"#3"), len(stream))
    for count in range(len(stream) + 1):
        with FakeServer(scripts.cut_after(count, stream)) as server:
            async with AsyncClient(server.url, retries=0) as client:
                calls = [client.read(key) for key in ("a", "b", "c")]
                found = await asyncio.gather(*calls, return_exceptions=True)
                whole = sum(end <= count for end in ends)
                assert found[:whole] == [b"a\nb c", None, b"xy"][:whole]
                assert all(isinstance(error, LostError) for error in found[whole:])


async def test_replies_byte_by_byte() -> None:
    with FakeServer(scripts.bytewise) as server:
        async with AsyncClient(server.url) as client:
            assert await client.read_many(["a", "b"]) == {"a": b"my_value", "b": b"my_value"}


@pytest.mark.parametrize("line", [b"ERR BUSY retry=1 :full", b"ERR DOWN :down"])
async def test_what_surely_changed_nothing_is_sent_again(line: bytes) -> None:
    with FakeServer(scripts.refuse(line, 2)) as server:
        async with AsyncClient(server.url) as client:
            assert await outcome(client, "WRITE") is True
            assert server.heard == ["WRITE"] * 3


async def test_what_may_have_taken_effect_is_sent_again_only_if_it_changes_nothing() -> None:
    for verb, expected in (("WRITE", NodeTimeoutError), ("READ", bytes)):
        with FakeServer(scripts.refuse(b"ERR TIMEOUT :x", 1)) as server:
            async with AsyncClient(server.url) as client:
                assert isinstance(await outcome(client, verb), expected)


async def test_the_time_out_bounds_all_attempts_together() -> None:
    with FakeServer(scripts.refuse(b"ERR BUSY retry=300 :full")) as server:
        async with AsyncClient(server.url) as client:
            assert isinstance(await outcome(client, "READ", timeout=0.2), BusyError)
            assert server.heard == ["READ"]


async def test_bad_arguments_are_told_without_a_connection() -> None:
    async with AsyncClient("wireproto+plain://127.0.0.1:1") as client:
        for call in (client.read(""), client.write("k", "text"), client.read("k", timeout=0)):  # type: ignore[arg-type]
            with pytest.raises(ArgumentError):
                await call


# -- the client's life


async def test_a_caller_cancelled_while_connecting_does_not_disturb_the_others() -> None:
    async def slow_login(peer: Peer) -> None:
        frame = await peer.request()
        await asyncio.sleep(0.05)
        peer.answer(frame, b"OK 5:a.b.c ttl=900")
        await Cache()(peer)

    with FakeServer(slow_login) as server:
        async with AsyncClient(server.url, api_key="key") as client:
            first, second = (asyncio.ensure_future(client.ping()) for _ in range(2))
            hasty = asyncio.ensure_future(outcome(client, "WRITE", timeout=0.01))
            await asyncio.sleep(0.02)
            first.cancel()
            assert await second > 0
            assert isinstance(await hasty, DeadlineError)
            assert server.connections == 1


async def test_closing_ends_calls_under_way() -> None:
    with FakeServer(scripts.silence) as server:
        client = AsyncClient(server.url, retries=0)
        calls = [asyncio.ensure_future(outcome(client, verb)) for verb in ("READ", "WRITE")]
        await until(lambda: server.connections == 1)
        await asyncio.sleep(0.02)
        await client.close()
        assert {type(error) for error in await asyncio.gather(*calls)} == {LostError}
        with pytest.raises(ConfigurationError, match="closed"):
            await client.ping()
        await client.close()


async def test_closing_while_connecting() -> None:
    with FakeServer(scripts.silence) as server:
        client = AsyncClient(server.url, api_key="key")
        call = asyncio.ensure_future(client.ping())
        await until(lambda: server.connections == 1)
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await call
        await until(lambda: server.open == 0)


def test_one_client_in_one_loop_after_the_other() -> None:
    with FakeServer(Cache()) as server:
        client = AsyncClient(server.url)

        async def use() -> None:
            await client.ping()
            assert client._shared.connection is not None
            client._shared.connection.abort()
            await asyncio.sleep(0.01)

        asyncio.run(use())
        asyncio.run(use())
        assert server.connections == 2


def test_two_loops_at_the_same_time_are_refused() -> None:
    with FakeServer(Cache()) as server:
        client = AsyncClient(server.url)
        with asyncio.Runner() as first, asyncio.Runner() as second:
            first.run(client.ping())
            with pytest.raises(ConfigurationError, match="event loop"):
                second.run(client.ping())
            first.run(client.close())


# Python 3.12 and later warn of a fork while there are threads; here the threads are the test's own server.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_process_makes_a_connection_of_its_own() -> None:
    with FakeServer(Cache()) as server, asyncio.Runner() as runner:
        client = AsyncClient(server.url)
        runner.run(client.write("k", b"parent"))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with asyncio.Runner() as fresh:
                    code = 0 if fresh.run(client.read("k")) == b"parent" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert runner.run(client.read("k")) == b"parent"
        assert server.connections == 2
        runner.run(client.close())
