"""A node's bytes: each request is answered once, with what the node said to it, or fails; nobody gets another's answer.

Several clients wait for one node. What each of them hears is held against what hiredis by itself reads in the stream.
Some READs ask for a lease if they miss; what the node says to that comes behind the answers to all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Final

import hiredis

from fuzz.cutting import pieces, split
from tests.core.conversation import Conversation
from wireproto.core.envelope import is_enveloped, is_vacancy, read_envelope
from wireproto.core.keyring import EncryptionKey, Keyring
from wireproto.core.node_pipeline import NO_REPLY, NodeProtocolError
from wireproto.core.opening import opened
from wireproto.core.reply_wire import CONFLICT, ERR, MISS, OK, Reply, ReplyParser
from wireproto.core.sealing import Sealer
from wireproto.core.stored_values import from_stored

_REQUESTS: Final = (
    b"READ 1:k",
    b"READ 4:{k}l lease=5",  # which the next one overtakes
    b"WRITE 4:{k}l 1:v",
    b"READ 1:k",
    b"DELETE 1:k",
    b"READ 1:k ttl",
    b"TOUCH 1:k ex=1",
    b"INCR 1:k",
    b"WRITE 1:k 1:v ver=x",
    b"DELETE 1:k ver=x",
    b"READ 1:k ttl ver lease=5 early=9",
    b"READ 1:k lease=5",
    b"READ 1:k",
)
"""What each client asks, in this order. Both keys are of one node."""
_CLIENTS: Final = 3
_ALL: Final = _REQUESTS * _CLIENTS
_ASKS_AGAIN: Final = b"READ 1:k lease=5"
_KEY: Final = b"k"
_OTHER: Final = b"{k}l"
_NOW: Final = 1_000_000_000
"""Milliseconds, of a conversation."""
_NOTHING: Final = object()
_ANYTHING: Final = object()
_HUGE: Final = re.compile(rb"[*%~>|][0-9]{6}")
"""hiredis makes room for as many items as an array says, which takes the collector of garbage seconds to look through.
That is no news, and would be all that is found."""
_KEYRING: Final = Keyring((EncryptionKey("key", None, b"k" * 32, 1, "seal"),))
_FRESH: Final = b"\xffE%16b%014d%014d%16b%014dv" % (b"q4hT0aYb0000001f", 0, 0, b"", 0)
_STALE: Final = b"\xffE%16b%014d%014d%16b%014dv" % (b"", _NOW, 5, b"", 0)
_HELD: Final = b"\xffE%16b%014d%014d%16b%014dv" % (b"", _NOW, 5, b"q4hT0aYb00000021", _NOW + 5)
_VACANT: Final = b"\xffVq4hT0aYb00000021%014d" % (_NOW + 5)


def _new_sealer() -> Sealer:
    """Always gives the same nonces, so that what is kept can be opened."""
    numbers = count()
    return Sealer(_KEYRING, lambda: next(numbers).to_bytes(12, "big"))


_SEALED: Final = _new_sealer().for_namespace("ns").seal(_KEY, b"v")


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


WORDS: Final = (
    *(b"+OK\r\n", b"$1\r\nv\r\n", b"$-1\r\n", b":1\r\n", b":0\r\n", b":-1\r\n", b"*2\r\n$1\r\nv\r\n:-1\r\n"),
    *(b"$", b"*", b"%", b"~", b">", b"|", b",", b"#t", b"(", b"=", b"_", b"!", b"\r\n", b"-ERR no\r\n", b"-OOM no\r\n"),
    *(b"-READONLY no\r\n", b"-WRONGTYPE no\r\n", b"-LOADING no\r\n", b"$3\r\n\xff\x00v\r\n", b"$2\r\n\xff\x09\r\n"),
    *(b"99999", b"*-1\r\n", b"$0\r\n\r\n", b"*0\r\n", b"=7\r\ntxt:abc\r\n", b"%1\r\n+a\r\n:1\r\n", b"-MOVED 1 a:1\r\n"),
    *(b"-TYPE value\r\n", b"-TYPE overflow\r\n", b"-NOSCRIPT no\r\n", b"$2\r\n42\r\n", b"$2\r\n-7\r\n", b"*5\r\n"),
    *(b"*5\r\n$1\r\nv\r\n:7\r\n$-1\r\n:0\r\n:0\r\n", b"*5\r\n$-1\r\n:-1\r\n$1\r\nL\r\n:0\r\n:0\r\n"),
    *(b"*5\r\n$-1\r\n:-1\r\n$-1\r\n:5\r\n:0\r\n", b"*5\r\n$1\r\nv\r\n:-3\r\n$1\r\nL\r\n:0\r\n:1\r\n"),
    *(_bulk(stored) for stored in (_FRESH, _STALE, _HELD, _VACANT, _SEALED, _STALE[:-1] + _SEALED)),
    *(b"*5\r\n%b:7\r\n$-1\r\n:0\r\n:0\r\n" % _bulk(stored) for stored in (_FRESH, _FRESH[:-1] + _SEALED)),
)


def check(data: bytes) -> None:
    """The contract of a node's pipeline and of the answers to clients."""
    variant, size, stream = split(data)
    if _HUGE.search(stream):
        return
    sealer = _new_sealer() if variant % 2 else None
    spoken, is_garbage = _spoken(stream)
    decided = _decided(spoken, sealer)
    quick = _answers(pieces(stream, size), sealer)
    slow = _answers(pieces(stream, 1), sealer)
    for answers in (quick, slow):
        for answer, said, request in zip(answers, decided, _ALL, strict=True):
            if said is _NOTHING:
                assert _is_failure(answer), "an answer that the node has not given"
            elif said is not _ANYTHING:
                _must_fit(answer, said, request)
    assert all(_is_failure(a) or _same(a, b) for a, b in zip(quick, slow, strict=True))
    if not is_garbage:
        for answer, said in zip(slow, decided, strict=True):
            is_open = said is _NOTHING or said is _ANYTHING or isinstance(said, hiredis.ReplyError)
            assert is_open or not _is_failure(answer)


