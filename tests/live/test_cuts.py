"""The same bytes, however they are cut; connections that end anywhere; and bad frames, all at a real server."""

from __future__ import annotations

import bisect
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import psutil
import pytest

from tests.core.test_bad_frames import REFUSED, SMALL
from tests.live.running import RawClient, RunningServer, wait_until

REPLY = re.compile(rb"(?:#\S+ )?(?:OK (\d+):|[^\n]*\n)")

TRANSCRIPT = [
    (b"READ 5:cut-a\n", b"MISS\n"),
    (b"WRITE 5:cut-a 5:value\n", b"OK\n"),
    (b"READ 5:cut-a\n", b"OK 5:value\n"),
    (b"#t1 READ 5:cut-a\n", b"#t1 OK 5:value\n"),
    (b"#t2 READ 9:cut-never\n", b"#t2 MISS\n"),
    (b'write "cut b" "quoted \\"value\\" \\\\ \\n\\r\\t\\x00\\xff"\r\n', b"OK\n"),
    (b'get "cut b"\r\n', b'OK 22:quoted "value" \\ \n\r\t\0\xff\n'),
    (b"WRITE 5:cut-c 27:\nREAD 5:cut-a\n#x PING 1:p\r\n\r\n", b"OK\n"),
    (b"\r\n\n  READ   5:cut-c  \r\n", b"OK 27:\nREAD 5:cut-a\n#x PING 1:p\r\n\n"),
    (b"SET 8:cut\r\n\0 d 1:w\n", b"OK\n"),
    (b"#t3 GET 8:cut\r\n\0 d\n", b"#t3 OK 1:w\n"),
    (b"FROB 10:\nREAD 1:k\n options\n", b"ERR VERB :no such verb; HELP lists them\n"),
    (b"#t4 FROB\n", b"#t4 ERR VERB :no such verb; HELP lists them\n"),
    (b"READ 0:\n", b"ERR ARG :the key is empty\n"),
    (b'read "not closed\r\n', b"ERR ARG :a quoted argument is not closed\n"),
    (b"WRITE 5:cut-a 1:x nx\n", b"CONFLICT\n"),
    (b"WRITE 9:cut-never 1:x xx\n", b"CONFLICT\n"),
    (b"WRITE 5:cut-a 4:temp ex=1000\n", b"OK\n"),
    (b"WRITE 5:cut-a 4:kept keepttl\n", b"OK\n"),
    (b"TOUCH 5:cut-a px=5000000\n", b"OK\n"),
    (b"TOUCH 9:cut-never ex=1\n", b"MISS\n"),
    (b"#t5 READ 5:cut-a deadline=60000\n", b"#t5 OK 4:kept\n"),
    (b"WRITE 5:cut-e 300:%b\n" % (b"READ 5:cut-a\n" * 23 + b"x"), b"OK\n"),
    (b"READ 5:cut-e\n", b"OK 300:%b\n" % (b"READ 5:cut-a\n" * 23 + b"x")),
    (b"WRITE 5:cut-f 3:\xff\x00v\n", b"OK\n"),
    (b"READ 5:cut-f\n", b"OK 3:\xff\x00v\n"),
    (b"WRITE 5:cut-f 0:\n", b"OK\n"),
    (b"READ 5:cut-f\n", b"OK 0:\n"),
    (b"PING\n", b"OK\n"),
    (b"PING 5:OK 1:\n", b"OK 5:OK 1:\n"),
    (b"READ 5:cut-a 1:b\n", b'ERR ARG :READ takes key; for example: read "my_key" ttl\n'),
    (b"DELETE 5:cut-a\nDEL 5:cut b\n", b"OK\nOK\n"),
    (b"DELETE 5:cut-c\nDELETE 8:cut\r\n\0 d\n", b"OK\nOK\n"),
    (b"#t6 DELETE 5:cut-e\n#t7 DELETE 5:cut-f\nDELETE 9:cut-never\n", b"#t6 OK\n#t7 OK\nMISS\n"),
]
"""Requests and their replies. They leave nothing behind, so that they can be repeated."""
REQUESTS = b"".join(request for request, _ in TRANSCRIPT)
REPLIES = b"".join(reply for _, reply in TRANSCRIPT)


