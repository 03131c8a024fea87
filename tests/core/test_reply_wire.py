"""Replies, however they are cut; and everything that is none."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.reply_wire import CONFLICT, ERR, MAX_REPLY_OVERHEAD, MISS, OK, Reply, ReplyParser
from wireproto.errors import (
    BusyError,
    Effect,
    InternalError,
    NotReplicatedError,
    ProtocolError,
    TooBigError,
)

Seen = tuple[bytes, str, tuple[bytes, ...], dict[str, str | None], str, str]

CASES: list[tuple[bytes, Seen]] = [
    (b"OK\n", (b"", OK, (), {}, "", "")),
    (b"MISS\n", (b"", MISS, (), {}, "", "")),
    (b"CONFLICT\n", (b"", CONFLICT, (), {}, "", "")),
    (b"#a7 OK\n", (b"a7", OK, (), {}, "", "")),
    (b"#A-_9 MISS\n", (b"A-_9", MISS, (), {}, "", "")),
    (b"#1234567890123456 CONFLICT\n", (b"1234567890123456", CONFLICT, (), {}, "", "")),
    (b"OK 8:my_value\n", (b"", OK, (b"my_value",), {}, "", "")),
    (b"OK 0:\n", (b"", OK, (b"",), {}, "", "")),
    (b"#1 OK 5:a\n\r :\n", (b"1", OK, (b"a\n\r :",), {}, "", "")),
    (b"OK 12:OK 3:abc\nOK\n\n", (b"", OK, (b"OK 3:abc\nOK\n",), {}, "", "")),
    (b"OK 1:v ttl=59998\n", (b"", OK, (b"v",), {"ttl": "59998"}, "", "")),
    (b"OK 1:v ttl=5 ver=a.b+c-_ trace\n", (b"", OK, (b"v",), {"ttl": "5", "ver": "a.b+c-_", "trace": None}, "", "")),
    (b"OK ttl=900\n", (b"", OK, (), {"ttl": "900"}, "", "")),
    (b"OK 1:a 2:bc 0:\n", (b"", OK, (b"a", b"bc", b""), {}, "", "")),
    (b"MISS held=50\n", (b"", MISS, (), {"held": "50"}, "", "")),
    (b"ERR BUSY :full\n", (b"", ERR, (), {}, "BUSY", "full")),
    (b"ERR BUSY retry=50 :too many: 5 :(\n", (b"", ERR, (), {"retry": "50"}, "BUSY", "too many: 5 :(")),
    (b"#z ERR ARG :\n", (b"z", ERR, (), {}, "ARG", "")),
    (b"ERR DOWN node=shard-2 queue_us=7 :down\n", (b"", ERR, (), {"node": "shard-2", "queue_us": "7"}, "DOWN", "down")),
    (b"ERR VERB :\xd0\xb9 \xff\n", (b"", ERR, (), {}, "VERB", "й \ufffd")),
]

GARBAGE = [
    b"\n",
    b" OK\n",
    b"OK \n",
    b"OK\r\n",
    b"ok\n",
    b"OKAY\n",
    b"OK  1:v\n",
    b"OK 1:v \n",
    b"OK 1:vv\n",
    b"OK 1:v\r\n",
    b"OK 01:v\n",
    b"OK 00:\n",
    b"OK -1:v\n",
    b"OK +1:v\n",
    b"OK 1_0:0123456789\n",
    b"OK 1x\n",
    b"OK 1\n",
    b"OK 1 :\n",
    b"OK 1234567890:\n",
    b'OK "v"\n',
    b"OK ttl=5 1:v\n",
    b"OK ttl= 1:v\n",
    b"OK ttl=5 ttl=6\n",
    b"OK TTL=5\n",
    b"OK =5\n",
    b"OK ttl=5,6\n",
    b"OK :text\n",
    b"MISS 1:v ,\n",
    b"#\n",
    b"# OK\n",
    b"#a\n",
    b"#a \n",
    b"#a #b OK\n",
    b"#12345678901234567 OK\n",
    b"#a.b OK\n",
    b"ERR\n",
    b"ERR BUSY\n",
    b"ERR BUSY retry=5\n",
    b"ERR busy :text\n",
    b"ERR :text\n",
    b"ERR 4:BUSY :text\n",
    b"ERR BUSY text\n",
    b"ERR BUSY :text\r\n",
    b"ERR BUSY :a\rb\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"-ERR unknown command\r\n",
    b"+OK\r\n",
    b"$5\r\nhello\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\x15\x03\x03\x00\x02\x02\x28\n",
    b"\x00\n",
    b"READ 1:k\n",
    b"O" * (MAX_REPLY_OVERHEAD + 1),
    b"ERR BUSY :" + b"x" * MAX_REPLY_OVERHEAD,
    b"OK " + b"0: " * MAX_REPLY_OVERHEAD,
    b"OK" + b" o" * MAX_REPLY_OVERHEAD,
]


def seen(reply: Reply) -> Seen:
    return (reply.tag, reply.status, reply.arguments, dict(reply.options), reply.code, reply.text)


def read(chunks: Iterable[bytes], parser: ReplyParser | None = None) -> tuple[list[Seen], bool]:
    """The replies, and whether it ended in a ProtocolError. Anything else that is raised fails the test."""
    parser = parser or ReplyParser()
    replies: list[Reply] = []
    try:
        for chunk in chunks:
            parser.feed(chunk)
            while (reply := parser.next()) is not None:
                replies.append(reply)
    except ProtocolError:
        return [seen(reply) for reply in replies], True
    return [seen(reply) for reply in replies], False


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@pytest.mark.parametrize(("line", "expected"), CASES, ids=[repr(line) for line, _ in CASES])
def test_each_case_whole_byte_by_byte_and_with_a_tail(line: bytes, expected: Seen) -> None:
    assert read([line]) == ([expected], False)
    assert read(bytewise(line)) == ([expected], False)
    for cut in range(len(line)):
        assert read([line[:cut], line[cut:]]) == ([expected], False)
    tail = b"#t OK 3:abc\n"
    for data in (tail, tail[:6]):
        replies = [expected, (b"t", OK, (b"abc",), {}, "", "")][: 1 + (data == tail)]
        assert read([line + data]) == (replies, False)
        assert read(bytewise(line + data)) == (replies, False)


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: repr(line[:30]))
def test_garbage_is_a_protocol_error_however_it_is_cut(line: bytes) -> None:
    assert read([line + b"\n"])[1]
    assert read(bytewise(line + b"\n"))[1]
    good = (b"", OK, (b"v",), {}, "", "")
    for chunks in ([b"OK 1:v\n" + line + b"\n"], bytewise(b"OK 1:v\n" + line + b"\n")):
        replies, failed = read(chunks)
        assert failed
        assert replies[0] == good


@pytest.mark.parametrize("line", [line for line, _ in CASES])
def test_no_beginning_of_a_reply_is_refused_or_taken_for_a_whole_one(line: bytes) -> None:
    for cut in range(len(line)):
        assert read([line[:cut]]) == ([], False)


@given(st.lists(st.sampled_from(CASES), min_size=1, max_size=8), st.data())
def test_any_cut_gives_the_same_replies(cases: list[tuple[bytes, Seen]], data: st.DataObject) -> None:
    stream = b"".join(line for line, _ in cases)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(chunk for chunk in chunks if chunk) == ([expected for _, expected in cases], False)


@given(st.binary(max_size=200), st.data())
def test_noise_is_read_alike_however_it_is_cut(noise: bytes, data: st.DataObject) -> None:
    is_read_alike(noise, data.draw(st.integers(0, len(noise))))


ALPHABET = st.sampled_from(
    [b"OK", b"MISS", b"CONFLICT", b"ERR", b" ", b"\n", b"\r", b"#a", b"#", b"0:", b"2:", b"1", b":", b"BUSY", b"ttl=5"]
)


@given(st.lists(ALPHABET, max_size=20), st.data())
def test_almost_replies_are_read_alike_however_they_are_cut(words: list[bytes], data: st.DataObject) -> None:
    line = b"".join(words)
    is_read_alike(line, data.draw(st.integers(0, len(line))))


def is_read_alike(data: bytes, cut: int) -> None:
    whole = read([data])
    assert read([data[:cut], data[cut:]]) == whole
    assert read(bytewise(data)) == whole


def test_a_parser_that_has_failed_gives_nothing_any_more() -> None:
    parser = ReplyParser()
    assert read([b"nonsense\n"], parser) == ([], True)
    assert read([b"OK\n"], parser) == ([], True)


def test_arguments_are_bounded_before_they_are_held() -> None:
    assert read([b"OK 10:0123456789\n"], ReplyParser(10)) == ([(b"", OK, (b"0123456789",), {}, "", "")], False)
    for chunks in ([b"OK 11:"], [b"OK 11:01234567890\n"], [b"OK 6:012345 5:01234\n"], bytewise(b"OK 5:01234 6:0")):
        assert read(chunks, ReplyParser(10)) == ([], True)
    assert read([b"OK 999999999:"]) == ([], True)


def test_a_large_value_in_small_chunks_is_not_quadratic() -> None:
    def seconds(size: int) -> float:
        line = b"#1 OK %d:%b ttl=5\n" % (size, b"v" * size)
        chunks = [line[start : start + 1400] for start in range(0, len(line), 1400)]
        started = time.process_time()
        replies, failed = read(chunks)
        assert (len(replies), failed) == (1, False)
        return time.process_time() - started

    seconds(1 << 20)
    # Quadratic would be 64 times as long (and 3 s).
    assert seconds(16 << 20) < 0.5


def error_of(line: bytes) -> Exception:
    parser = ReplyParser()
    parser.feed(line)
    reply = parser.next()
    assert reply is not None
    return reply.error()


def test_errors() -> None:
    busy = error_of(b"ERR BUSY retry=50 :full\n")
    assert isinstance(busy, BusyError)
    assert (str(busy), busy.retry_after, busy.took_effect) == ("full", 0.05, Effect.NO)
    assert isinstance(error_of(b"ERR TOOBIG :x\n"), TooBigError)
    assert isinstance(error_of(b"ERR NOSYNC :x\n"), NotReplicatedError)
    for line in (b"ERR BUSY retry=soon :x\n", b"ERR BUSY retry=1234567890 :x\n", b"ERR BUSY retry :x\n"):
        error = error_of(line)
        assert isinstance(error, BusyError)
        assert error.retry_after is None


def test_a_code_of_a_later_version_may_have_taken_effect() -> None:
    error = error_of(b"ERR NEWCODE :something new\n")
    assert isinstance(error, InternalError)
    assert (error.took_effect, error.retryable, str(error)) == (Effect.MAYBE, False, "NEWCODE: something new")
