"""Almost right: what the grammars make, with bytes lost, doubled, swapped or put in between, and lengths off by one.

What must hold is what the targets of `make fuzz` hold. They are led by what they reach, and these by what is likely:
each finds what the other misses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz.replies
import fuzz.requests
import fuzz.resp
from tests.core.conversation import API_KEY, OTHER_KEY, Conversation
from tests.core.test_node_pipeline import NO_REPLIES
from tests.core.test_reply_wire import CASES
from tests.core.test_request_wire import argument, requests
from wireproto.core.node_pipeline import NodeProtocolError
from wireproto.core.reply_wire import OK, Reply, ReplyParser

NUMBER = re.compile(rb"[0-9]+")


def drop(stream: bytes, start: int, stop: int, _: bytes) -> bytes:
    return stream[:start] + stream[stop:]


def double(stream: bytes, start: int, stop: int, _: bytes) -> bytes:
    return stream[:stop] + stream[start:]


def swap(stream: bytes, start: int, stop: int, _: bytes) -> bytes:
    middle = (start + stop) // 2
    return stream[:start] + stream[middle:stop] + stream[start:middle] + stream[stop:]


def splice(stream: bytes, start: int, _: int, other: bytes) -> bytes:
    return stream[:start] + other + stream[start:]


def cut_off(stream: bytes, start: int, _: int, __: bytes) -> bytes:
    return stream[:start]


def count_up(stream: bytes, start: int, _: int, __: bytes) -> bytes:
    return off_by(1, stream, start)


def count_down(stream: bytes, start: int, _: int, __: bytes) -> bytes:
    return off_by(-1, stream, start)


def off_by(difference: int, stream: bytes, start: int) -> bytes:
    """The first number from there on is another."""
    found = NUMBER.search(stream, start)
    if found is None:
        return stream
    return stream[: found.start()] + b"%d" % (int(found[0]) + difference) + stream[found.end() :]


MUTATIONS: list[Callable[[bytes, int, int, bytes], bytes]] = [
    drop,
    double,
    swap,
    splice,
    cut_off,
    count_up,
    count_down,
]


@st.composite
def inputs(draw: st.DrawFn, whole: st.SearchStrategy[bytes], words: tuple[bytes, ...]) -> bytes:
    """A target's input: good pieces, with some mutations, in pieces of some size."""
    stream = b"".join(draw(st.lists(whole, max_size=8)))
    for mutate in draw(st.lists(st.sampled_from(MUTATIONS), max_size=3)):
        start = draw(st.integers(0, len(stream)))
        stop = start + draw(st.integers(0, 20))
        stream = mutate(stream, start, stop, draw(st.one_of(st.sampled_from(words), st.binary(max_size=6))))
    return bytes((draw(st.integers(48, 55)), draw(st.integers(48, 87)))) + stream


other_requests = st.sampled_from(
    [
        *(
            b"PING\n",
            b"WHERE 1:k\n",
            b"STATS\n",
            b"HELP\n",
            b"TOUCH 1:k ex=5\n",
            b"#t READ 1:k trace\n",
            b"\n",
            b"FROB 1:k\n",
        ),
        *(
            b"READ 1:k replica\n",
            b"WRITE 1:k 1:v sync=1\n",
            b"DELETE 1:k sync=2\n",
            b"WRITE 1:k 1001:" + b"v" * 1001 + b"\n",
        ),
        *(b"AUTH " + argument(key) + b"\n" for key in (API_KEY, OTHER_KEY, b"wrong", b"a.b.c")),
    ]
)


# Whether a READ gets a lease may depend on what travels with it (docs/PROTOCOL.md): not the same for any cut.
@settings(max_examples=300)
@given(inputs(st.one_of(requests(leases=False).map(lambda drawn: drawn[0]), other_requests), fuzz.requests.WORDS))
def test_requests(data: bytes) -> None:
    fuzz.requests.check(data)


tagged_replies = st.tuples(st.integers(1, 13), st.sampled_from([line for line, _ in CASES])).map(
    lambda drawn: b"#%d %b" % (drawn[0], drawn[1].partition(b" ")[2] if drawn[1].startswith(b"#") else drawn[1])
)


@settings(max_examples=300)
@given(inputs(st.one_of(tagged_replies, st.sampled_from([line for line, _ in CASES])), fuzz.replies.WORDS))
def test_replies(data: bytes) -> None:
    fuzz.replies.check(data)


answers = st.sampled_from(
    [
        *(b"+OK\r\n", b"$5\r\nvalue\r\n", b"$0\r\n\r\n", b"$-1\r\n", b":1\r\n", b":0\r\n", b"*2\r\n$1\r\nv\r\n:-1\r\n"),
        *(
            b"*2\r\n$-1\r\n:-2\r\n",
            b"-OOM no\r\n",
            b"-READONLY no\r\n",
            b"-ERR no\r\n",
            b"$3\r\n\xff\x00v\r\n",
            b"$1\r\n\xff\r\n",
        ),
    ]
)


@settings(max_examples=150)
@given(inputs(answers, fuzz.resp.WORDS))
def test_answers_of_nodes(data: bytes) -> None:
    fuzz.resp.check(data)


# -- garbage among a node's answers

CLIENTS, REQUESTS = 3, 4
no_beginning = st.binary(max_size=6).map(
    lambda noise: bytes(byte for byte in noise if byte not in b"+-:$*_,#!=(%~>|\r\n")
)


def value_of(client: int, request: int) -> bytes:
    """None of them becomes another's if something is put into it."""
    return sha256(b"value %d of client %d" % (request, client)).hexdigest().encode("ascii")


@given(st.one_of(no_beginning, st.sampled_from(NO_REPLIES[:3])), st.integers(0, 10_000), st.integers(1, 60))
def test_nobody_gets_anothers_answer_when_there_is_garbage_between(noise: bytes, place: int, size: int) -> None:
    """A node's answers have no names, so a whole one too many would shift the others: but garbage must not."""
    talks = [Conversation(nodes_answer=False)]
    talks += [Conversation(nodes_answer=False, lanes=talks[0].lanes) for _ in range(CLIENTS - 1)]
    node = talks[0].pipelines[talks[0].owner(b"k")]
    for talk in talks:
        talk.session._answers.window = 100
    stream = b""
    for request in range(REQUESTS):
        for client, talk in enumerate(talks):
            talk.session.receive(b"#%d READ 1:k\n" % request, 0.0)
            value = value_of(client, request)
            stream += b"$%d\r\n%b\r\n" % (len(value), value)
    assert node.data_to_send(0.0)
    place %= len(stream)
    while stream[place - 1 : place] in b"$0123456789" and place:
        place -= 1  # a length that is another is not garbage, but a lie
    stream = stream[:place] + noise + stream[place:]
    try:
        for start in range(0, len(stream), size):
            node.receive(stream[start : start + size], 0.0)
    except NodeProtocolError:
        pass
    node.lost()
    everything = {value_of(client, request) for client in range(CLIENTS) for request in range(REQUESTS)}
    for client, talk in enumerate(talks):
        replies = list(replies_in(talk.session.data_to_send()))
        assert sorted(reply.tag for reply in replies) == [b"%d" % request for request in range(REQUESTS)]
        for reply in replies:
            own = value_of(client, int(reply.tag))
            assert reply.status != OK or reply.arguments[0] not in everything - {own}


def replies_in(heard: bytes) -> list[Reply]:
    parser = ReplyParser()
    parser.feed(heard)
    replies = []
    while (reply := parser.next()) is not None:
        replies.append(reply)
    return replies