def replies_in(data: bytes) -> Iterator[bytes]:
    """The replies in a stream, one by one, each with its LF."""
    position = 0
    while position < len(data):
        found = REPLY.match(data, position)
        assert found is not None, data[position : position + 100]
        end = found.end()
        if found[1] is not None:
            end += int(found[1])
            end = data.index(b"\n", end) + 1
        yield data[position:end]
        position = end


def ordered_and_tagged(data: bytes) -> tuple[bytes, list[bytes]]:
    """What came in order, and what came when it liked."""
    replies = list(replies_in(data))
    untagged = b"".join(reply for reply in replies if not reply.startswith(b"#"))
    return untagged, sorted(reply for reply in replies if reply.startswith(b"#"))


def whole(data: bytes) -> list[bytes]:
    return [data]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def at_random(data: bytes) -> list[bytes]:
    dice = random.Random(7)
    cuts = sorted({0, len(data), *(dice.randrange(len(data)) for _ in range(150))})
    return [data[start:end] for start, end in pairwise(cuts)]


def connect(server: RunningServer, kind: str) -> RawClient:
    client = server.plain() if kind == "plain" else server.tls()
    client.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


@pytest.mark.parametrize("kind", ["plain", "tls"])
@pytest.mark.parametrize(("cut", "times"), [(whole, 1), (one_by_one, 1), (at_random, 3), (whole, 30), (at_random, 30)])
def test_the_same_replies_however_the_requests_are_cut(
    server: RunningServer, kind: str, cut: Callable[[bytes], list[bytes]], times: int
) -> None:
    with connect(server, kind) as client:
        for piece in cut(REQUESTS * times):
            client.send(piece)
        client.send(b"QUIT\n")
        heard = client.everything()
    assert ordered_and_tagged(heard) == ordered_and_tagged(REPLIES * times + b"OK\n")


def test_pieces_that_arrive_one_by_one(server: RunningServer) -> None:
    """With pauses, so that the kernel cannot put them together again."""
    with connect(server, "plain") as client:
        for piece in at_random(REQUESTS):
            client.send(piece)
            time.sleep(0.001)
        client.send(b"QUIT\n")
        assert ordered_and_tagged(client.everything()) == ordered_and_tagged(REPLIES + b"OK\n")


@pytest.mark.parametrize(("kind", "step"), [("plain", 1), ("tls", 4)])
def test_a_cut_anywhere_changes_nothing(server: RunningServer, kind: str, step: int) -> None:
    """What stands before the cut is answered before the rest is sent: so the server has seen the cut."""
    ends = [sum(len(request) for request, _ in TRANSCRIPT[:count]) for count in range(len(TRANSCRIPT) + 1)]
    expected = ordered_and_tagged(REPLIES)
    with connect(server, kind) as client:
        for offset in range(1, len(REQUESTS), step):
            whole_ones = bisect.bisect_right(ends, offset) - 1
            client.send(REQUESTS[:offset])
            heard = client.exactly(sum(len(reply) for _, reply in TRANSCRIPT[:whole_ones]))
            client.send(REQUESTS[offset:])
            heard += client.exactly(len(REPLIES) - len(heard))
            assert ordered_and_tagged(heard) == expected, offset


# -- connections that end anywhere

FIRST, SECOND = b"first" * 3, b"second" * 4


def cut_stream(key: bytes) -> bytes:
    request = b"WRITE %d:%b " % (len(key), key)
    return (
        b"%b%d:%b\n" % (request, len(FIRST), FIRST)
        + b"%b%d:%b\n" % (request, len(SECOND), SECOND)
        + b"READ %d:%b\n" % (len(key), key)
    )


def reset(client: RawClient) -> None:
    client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.connection.close()


def close(client: RawClient) -> None:
    client.connection.close()


