"""A node's bytes: each request is answered once, with what the node said to it, or fails; nobody gets another's answer.

Several clients wait for one node. What each of them hears is held against what hiredis by itself reads in the stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import hiredis

from fuzz.cutting import pieces, split
from tests.core.conversation import Conversation
from wireproto.core.node_pipeline import NO_REPLY, NodeProtocolError
from wireproto.core.reply_wire import CONFLICT, ERR, MISS, OK, Reply, ReplyParser
from wireproto.core.stored_values import from_stored

_KINDS: Final = (b"READ", b"WRITE", b"READ", b"DELETE", b"READ TTL", b"TOUCH", b"READ")
"""What each client asks, in this order."""
_CLIENTS: Final = 3
_KEY: Final = b"k"
_HUGE: Final = re.compile(rb"[*%~>|][0-9]{6}")
"""hiredis makes room for as many items as an array says, which takes the collector of garbage seconds to look through.
That is no news, and would be all that is found."""
_REST: Final = {b"WRITE": b" 1:v", b"READ TTL": b" ttl", b"TOUCH": b" ex=1"}

WORDS: Final = (
    *(
        b"+OK\r\n",
        b"$1\r\nv\r\n",
        b"$-1\r\n",
        b":1\r\n",
        b":0\r\n",
        b"*2\r\n$1\r\nv\r\n:-1\r\n",
        b"*2\r\n$-1\r\n:-2\r\n",
    ),
    *(b"$", b"*", b"%", b"~", b">", b"|", b",", b"#t", b"(", b"=", b"_", b"!", b"\r\n", b"-ERR no\r\n", b"-OOM no\r\n"),
    *(b"-READONLY no\r\n", b"-WRONGTYPE no\r\n", b"-LOADING no\r\n", b"$3\r\n\xff\x00v\r\n", b"$2\r\n\xff\x09\r\n"),
    *(b"99999", b"*-1\r\n", b"$0\r\n\r\n", b"*0\r\n", b"=7\r\ntxt:abc\r\n", b"%1\r\n+a\r\n:1\r\n", b"-MOVED 1 a:1\r\n"),
)


def check(data: bytes) -> None:
    """The contract of a node's pipeline and of the answers to clients."""
    _, size, stream = split(data)
    if _HUGE.search(stream):
        return
    spoken, is_garbage = _spoken(stream)
    quick = _answers(pieces(stream, size))
    slow = _answers(pieces(stream, 1))
    for answers in (quick, slow):
        for answer, said, kind in zip(answers, spoken, _KINDS * _CLIENTS, strict=False):
            _must_fit(answer, said, kind)
        for answer in answers[len(spoken) :]:
            assert _is_failure(answer), "an answer that the node has not given"
    assert all(a.code == "LOST" or _same(a, b) for a, b in zip(quick, slow, strict=True))
    if not is_garbage:
        assert not any(_is_failure(answer) for answer in slow[: len(spoken)])


def _answers(chunks: list[bytes]) -> list[Reply]:
    """What the clients were answered, in the order of their requests."""
    talks = [Conversation(nodes_answer=False)]
    talks += [Conversation(nodes_answer=False, lanes=talks[0].lanes) for _ in range(_CLIENTS - 1)]
    node = talks[0].pipelines[talks[0].owner(_KEY)]
    for talk in talks:
        talk.session._answers.window = 100
        for number, kind in enumerate(_KINDS):
            line = b"#%d %b 1:%b%b\n" % (number, kind.split()[0], _KEY, _REST.get(kind, b""))
            talk.session.receive(line, talk.now)
    assert node.data_to_send(0.0)
    try:
        for chunk in chunks:
            node.receive(chunk, 0.0)
    except NodeProtocolError:
        pass
    node.lost()
    assert (node.in_flight_requests, node.waiting_requests, node.queued_bytes) == (0, 0, 0)
    answers: list[Reply] = []
    for talk in talks:
        by_tag = {reply.tag: reply for reply in _replies(talk.session.data_to_send())}
        assert len(by_tag) == len(_KINDS)
        answers += [by_tag[b"%d" % number] for number in range(len(_KINDS))]
        assert talk.session.owes_nothing
        assert not talk.session.is_broken
        assert not [bug for bug in talk.world.bugs if isinstance(bug, Exception)]
    return answers


def _replies(heard: bytes) -> Iterator[Reply]:
    parser = ReplyParser()
    parser.feed(heard)
    while (reply := parser.next()) is not None:
        yield reply


def _spoken(stream: bytes) -> tuple[list[object], bool]:
    """The node's replies as far as they can be read, and whether something else follows."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(stream)
    spoken: list[object] = []
    try:
        while (reply := reader.gets()) is not Ellipsis:
            spoken.append(reply)
    except NO_REPLY:
        return spoken, True
    return spoken, False


def _must_fit(answer: Reply, said: object, kind: bytes) -> None:
    """The answer to a client is what the node said, or a failure."""
    if _is_failure(answer):
        return
    if isinstance(said, hiredis.ReplyError):
        assert answer.status == ERR
    elif answer.status == OK and kind.startswith(b"READ"):
        value = said[0] if kind == b"READ TTL" and isinstance(said, list) else said
        assert isinstance(value, bytes)
        assert answer.arguments == (from_stored(value),)
    elif answer.status == OK:
        assert said in (b"OK", 1)
    elif answer.status == MISS:
        assert said in (None, 0) or (isinstance(said, list) and said[0] is None)
    elif answer.status == CONFLICT:
        assert said is None
    else:
        assert answer.code in ("INTERNAL", "CORRUPT"), answer.code


def _is_failure(answer: Reply) -> bool:
    """Whether it says that the node's answer never came."""
    return answer.code == "LOST"


def _same(one: Reply, other: Reply) -> bool:
    return (one.status, one.arguments, dict(one.options), one.code) == (
        other.status,
        other.arguments,
        dict(other.options),
        other.code,
    )
