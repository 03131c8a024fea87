"""A client's bytes: the server's session answers each whole request once, in step, however the bytes were cut.

The session is held against itself without its hot loop, so that the full parser reads every frame; and what it answers
is read by the clients' parser, which is strict, and held against the frames that the full parser finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from fuzz.cutting import pieces, split
from tests.core.conversation import API_KEY, OTHER_KEY, Conversation
from wireproto.core.bundle import Asker, Bundle
from wireproto.core.limits import Limits
from wireproto.core.replication_policy import ReplicationPolicy
from wireproto.core.reply_wire import ERR, MISS, OK, Reply, ReplyParser
from wireproto.core.request_wire import EMPTY_LINE, Frame, RequestParser
from wireproto.core.verbs import Verb

_LIMITS: Final = Limits(max_key=64, max_value=1000, max_in_flight=20, max_in_flight_bytes=4000)
_POLICIES: Final = (
    ReplicationPolicy(),
    ReplicationPolicy(),
    ReplicationPolicy(reads_replicas=True),
    ReplicationPolicy(sync=1),
)

WORDS: Final = (
    *(b"READ ", b"WRITE ", b"DELETE ", b"GET ", b"SET ", b"DEL ", b"TOUCH ", b"PING", b"WHERE ", b"STATS", b"HELP"),
    *(b"QUIT\n", b"AUTH ", b"#t ", b"1:k", b" 1:v", b" 3:abc", b"0:", b'"q"', b"\\x41", b" ex=1", b" px=10", b" nx"),
    *(b" xx", b" keepttl", b" ttl", b" replica", b" trace", b" sync=1", b" sync=0", b" deadline=5", b"\r\n", b"\n"),
    *(
        b"INCR ",
        b" by=-1",
        b" by=9223372036854775807",
        b" 1:7",
        b" lease=5",
        b" lease=3600000",
        b" lease=L",
        b" early=9",
    ),
    *(b" ver", b" ver=x", b" stale=60", b" ex=60 stale=60"),
    *(b"64:", b"65:", b"1000:", b"1001:", b"64000:", b"64001:", b"999999999:", b"2:\xff\x00", b"read ", b"Write "),
    *(b"%d:%b" % (len(key), key) for key in (API_KEY, OTHER_KEY)),
)


class _AtOnce:
    """Replicas have what was written, or (if it was a DELETE) too few have."""

    def ask(self, asker: Asker, bundle: Bundle, index: int, line: bytes, needed: int, now: float) -> None:
        asker.confirm(bundle, index, line, "too few" if line == b"MISS\n" else "", now)


def check(data: bytes) -> None:
    """The contract of the server's session."""
    variant, size, stream = split(data)
    policy, log_in = _POLICIES[variant % 4], variant % 8 < 4
    talk, heard = _heard(pieces(stream, size), policy, log_in=log_in)
    replies = _replies(heard)
    _must_be_in_step(replies, _frames(stream, log_in=log_in), talk)
    _, slowly = _heard(pieces(stream, 1), policy, log_in=log_in, has_hot_loop=False)
    told = _told_of_a_lease if b"lease" in stream else _told
    assert _by_order(replies, told) == _by_order(_replies(slowly), told), "the answers depend on who reads, or the cuts"


def _heard(
    chunks: Iterable[bytes], policy: ReplicationPolicy, *, log_in: bool, has_hot_loop: bool = True
) -> tuple[Conversation, bytes]:
    """All that a client is answered, and the conversation after it."""
    talk = Conversation(limits=_LIMITS, policy=policy, log_in=log_in)
    for lane in talk.lanes:
        lane.confirmations = _AtOnce()
    heard = b""
    for chunk in chunks:
        if not has_hot_loop:
            dispatch = talk.session._dispatch
            dispatch._plain, dispatch._plain_read = {}, b""
        heard += talk.say(chunk)
    talk.session.end_of_input()
    heard += talk.settle()
    assert talk.session.is_finished, "the end of the input ends the conversation"
    assert not talk.session.is_broken
    assert talk.session.owes_nothing
    answers = talk.session._answers
    assert (answers.in_flight, answers.in_flight_bytes) == (0, 0)
    assert answers.leases is not None
    assert (answers.leases.in_flight, answers.leases._written) == (0, {})
    assert not any(node.queued_bytes or node.in_flight or node.waiting for node in talk.pipelines)
    assert not talk.world.bugs, talk.world.bugs
    return talk, heard


def _replies(heard: bytes) -> list[Reply]:
    """What was answered. Raises ProtocolError if that keeps not to the grammar."""
    parser = ReplyParser()
    parser.feed(heard)
    replies = []
    while (reply := parser.next()) is not None:
        replies.append(reply)
    parser.feed(b"OK\n")
    assert parser.next() is not None, "the last answer is cut"
    return replies


def _frames(stream: bytes, *, log_in: bool) -> list[Frame]:
    """What is in the stream, to the frame that ends it."""
    parser = RequestParser(_LIMITS)
    parser.trusted = log_in
    frames: list[Frame] = []
    position = 0
    while position < len(stream):
        frame, position = parser.read(stream, position)
        if frame is None:
            break
        if frame is EMPTY_LINE:
            continue
        frames.append(frame)
        verb = None if frame.error or frame.spec is None else frame.spec.verb
        if frame.error == "PROTO" or verb is Verb.QUIT:
            break
        if verb is Verb.AUTH and frame.arguments[0] in (API_KEY, OTHER_KEY):
            parser.trusted = True
    return frames


def _must_be_in_step(replies: list[Reply], frames: list[Frame], talk: Conversation) -> None:
    """Each frame has its reply, by its tag or by its place."""
    if talk.session.login.is_barred:
        frames = frames[: len(replies)]
    assert len(replies) == len(frames), "each request has one answer"
    assert Counter(reply.tag for reply in replies) == Counter(frame.tag for frame in frames)
    untagged = [frame for frame in frames if not frame.tag]
    for reply, frame in zip([reply for reply in replies if not reply.tag], untagged, strict=True):
        if frame.error:
            assert (reply.status, reply.code, reply.text) == (ERR, frame.error, frame.text)
        else:
            assert reply.code not in ("PROTO", "VERB", "TOOBIG", "INTERNAL")


def _by_order(
    replies: list[Reply], told: Callable[[Reply], tuple[object, ...]]
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Untagged replies, whose order counts, and the others."""
    seen = [(reply.tag, *told(reply)) for reply in replies]
    return [one for one in seen if not one[0]], sorted(one for one in seen if one[0])


def _told(reply: Reply) -> tuple[object, ...]:
    """What a reply says. A token says who was logged in, and a bit of chance."""
    return reply.status, reply.arguments, str(dict(reply.options)), reply.code, reply.text


def _told_of_a_lease(reply: Reply) -> tuple[object, ...]:
    """The same where there are leases: who gets one, and whether a DELETE finds it, may depend on the cuts."""
    if reply.code == "NOSYNC" or (reply.status in (OK, MISS) and not reply.arguments):
        options = reply.options.keys() - {"lease", "held"}
        return "done", (), str(sorted(options)), "", ""
    return _told(reply)
