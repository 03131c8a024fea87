"""The request parser: any cut gives the same frames, and nothing but a frame or PROTO comes out of any bytes."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.limits import Limits
from wireproto.core.request_wire import EMPTY_LINE, Frame, RequestParser
from wireproto.core.verbs import Verb

LIMITS = Limits(max_value=5000)
Seen = tuple[bytes, str, Verb | None, tuple[bytes, ...], tuple[tuple[str, int | bytes], ...]]


def seen(frame: Frame) -> Seen:
    verb = frame.spec.verb if frame.spec else None
    options: dict[str, int | bytes] = {**frame.options, **frame.tokens}
    return frame.tag, frame.error, verb, tuple(frame.arguments), tuple(sorted(options.items()))


def parse(chunks: list[bytes], *, trusted: bool = True) -> list[Seen]:
    """What a parser makes of chunks, with its owner's part: keep the rest, and wait for `need` bytes."""
    parser = RequestParser(LIMITS)
    parser.trusted = trusted
    frames: list[Seen] = []
    held = b""
    for chunk in chunks:
        held += chunk
        if len(held) < parser.need:
            continue
        position = 0
        while True:
            frame, position = parser.read(held, position)
            if frame is None:
                break
            if frame is not EMPTY_LINE:
                frames.append(seen(frame))
            if frame.error == "PROTO":
                return frames
        held = held[position:]
    return frames


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:stop] for start, stop in pairwise(bounds)]


def argument(payload: bytes) -> bytes:
    return b"%d:%b" % (len(payload), payload)


def quoted(payload: bytes) -> bytes:
    return b'"' + b"".join(b"\\x%02x" % byte for byte in payload) + b'"'


keys = st.binary(min_size=1, max_size=40)
values = st.one_of(st.binary(max_size=60), st.binary(min_size=900, max_size=1100))
tags = st.from_regex(rb"[A-Za-z0-9_-]{1,16}", fullmatch=True)
forms = st.sampled_from([argument, quoted])
spaces = st.sampled_from([b" ", b"  ", b"   "])
ends = st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n", b"\r\n\r\n"])
options_of = {
    Verb.READ: st.sampled_from([b"", b" ttl", b" ttl ver", b" lease=5000", b" early=20 lease=10 replica"]),
    Verb.WRITE: st.sampled_from(
        [
            *(b"", b" nx", b" xx", b" ex=5", b" px=70 nx", b" keepttl", b" deadline=5 trace", b" ex=10 xx trace"),
            *(b" ver=q4hT0aYb0000001f", b" ex=60 stale=300 lease=-.+", b" ver=1"),
        ]
    ),
    Verb.DELETE: st.sampled_from([b"", b" ver=1.5", b" lease=x sync=2"]),
    Verb.INCR: st.sampled_from([b"", b" by=-5", b" by=9223372036854775807 ex=1", b" px=2 by=007 sync=1"]),
}
spellings = {b"READ": Verb.READ, b"get": Verb.READ, b"Write": Verb.WRITE, b"DEL": Verb.DELETE, b"incR": Verb.INCR}


@st.composite
def requests(draw: st.DrawFn, leases: bool = True) -> tuple[bytes, Seen]:
    """A well-formed request in any of its spellings, and what it means; without `leases`, none that takes one."""
    tag = draw(st.one_of(st.just(b""), tags))
    key, form, space = draw(keys), draw(forms), draw(spaces)
    name, verb = draw(st.sampled_from(list(spellings.items())))
    arguments: tuple[bytes, ...] = (key,)
    text = name + space + form(key)
    if verb is Verb.WRITE:
        value = draw(values)
        arguments = (key, value)
        text += space + draw(forms)(value)
    options = draw(options_of[verb].filter(lambda words: leases or verb is not Verb.READ or b"lease" not in words))
    head = b"#%b " % tag if tag else b""
    meaning = tuple(sorted(meaning_of(verb, word) for word in options.decode().split()))
    return head + text + options + draw(ends), (tag, "", verb, arguments, meaning)


def meaning_of(verb: Verb, word: str) -> tuple[str, int | bytes]:
    """An option and its number, or its token."""
    name, _, value = word.partition("=")
    is_token = value and verb is not Verb.READ and name in ("ver", "lease")
    return name, value.encode() if is_token else int(value or 1)


@given(st.lists(requests(), max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
def test_every_spelling_and_every_cut_gives_the_same_requests(
    drawn: list[tuple[bytes, Seen]], places: list[int]
) -> None:
    data = b"".join(text for text, _ in drawn)
    expected = [meaning for _, meaning in drawn]
    assert parse([data]) == expected
    assert parse(cut(data, places)) == expected


fragments = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        (
            *(b"READ ", b"WRITE ", b"#t ", b"1:k", b" 3:abc", b"0:", b' "q"', b'"', b"\\", b" ex=1", b" nx", b"\n"),
            *(b"INCR ", b" by=-", b"9", b" ver", b" lease=5", b"=x"),
            *(b"6000:", b"99999999:", b"999999999999:", b"\r", b"\r\n", b"\t", b" ", b"PING", b"frob ", b"=", b"#"),
        )
    ),
)


@given(st.lists(fragments, max_size=30), st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_any_bytes_give_frames_or_proto_independent_of_the_cut(
    pieces: list[bytes], places: list[int], trusted: bool
) -> None:
    data = b"".join(pieces)
    whole = parse([data], trusted=trusted)
    assert whole == parse(cut(data, places), trusted=trusted)
    assert whole == parse([data[index : index + 1] for index in range(len(data))], trusted=trusted)
    assert {frame[1] for frame in whole} <= {"", "PROTO", "VERB", "ARG", "TOOBIG"}
    assert all(frame[1] != "PROTO" for frame in whole[:-1])


def test_an_argument_that_is_too_long_is_not_held() -> None:
    parser = RequestParser(LIMITS)
    parser.trusted = True
    head = b"WRITE 1:k 300000:"
    assert parser.read(head, 0) == (None, len(head))
    for _ in range(30):
        assert parser.read(b"\n" * 10_000, 0) == (None, 10_000), "skipped bytes are given back as consumed"
    frame, _ = parser.read(b"\n", 0)
    assert frame is not None
    assert frame.error == "TOOBIG"
    assert frame.arguments == [b"k"]


def test_the_parser_says_how_much_it_needs() -> None:
    parser = RequestParser(LIMITS)
    parser.trusted = True
    frame, position = parser.read(b"WRITE 1:k 5000:abc", 0)
    assert frame is None
    assert position == len(b"WRITE 1:k ")
    assert parser.need == len(b"5000:") + 5000


@pytest.mark.parametrize(
    ("typed", "error"), [(b"a" * 8180, "ARG"), (b'\\"' * 4090, ""), (b"\\\\" * 4090, ""), (b"a\\" * 4090, "ARG")]
)
def test_a_quoted_argument_that_comes_byte_by_byte_is_looked_at_once(typed: bytes, error: str) -> None:
    """Looked at from its beginning for each byte, it took 2 s: a client could have had that for 8 KiB, before AUTH."""
    started = time.process_time()
    data = b'PING "%b"\n' % typed
    (frame,) = parse([data[index : index + 1] for index in range(len(data))])
    assert frame[1] == error
    assert time.process_time() - started < 0.4