@pytest.mark.parametrize("kind", ["plain", "tls"])
@pytest.mark.parametrize("end", [reset, close])
def test_a_connection_that_ends_at_any_offset_leaves_no_partial_value(
    server: RunningServer, kind: str, end: Callable[[RawClient], None]
) -> None:
    process = psutil.Process(server.process.pid)
    open_before, descriptors_before = connections(server)["open"], process.num_fds()
    length = len(cut_stream(b"end-%03d" % 0))
    offsets = range(0, length + 1, 1 if kind == "plain" else 3)
    for offset in offsets:
        client = connect(server, kind)
        client.send(cut_stream(b"end-%03d" % offset)[:offset])
        end(client)
    took = wait_until(lambda: connections(server)["open"] <= open_before, timeout=2)
    took += wait_until(lambda: process.num_fds() <= descriptors_before, timeout=2)
    assert took < 2
    with server.plain() as checking:
        for offset in offsets:
            key = b"end-%03d" % offset
            value = checking.ask(b"READ 7:%b\n" % key)
            assert value in (b"MISS", b"OK %d:%b" % (len(FIRST), FIRST), b"OK %d:%b" % (len(SECOND), SECOND))
            checking.ask(b"DELETE 7:%b\n" % key)


@pytest.mark.parametrize(("kind", "step"), [("plain", 1), ("tls", 3)])
def test_a_half_close_at_any_offset_answers_exactly_what_was_whole(server: RunningServer, kind: str, step: int) -> None:
    process = psutil.Process(server.process.pid)
    open_before, descriptors_before = connections(server)["open"], process.num_fds()
    answers = [b"OK\n", b"OK\n", b"OK %d:%b\n" % (len(SECOND), SECOND)]
    stored = [b"MISS", b"OK %d:%b" % (len(FIRST), FIRST), *[b"OK %d:%b" % (len(SECOND), SECOND)] * 2]
    with server.plain() as checking:
        for offset in range(0, len(cut_stream(b"half-00")) + 1, step):
            key = b"half-%02d" % (offset % 100)
            with connect(server, kind) as client:
                sent = cut_stream(key)[:offset]
                client.send(sent)
                # Of the socket below TLS, which would else be taken off with it.
                socket.socket.shutdown(client.connection, socket.SHUT_WR)
                heard = client.everything()
            assert heard == b"".join(answers[: sent.count(b"\n")])
            assert checking.ask(b"READ 7:%b\n" % key) == stored[sent.count(b"\n")]
            checking.ask(b"DELETE 7:%b\n" % key)
    took = wait_until(lambda: connections(server)["open"] <= open_before, timeout=2)
    took += wait_until(lambda: process.num_fds() <= descriptors_before, timeout=2)
    assert took < 2


def connections(server: RunningServer) -> dict[str, int]:
    found = server.stats()["connections"]
    assert isinstance(found, dict)
    return found


# -- bad frames


def test_every_bad_frame_meets_at_the_port_what_it_meets_in_the_core(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server("--shards", "1", "--max-value", str(SMALL.max_value))
    faults = []
    for name, case in REFUSED.items():
        tail, farewell = (b"", b"") if case.closes(case.replies) else (b"PING 4:tail\nQUIT\n", b"OK 4:tail\nOK\n")
        heard = talk(server, case.data + tail)
        if heard != case.replies + farewell:
            faults.append(f"{name}: {heard!r}")
    assert not faults
    assert "Traceback" not in server.log()


def talk(server: RunningServer, data: bytes) -> bytes:
    with server.plain() as client:
        client.send(data)
        return client.everything()


@pytest.mark.parametrize("kind", ["plain", "tls"])
@pytest.mark.parametrize("logged_in", [True, False])
def test_the_last_reply_arrives_though_the_client_has_sent_much_more(
    server: RunningServer, kind: str, logged_in: bool
) -> None:
    """To close while the client's bytes are unread would reset the connection, and the reply could be lost."""
    flood = b"GET / HTTP/1.1\r\nHost: cache\r\n\r\n" * 35_000
    client = server.plain(log_in=logged_in) if kind == "plain" else server.tls(log_in=logged_in)
    with client:
        try:
            client.send(flood)
        except OSError:
            pass  # closed before everything was sent, which is right, too
        lines = client.everything().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(b"ERR PROTO :")
