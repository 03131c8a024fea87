"""The blocking client, against servers of every kind."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import Any

import pytest

from bench.chaos.giving_up import time_out_many
from tests.client import scripts
from tests.client.fake_server import Cache, FakeServer, Peer
from wireproto import Client, Codec, NodeOfShard, Value
from wireproto.client.blocking_connection import WINDOW_BYTES, WINDOW_REQUESTS, BlockingConnection
from wireproto.client.options import ClientOptions
from wireproto.core.client_session import ClientSession
from wireproto.core.credentials import Credentials
from wireproto.core.reply_wire import Reply
from wireproto.errors import (
    ArgumentError,
    AuthError,
    BusyError,
    ConfigurationError,
    DeadlineError,
    DeniedError,
    Effect,
    LostError,
    NodeDownError,
    NodeTimeoutError,
    NotReplicatedError,
    ProtocolError,
    RequestError,
)


def test_every_method() -> None:
    with FakeServer(Cache()) as server, Client(server.url) as client:
        assert client.read("k") is None
        assert client.write("k", b"v", ex=60) is True
        assert client.read("k") == b"v"
        assert client.read(b"k", with_ttl=True) == Value(b"v", 1.5)
        assert client.write("k", b"w", nx=True) is False
        assert client.touch("k", px=5) is True
        assert client.delete("k") is True
        assert client.delete("k") is False
        assert client.touch("k", ex=5) is False
        assert 0 < client.ping() < 5
        assert client.where("k").node == "shard-2"
        assert client.where("k").details["role"] == "master"
        assert client.where("k").nodes == (
            NodeOfShard("master", "up", None, "h:1"),
            NodeOfShard("replica", "up", 0.003, "/s"),
        )
        assert client.stats() == {"version": "0"}
        assert server.connections == 1


def test_many_keys() -> None:
    with FakeServer(Cache()) as server, Client(server.url) as client:
        assert client.write_many({"a": b"1", b"b": b"2"}, ex=5) == {"a": True, b"b": True}
        assert client.read_many(["a", "b", "c", "a"]) == {"a": b"1", "b": b"2", "c": None}
        assert client.delete_many(["a", "c"]) == {"a": True, "c": False}
        assert client.read_many([]) == {}
        found = client.read_many(["b", "", "k" * 1025])
        assert found["b"] == b"2"
        assert isinstance(found[""], ArgumentError)
        assert isinstance(found["k" * 1025], ArgumentError)
        with pytest.raises(ArgumentError):
            client.read_many([""])


def test_one_key_that_fails_does_not_fail_the_others() -> None:
    async def script(peer: Peer) -> None:
        while True:
            frame = await peer.request()
            peer.answer(frame, b"ERR DENIED :no" if frame.arguments[0] == b"b" else scripts.HIT)

    with FakeServer(script) as server, Client(server.url) as client:
        found = client.read_many(["a", "b", "c"])
        assert (found["a"], found["c"]) == (b"v", b"v")
        assert isinstance(found["b"], DeniedError)
        with pytest.raises(DeniedError):
            client.read_many(["b"])


def test_pipeline() -> None:
    with FakeServer(Cache()) as server, Client(server.url) as client:
        with client.pipeline() as pipeline:
            pipeline.write("k", b"1")
            first = pipeline.read("k")
            pipeline.delete("k")
            second = pipeline.read("k", with_ttl=True)
            with pytest.raises(ConfigurationError):
                first.result()
            assert len(pipeline) == 4
        assert (first.result(), second.result()) == (b"1", None)
        assert server.heard == ["WRITE", "READ", "DELETE", "READ"]

        def leave() -> None:
            with client.pipeline() as pipeline:
                pipeline.write("k", b"1")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            leave()
        assert client.read("k") is None
        with pytest.raises(ArgumentError), client.pipeline() as pipeline:
            pipeline.read("")
        assert client.pipeline().execute() == []


def test_more_than_the_sockets_hold_goes_in_windows() -> None:
    with FakeServer(Cache()) as server, Client(server.url) as client:
        values = {f"k{number}": b"%d" % number * 1000 for number in range(WINDOW_BYTES // 1000)}
        assert all(client.write_many(values).values())
        assert client.read_many(values) == values
        large = {"a": b"x" * 10 * WINDOW_BYTES, "b": b"y" * 10 * WINDOW_BYTES}
        assert client.write_many(large) == {"a": True, "b": True}
        assert client.read_many(large) == large
        assert len(client.read_many([f"none-{number}" for number in range(2 * WINDOW_REQUESTS + 1)])) == 2001


def test_a_large_pipeline_to_a_server_that_reads_only_after_it_has_written() -> None:
    value = b"v" * 100_000

    async def script(peer: Peer) -> None:
        while True:
            frame = await peer.request()
            peer.answer(frame, b"OK %d:%b" % (len(value), value) if peer.server.heard[-1] == "READ" else b"OK")

    with FakeServer(script) as server, Client(server.url) as client:
        with client.pipeline() as pipeline:
            places = [pipeline.read("k") for _ in range(100)]
            for number in range(100):
                pipeline.write(f"k{number}", value)
        assert all(place.result() == value for place in places)


def test_what_is_asked_of_replicas() -> None:
    heard: list[dict[str, Any]] = []
    with FakeServer(scripts.options_heard(heard)) as server, Client(server.url) as client:
        assert client.read("k", replica=True) == b"v"
        assert client.read("k", with_ttl=True, replica=True) == Value(b"v", None)
        assert client.read_many(["k", "l"], replica=True) == {"k": b"v", "l": b"v"}
        assert client.write("k", b"v", ex=5, sync=1) is True
        assert client.write_many({"k": b"v"}, sync=0) == {"k": True}
        assert client.delete("k", sync=2) is True
        assert client.delete_many(["k", "l"], sync=8) == {"k": True, "l": True}
        reads = [{"replica": 1}, {"ttl": 1, "replica": 1}, {"replica": 1}, {"replica": 1}]
        assert heard == [*reads, {"ex": 5, "sync": 1}, {"sync": 0}, {"sync": 2}, {"sync": 8}, {"sync": 8}]
        heard.clear()
        with client.pipeline() as pipeline:
            pipeline.read("k", replica=True)
            pipeline.read("k", with_ttl=True, replica=True)
            pipeline.write("k", b"v", sync=1)
            pipeline.delete("k", sync=2)
        assert heard == [{"replica": 1}, {"ttl": 1, "replica": 1}, {"sync": 1}, {"sync": 2}]
        with pytest.raises(ArgumentError, match="sync"):
            client.delete_many(["k"], sync=9)


def test_a_write_without_enough_replicas_is_an_error_that_says_it_took_effect() -> None:
    line = b"ERR NOSYNC :0 of 1 replicas"
    with FakeServer(scripts.refuse(line)) as server, Client(server.url) as client:
        for change in (lambda: client.write("k", b"v", sync=1), lambda: client.delete("k", sync=1)):
            with pytest.raises(NotReplicatedError) as caught:
                change()
            assert caught.value.took_effect is Effect.YES
        with pytest.raises(NotReplicatedError), client.pipeline() as pipeline:
            pipeline.write("k", b"v", sync=1)
        assert server.heard == ["WRITE", "DELETE", "WRITE"]


def test_codec() -> None:
    with FakeServer(Cache()) as server, Client(server.url, codec=Codec.json()) as client:
        client.write("k", {"a": [1]})
        assert client.read("k") == {"a": [1]}
        assert client.read_many(["k"]) == {"k": {"a": [1]}}


# -- logging in


def test_the_key_is_traded_for_a_token_that_all_connections_use() -> None:
    cache = Cache(needs_login=True, max_delay=0.01)
    with FakeServer(cache) as server, Client(server.url, api_key="key", pool_size=4) as client:
        client.ping()
        run_in_threads(4, lambda: [client.ping() for _ in range(5)])
        assert server.connections > 1
        assert len(cache.tokens) == 1
        assert server.heard.count("AUTH") == server.connections


def test_the_token_is_renewed() -> None:
    cache = Cache(needs_login=True, token_lifetime=1)
    with FakeServer(cache) as server, Client(server.url, api_key="key") as client:
        client.ping()
        time.sleep(0.8)
        client.ping()
        assert (server.connections, len(cache.tokens)) == (1, 2)


def test_a_token_that_the_server_has_forgotten_is_replaced() -> None:
    cache = Cache(needs_login=True)
    with FakeServer(cache) as server, Client(server.url, api_key="key", pool_size=2) as client:
        client.ping()
        cache.tokens.clear()
        first = client._pool.acquire(time.monotonic() + 1)
        client.ping()
        client._pool.release(first, reusable=True)
        assert server.connections == 2


def test_a_wrong_key_is_told_and_not_tried_again_and_again() -> None:
    with FakeServer(Cache(needs_login=True)) as server, Client(server.url, api_key="wrong") as client:
        for _ in range(20):
            with pytest.raises(AuthError, match="not accepted"):
                client.write("k", b"v")
        assert server.connections < 20


def test_a_token_that_is_refused_is_replaced_by_way_of_the_api_key() -> None:
    with FakeServer(scripts.refused_token) as server, Client(server.url, api_key="key") as client:
        assert client.read("k") == client.read("k") == b"v"
        assert server.heard == ["AUTH", "READ", "AUTH", "AUTH", "READ"]


def test_an_expired_connection_logs_in_anew() -> None:
    async def script(peer: Peer) -> None:
        await Cache(needs_login=True)(peer) if peer.server.connections > 1 else await expired(peer)

    async def expired(peer: Peer) -> None:
        peer.answer(await peer.request(), b"OK 5:a.b.c ttl=900")
        while True:
            peer.answer(await peer.request(), b"ERR EXPIRED :the token has run out")

    with FakeServer(script) as server, Client(server.url, api_key="key") as client:
        assert client.write("k", b"v") is True
        assert server.heard == ["AUTH", "WRITE", "AUTH", "WRITE"]


# -- what goes wrong


def outcome(client: Client[bytes], verb: str, **options: Any) -> object:
    try:
        return client.read("k", **options) if verb == "READ" else client.write("k", b"v", **options)
    except RequestError as error:
        return error


def test_no_server() -> None:
    with FakeServer(Cache()) as server:
        url = server.url
    with Client(url) as client:
        started = time.monotonic()
        for _ in range(5):
            with pytest.raises(NodeDownError, match="cannot connect") as caught:
                client.write("k", b"v")
            assert caught.value.took_effect is Effect.NO
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("verb", ["READ", "WRITE"])
def test_silence_is_a_time_out_on_time_and_the_connection_is_closed(verb: str) -> None:
    with FakeServer(scripts.silence) as server, Client(server.url) as client:
        started = time.monotonic()
        error = outcome(client, verb, timeout=0.1)
        assert isinstance(error, NodeTimeoutError)
        assert error.took_effect is Effect.MAYBE
        assert 0.09 < time.monotonic() - started < 0.3
        wait_until(lambda: server.open == 0)


def test_the_default_time_out_counts_where_the_call_names_none() -> None:
    with FakeServer(scripts.silence) as server, Client(server.url, timeout=0.05) as client:
        assert isinstance(outcome(client, "READ"), NodeTimeoutError)


def test_a_late_answer_reaches_nobody() -> None:
    async def late(peer: Peer) -> None:
        while True:
            frame = await peer.request()
            if frame.arguments[0] == b"slow":
                await asyncio.sleep(0.1)
            peer.answer(frame, b"OK %d:%b" % (len(frame.arguments[0]), frame.arguments[0]))

    with FakeServer(late) as server, Client(server.url, pool_size=1) as client:
        with pytest.raises(NodeTimeoutError):
            client.read("slow", timeout=0.05)
        assert client.read("fast") == b"fast"
        assert server.connections == 2


@pytest.mark.parametrize("bad", [scripts.garbage, scripts.shifted, scripts.untagged, scripts.reset_after_request])
def test_a_connection_that_cannot_be_trusted_gives_no_answer(bad: Any) -> None:
    with FakeServer(scripts.first_connection(bad, Cache())) as server, Client(server.url) as client:
        error = outcome(client, "WRITE")
        assert isinstance(error, LostError)
        assert error.took_effect is Effect.MAYBE
    with FakeServer(scripts.first_connection(bad, Cache())) as server, Client(server.url) as client:
        assert outcome(client, "READ") is None
        assert server.connections == 2


def test_a_reply_that_does_not_fit_closes_the_connection() -> None:
    with FakeServer(scripts.misfitting) as server, Client(server.url) as client:
        assert isinstance(outcome(client, "READ"), ProtocolError)
        assert isinstance(outcome(client, "READ"), ProtocolError)
        assert server.connections == 2


def test_closing_at_every_byte_of_three_replies() -> None:
    stream = b"#1 OK 5:a\nb c\n#2 MISS\n#3 OK 2:xy\n"
    ends = (stream.index(b"#2"), stream.index(b"#3"), len(stream))
    for count in range(len(stream) + 1):
        with FakeServer(scripts.cut_after(count, stream)) as server, Client(server.url, retries=0) as client:
            whole = sum(end <= count for end in ends)
            if not whole:
                with pytest.raises(LostError):
                    client.read_many(["a", "b", "c"])
                continue
            found = list(client.read_many(["a", "b", "c"]).values())
            assert found[:whole] == [b"a\nb c", None, b"xy"][:whole]
            assert all(isinstance(error, LostError) for error in found[whole:])


def test_replies_byte_by_byte() -> None:
    with FakeServer(scripts.bytewise) as server, Client(server.url) as client:
        assert client.read_many(["a", "b"]) == {"a": b"my_value", "b": b"my_value"}


def test_a_connection_that_the_server_closed_meanwhile_is_noticed_before_it_is_used() -> None:
    async def one_request(peer: Peer) -> None:
        peer.answer(await peer.request(), b"OK")

    with FakeServer(one_request) as server, Client(server.url, retries=0) as client:
        for number in range(1, 4):
            assert client.write("k", b"v") is True
            assert server.connections == number
            wait_until(lambda: server.open == 0)


# -- what is sent again


@pytest.mark.parametrize("line", [b"ERR BUSY retry=1 :full", b"ERR DOWN :down", b"ERR LIMIT retry=1 :quota"])
@pytest.mark.parametrize("verb", ["READ", "WRITE"])
def test_what_surely_changed_nothing_is_sent_again(line: bytes, verb: str) -> None:
    with FakeServer(scripts.refuse(line, 2)) as server, Client(server.url) as client:
        assert outcome(client, verb) in (b"v", True)
        assert server.heard == [verb] * 3
    with FakeServer(scripts.refuse(line)) as server, Client(server.url) as client:
        assert isinstance(outcome(client, verb), RequestError)
        assert server.heard == [verb] * 3


@pytest.mark.parametrize("code", [b"TIMEOUT", b"LOST", b"INTERNAL"])
def test_what_may_have_taken_effect_is_sent_again_only_if_it_changes_nothing(code: bytes) -> None:
    with FakeServer(scripts.refuse(b"ERR %b :x" % code, 1)) as server, Client(server.url) as client:
        error = outcome(client, "WRITE")
        assert isinstance(error, RequestError)
        assert error.took_effect is Effect.MAYBE
        assert server.heard == ["WRITE"]
    with FakeServer(scripts.refuse(b"ERR %b :x" % code, 1)) as server, Client(server.url) as client:
        assert outcome(client, "READ") == b"v"


@pytest.mark.parametrize("code", [b"ARG", b"TOOBIG", b"DENIED", b"CORRUPT", b"NOSYNC", b"VERB", b"PROTO"])
def test_what_there_is_no_point_in_is_not_sent_again(code: bytes) -> None:
    for verb in ("READ", "WRITE"):
        with FakeServer(scripts.refuse(b"ERR %b :x" % code)) as server, Client(server.url) as client:
            error = outcome(client, verb)
            assert isinstance(error, RequestError)
            assert error.code == code.decode()
            assert server.heard == [verb]


def test_the_time_out_bounds_all_attempts_together() -> None:
    with FakeServer(scripts.refuse(b"ERR BUSY retry=300 :full")) as server, Client(server.url) as client:
        started = time.monotonic()
        assert isinstance(outcome(client, "READ", timeout=0.2), BusyError)
        assert time.monotonic() - started < 0.2
        assert server.heard == ["READ"]


def test_no_retries_if_none_are_wanted() -> None:
    with FakeServer(scripts.refuse(b"ERR BUSY retry=1 :x", 1)) as server, Client(server.url, retries=0) as client:
        assert isinstance(outcome(client, "READ"), BusyError)


def test_a_pipeline_is_sent_again_only_as_a_whole() -> None:
    with FakeServer(scripts.refuse(b"ERR BUSY retry=1 :x", 1)) as server, Client(server.url) as client:
        with client.pipeline() as pipeline:
            first, second = pipeline.write("k", b"1"), pipeline.write("k", b"2")
        assert isinstance(first.error, BusyError)
        assert second.result() is True
        assert len(server.heard) == 2


# -- threads and processes


def run_in_threads(count: int, work: Any) -> None:
    faults: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_threads_share_a_few_connections() -> None:
    with FakeServer(Cache(max_delay=0.002)) as server, Client(server.url, pool_size=3) as client:

        def work() -> None:
            key = f"k{threading.get_ident()}"
            for number in range(20):
                client.write(key, b"%d" % number)
                assert client.read(key) == b"%d" % number

        run_in_threads(12, work)
        assert server.connections <= 3


def test_a_thread_that_finds_no_free_connection_waits_and_then_gives_up() -> None:
    with FakeServer(scripts.silence) as server, Client(server.url, pool_size=1) as client:

        def block() -> None:
            with pytest.raises(NodeTimeoutError):
                client.ping(timeout=0.4)

        blocker = threading.Thread(target=block)
        blocker.start()
        wait_until(lambda: server.connections == 1)
        with pytest.raises(DeadlineError, match="in use") as caught:
            client.write("k", b"v", timeout=0.05)
        assert caught.value.took_effect is Effect.NO
        blocker.join()


def test_a_closed_client_says_so() -> None:
    with FakeServer(Cache()) as server:
        client = Client(server.url)
        client.ping()
        client.close()
        wait_until(lambda: server.open == 0)
        with pytest.raises(ConfigurationError, match="closed"):
            client.ping()


def test_time_outs_at_random_moments_give_nobody_a_wrong_answer() -> None:
    with FakeServer(Cache(max_delay=0.004)) as server:
        outcomes = time_out_many(server.url, 300, 0.015)
    assert outcomes["answered"] > 10


# Python 3.12 and later warn of a fork while there are threads; here the threads are the test's own server.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_process_makes_connections_of_its_own() -> None:
    with FakeServer(Cache()) as server, Client(server.url) as client:
        client.write("k", b"parent")
        lent = client._pool.acquire(time.monotonic() + 1)
        client.ping()
        assert server.connections == 2
        child = os.fork()
        if child == 0:
            code = 1
            try:
                idle = list(client._pool._idle)
                client._pool.release(lent, reusable=True)
                code = 0 if not idle and client.read("k") == b"parent" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert server.connections == 3
        client._pool.release(lent, reusable=True)
        assert client.read("k") == b"parent"
        run_in_threads(2, client.ping)
        assert server.connections == 3


# Python 3.12 and later warn of a fork while there are threads; here the threads are the test's own server.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_is_not_stopped_by_a_lock_that_another_thread_held() -> None:
    with FakeServer(Cache()) as server, Client(server.url) as client:
        client.ping()
        with client._pool._lock:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    client.ping(timeout=2)
                    code = 0
                finally:
                    os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_the_socket_does_not_take_at_once_follows() -> None:
    """A request that is smaller than a TLS record, and larger than the socket's buffer."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    request = b"WRITE 1:k 16000:%b\n" % bytes(16000)
    got = bytearray()

    def answer() -> None:
        while not got.endswith(b"\n"):
            got.extend(theirs.recv(1000))
        theirs.sendall(b"#1 OK\n")

    session: ClientSession[None] = ClientSession(Credentials(None))
    session.start(0.0)
    with ours, theirs:
        answering = threading.Thread(target=answer)
        answering.start()
        connection = BlockingConnection(ours, session, ClientOptions(tls=False))
        (reply,) = connection.exchange([request], time.monotonic() + 5)
        answering.join()
    assert isinstance(reply, Reply)
    assert reply.status == "OK"
    assert got == b"#1 " + request
