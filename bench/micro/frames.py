"""Requests read by the server, and what a client does: requests written, replies read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from bench.micro.blocks import Benchmark
from bench.micro.conversation import MOST_IN_FLIGHT, NOW, VALUE, Conversation, Request, read, write
from wireproto.core.client_session import ClientSession
from wireproto.core.credentials import Credentials
from wireproto.core.limits import Limits
from wireproto.core.reply_wire import ReplyParser
from wireproto.core.request_encoding import encode_key_request, encode_request
from wireproto.core.request_wire import RequestParser
from wireproto.core.verbs import Verb

DEPTHS = (1, 10, 50)
TOGETHER = 50
CHUNK = 1400
"""Bytes of a value that come at a time: what a packet of the network holds."""
KIB = 1024


def benchmarks() -> Iterator[Benchmark]:
    """All of this concern."""
    return chain(_hot_loop(), _full_parser(), _long_values(), _client())


def _hot_loop() -> Iterator[Benchmark]:
    """`Dispatch.take_plain` by way of a session that nobody answers meanwhile: requests read, routed and queued."""
    for depth in DEPTHS:
        reads = [read(number) for number in range(depth)]
        yield _received(f"hot loop, READ, {depth} in flight", reads)
        yield _received(
            f"hot loop, tagged READ, {depth} in flight", [each.tagged(number) for number, each in enumerate(reads)]
        )
        yield _received(f"hot loop, WRITE, {depth} in flight", [write(number) for number in range(depth)])
        yield _received(
            f"hot loop, WRITE ex=60, {depth} in flight", [write(number, options=b" ex=60") for number in range(depth)]
        )


def _received(name: str, requests: Sequence[Request]) -> Benchmark:
    talk = Conversation()
    exchange = talk.exchange(requests)
    receive, data = talk.session.receive, exchange.request

    def run(times: int) -> None:
        for _ in range(times):
            receive(data, NOW)

    return Benchmark(
        name,
        run,
        operations=exchange.count,
        after=lambda times: talk.finish(exchange, times),
        most=MOST_IN_FLIGHT // exchange.count,
    )


def _full_parser() -> Iterator[Benchmark]:
    """`RequestParser` alone, which reads whatever is not plain."""
    key = b"key:00000000"
    frames = {
        "READ": b"READ 12:%b\n" % key,
        "WRITE": b"WRITE 12:%b %d:%b\n" % (key, len(VALUE), VALUE),
        "quoted READ": b'read "%b"\n' % key,
        "quoted WRITE with escapes": b'write "%b" "%b\\n\\x00"\n' % (key, VALUE),
        "WRITE ex=60 nx": b"WRITE 12:%b %d:%b ex=60 nx\n" % (key, len(VALUE), VALUE),
        "tagged READ ttl trace": b"#7 READ 12:%b ttl trace\n" % key,
    }
    for name, frame in frames.items():
        yield _parsed(f"full parser, {name}", frame)


def _parsed(name: str, frame: bytes) -> Benchmark:
    parser = RequestParser(Limits())
    parser.trusted = True
    data = frame * TOGETHER
    seen, _ = parser.read(data, 0)
    assert seen is not None
    assert not seen.error, seen.text

    def run(times: int) -> None:
        read_one, end = parser.read, len(data)
        for _ in range(times):
            position = 0
            while position < end:
                _, position = read_one(data, position)

    return Benchmark(name, run, operations=TOGETHER)


def _long_values() -> Iterator[Benchmark]:
    """A value in pieces costs the same per piece however long it is, or its length is a way to stop the server."""
    for kib in (64, 1024):
        yield _in_chunks(f"WRITE of {kib} KiB in chunks of {CHUNK} bytes, per chunk", kib * KIB)


def _in_chunks(name: str, size: int) -> Benchmark:
    talk = Conversation()
    exchange = talk.exchange([write(0, bytes([1]) * size)])
    data = exchange.request
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    receive = talk.session.receive

    def run(times: int) -> None:
        for _ in range(times):
            for chunk in chunks:
                receive(chunk, NOW)

    most = max(1, KIB * KIB // size)  # a session that writes long values has few of them in flight
    return Benchmark(name, run, operations=len(chunks), after=lambda times: talk.finish(exchange, times), most=most)


def _client() -> Iterator[Benchmark]:
    """A client's side: the encoding of requests, `ReplyParser`, and all of a session, which mostly does without it."""
    key = "key:00000000"

    def read_requests(times: int) -> None:
        for _ in range(times):
            encode_key_request(Verb.READ, key)

    def write_requests(times: int) -> None:
        arguments, options = (key.encode(), VALUE), {"ex": 60}
        for _ in range(times):
            encode_request(Verb.WRITE, arguments, options)

    yield Benchmark("client, READ written", read_requests)
    yield Benchmark("client, WRITE ex=60 written", write_requests)
    hit = read(0).answer
    replies = {
        "hit": hit,
        "OK": b"OK\n",
        "hit with ttl=": hit[:-1] + b" ttl=59697\n",
        "error": b"ERR BUSY retry=50 :too much is queued\n",
    }
    for name, line in replies.items():
        yield _replies_read(f"client, {name} read by the full parser", line)
    for depth in DEPTHS:
        yield _conversed(f"client session, READ, {depth} at once", encode_key_request(Verb.READ, key), hit, depth)


def _conversed(name: str, request: bytes, hit: bytes, depth: int) -> Benchmark:
    """Requests submitted, written, answered and taken."""
    session: ClientSession[None] = ClientSession(Credentials(None))
    session.start(NOW)
    requests, number = [request] * depth, 0

    def run(times: int) -> None:
        nonlocal number
        answers = [
            b"".join(b"#%d %b" % (each, hit) for each in range(first, first + depth))
            for first in range(number + 1, number + 1 + times * depth, depth)
        ]
        number += times * depth
        for answer in answers:
            session.submit(requests, None, NOW)
            session.data_to_send()
            session.receive(answer, NOW)
        assert not session.in_flight

    return Benchmark(name, run, operations=depth, most=MOST_IN_FLIGHT)


def _replies_read(name: str, line: bytes) -> Benchmark:
    parser, data = ReplyParser(), line * TOGETHER

    def run(times: int) -> None:
        for _ in range(times):
            parser.feed(data)
            count = 0
            while parser.next() is not None:
                count += 1
            assert count == TOGETHER

    return Benchmark(name, run, operations=TOGETHER)