def _answers(chunks: list[bytes], sealer: Sealer | None) -> list[Reply]:
    """What the clients were answered, in the order of their requests."""
    talks = [Conversation(nodes_answer=False, sealers=sealer)]
    talks += [Conversation(nodes_answer=False, sealers=sealer, lanes=talks[0].lanes) for _ in range(_CLIENTS - 1)]
    node = talks[0].pipelines[talks[0].owner(_KEY)]
    for talk in talks:
        talk.session._answers.window = 100
        for number, request in enumerate(_REQUESTS):
            talk.session.receive(b"#%d %b\n" % (number, request), talk.now)
    assert node.data_to_send(talks[0].now)
    try:
        for chunk in chunks:
            node.receive(chunk, talks[0].now)
            node.data_to_send(talks[0].now)
    except NodeProtocolError:
        pass
    node.lost()
    assert (node.in_flight_requests, node.waiting_requests, node.queued_bytes) == (0, 0, 0)
    answers: list[Reply] = []
    for talk in talks:
        by_tag = {reply.tag: reply for reply in _replies(talk.session.data_to_send())}
        assert len(by_tag) == len(_REQUESTS)
        answers += [by_tag[b"%d" % number] for number in range(len(_REQUESTS))]
        assert talk.session.owes_nothing
        assert not talk.session.is_broken
        leases = talk.session._answers.leases
        assert leases is not None
        assert leases.in_flight == 0
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


def _is_led_elsewhere(spoken: list[object]) -> bool:
    """Whether the node has said what makes the server ask it something else, or nothing more."""
    return any(isinstance(said, hiredis.ReplyError) and str(said)[:8] in ("NOSCRIPT", "READONLY") for said in spoken)


def _decided(spoken: list[object], sealer: Sealer | None) -> list[object]:
    """What the node has said to each request in the end, opened; `_NOTHING` if it has not.

    `_ANYTHING` where it has led the server elsewhere, for it is not told here what is asked then.
    """
    if sealer is not None:
        opener = sealer.for_namespace("ns")
        keys = [request.split()[1].partition(b":")[2] for request in _ALL]
        keys += [_KEY] * max(0, len(spoken) - len(keys))
        spoken = [opened(opener, key, said) for key, said in zip(keys, spoken, strict=False)]
    decided = spoken[: len(_ALL)] + [_NOTHING] * (len(_ALL) - len(spoken))
    more, is_led_elsewhere = iter(spoken[len(_ALL) :]), _is_led_elsewhere(spoken)
    for place, (said, request) in enumerate(zip(decided, _ALL, strict=True)):
        if request == _ASKS_AGAIN and _asks_again(said):
            decided[place] = _ANYTHING if is_led_elsewhere else next(more, _NOTHING)
    return decided


def _asks_again(said: object) -> bool:
    """Whether a READ with a lease is not answered by what a GET has found."""
    if not isinstance(said, bytes) or is_vacancy(said) or not is_enveloped(said):
        return said is None
    envelope = read_envelope(said)
    return envelope is not None and not envelope.is_fresh(_NOW) and envelope.lease_until <= _NOW


def _must_fit(answer: Reply, said: object, request: bytes) -> None:
    """The answer to a client is what the node said, or a failure. Nobody is told what was not asked for."""
    words = {name.partition("=")[0] for name in request.decode("ascii").split()}
    assert {"ttl", "ver", "lease"} & answer.options.keys() <= words
    assert "lease" in words or "held" not in answer.options
    if _is_failure(answer):
        return
    if isinstance(said, hiredis.ReplyError):
        assert answer.status == ERR
        return
    value = said[0] if isinstance(said, list) and len(said) == 5 and request.startswith(b"READ") else said
    if answer.status == OK and request.startswith(b"READ"):
        assert answer.arguments == (_value(value),)
        assert "lease" not in answer.options or (isinstance(said, list) and said[2] is not None) or _OTHER in request
    elif answer.status == OK and request.startswith(b"INCR"):
        assert answer.arguments == (said,)
    elif answer.status == OK and b"ver=" in request and request.startswith(b"WRITE"):
        assert isinstance(said, bytes)
        assert answer.options == {"ver": said.decode("ascii")}
    elif answer.status == OK:
        assert said in (b"OK", 1)
    elif answer.status == MISS:
        assert value in (None, 0) or (isinstance(value, bytes) and (is_vacancy(value) or is_enveloped(value)))
    elif answer.status == CONFLICT:
        assert said in (None, -1)
    else:
        assert answer.code in ("INTERNAL", "CORRUPT"), answer.code
        assert answer.code == "INTERNAL" or _value(value) is None


def _value(stored: object) -> bytes | None:
    """The value of what a node has, opened already; None if it is none."""
    if isinstance(stored, bytes) and is_enveloped(stored):
        envelope = read_envelope(stored)
        return None if envelope is None else from_stored(envelope.value)
    return from_stored(stored) if isinstance(stored, bytes) else None


def _is_failure(answer: Reply) -> bool:
    """Whether it says that the node's answer never came, or that it was not asked."""
    return answer.code in ("LOST", "DOWN")


def _same(one: Reply, other: Reply) -> bool:
    return (one.status, one.arguments, dict(one.options), one.code) == (
        other.status,
        other.arguments,
        dict(other.options),
        other.code,
    )
