"""What clients write is what the server reads; what the server would refuse is not written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.limits import Limits
from wireproto.core.request_encoding import (
    check_options,
    encode_key_request,
    encode_key_requests,
    encode_request,
    key_bytes,
    with_options,
)
from wireproto.core.request_wire import Frame, RequestParser
from wireproto.core.verbs import FLAG, MAX_TOKEN, NEEDED, SPECS, Verb
from wireproto.errors import ArgumentError

KEYS = st.binary(min_size=1, max_size=1024)
TTLS = st.one_of(
    st.just({}),
    st.builds(lambda seconds: {"ex": seconds}, st.integers(1, 10_000_000_000)),
    st.builds(lambda milliseconds: {"px": milliseconds}, st.integers(1, 10_000_000_000_000)),
    st.just({"keepttl": 1}),
)
TOKENS = st.from_regex(r"[A-Za-z0-9._+-]{1,64}", fullmatch=True)
CONDITIONS = st.one_of(
    st.sampled_from([{}, {"nx": 1}, {"xx": 1}]),
    st.builds(lambda name, token: {name: token}, st.sampled_from(["ver", "lease"]), TOKENS),
)


def parse(data: bytes) -> Frame:
    parser = RequestParser(Limits())
    parser.trusted = True
    frame, position = parser.read(data, 0)
    assert frame is not None
    assert position == len(data)
    return frame


@given(KEYS, st.sampled_from([Verb.READ, Verb.DELETE, Verb.WHERE]))
def test_a_key_arrives_as_it_is(key: bytes, verb: Verb) -> None:
    frame = parse(encode_key_request(verb, key))
    assert (frame.error, frame.spec and frame.spec.verb, frame.arguments, frame.options) == ("", verb, [key], {})


@given(KEYS, st.binary(max_size=3000), TTLS, CONDITIONS)
def test_a_write_arrives_as_it_is(key: bytes, value: bytes, ttl: dict[str, int], condition: dict[str, Any]) -> None:
    frame = parse(encode_request(Verb.WRITE, (key, value), ttl | condition))
    tokens = {name: given.encode() for name, given in condition.items() if isinstance(given, str)}
    assert (frame.error, frame.arguments, frame.tokens) == ("", [key, value], tokens)
    assert frame.options == ttl | dict.fromkeys(condition, 1)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_step_arrives_as_it_is(by: int) -> None:
    frame = parse(encode_request(Verb.INCR, (b"k",), {"by": by}))
    assert (frame.error, frame.options) == ("", {"by": by})


@pytest.mark.parametrize(
    ("verb", "arguments", "options", "line"),
    [
        (Verb.READ, (b"my_key",), {}, b"READ 6:my_key\n"),
        (Verb.READ, (b"my_key",), {"ttl": 1}, b"READ 6:my_key ttl\n"),
        (Verb.WRITE, (b"my_key", b"my_value"), {"ex": 60}, b"WRITE 6:my_key 8:my_value ex=60\n"),
        (Verb.WRITE, (b"k", b""), {"px": 5, "nx": 1}, b"WRITE 1:k 0: px=5 nx\n"),
        (Verb.READ, (b"k",), {"ttl": 1, "replica": 1}, b"READ 1:k ttl replica\n"),
        (Verb.WRITE, (b"k", b"v"), {"ex": 5, "sync": 8}, b"WRITE 1:k 1:v ex=5 sync=8\n"),
        (Verb.DELETE, (b"k",), {"sync": 0}, b"DELETE 1:k sync=0\n"),
        (Verb.TOUCH, (b"k",), {"ex": 1}, b"TOUCH 1:k ex=1\n"),
        (Verb.READ, (b"k",), {"ttl": 1, "ver": 1}, b"READ 1:k ttl ver\n"),
        (Verb.READ, (b"k",), {"lease": 5000, "early": 1}, b"READ 1:k lease=5000 early=1\n"),
        (Verb.WRITE, (b"k", b"v"), {"ver": "a.B-9+"}, b"WRITE 1:k 1:v ver=a.B-9+\n"),
        (Verb.WRITE, (b"k", b"v"), {"ex": 5, "stale": 9, "lease": "x"}, b"WRITE 1:k 1:v ex=5 stale=9 lease=x\n"),
        (Verb.DELETE, (b"k",), {"lease": "x"}, b"DELETE 1:k lease=x\n"),
        (Verb.INCR, (b"k",), {}, b"INCR 1:k\n"),
        (Verb.INCR, (b"k",), {"by": -5, "px": 9}, b"INCR 1:k by=-5 px=9\n"),
        (Verb.PING, (), {}, b"PING\n"),
        (Verb.PING, (b"",), {}, b"PING 0:\n"),
        (Verb.STATS, (), {}, b"STATS\n"),
        (Verb.AUTH, (b"key",), {}, b"AUTH 3:key\n"),
    ],
)
def test_examples(verb: Verb, arguments: tuple[bytes, ...], options: dict[str, int], line: bytes) -> None:
    assert encode_request(verb, arguments, options) == line
    assert parse(line).error == ""


@given(st.lists(KEYS))
def test_many_keys_are_written_as_one_by_one(keys: list[bytes]) -> None:
    for verb in (Verb.READ, Verb.DELETE):
        assert encode_key_requests(verb, [*keys]) == [encode_key_request(verb, key) for key in keys]


@given(st.lists(KEYS), st.integers(0, 8))
def test_many_keys_with_options_are_written_as_one_by_one(keys: list[bytes], sync: int) -> None:
    for verb, options in ((Verb.READ, {"ttl": 1, "replica": 1}), (Verb.DELETE, {"sync": sync})):
        requests = with_options(verb, encode_key_requests(verb, [*keys]), options)
        assert requests == [encode_request(verb, (key,), options) for key in keys]


def test_of_many_keys_each_has_its_own_error() -> None:
    good, *bad, text = encode_key_requests(Verb.READ, [b"a", b"", b"k" * 1025, None, bytearray(b"k"), "\ud800", "й"])
    assert (good, text) == (b"READ 1:a\n", b"READ 2:\xd0\xb9\n")
    assert [type(error) for error in bad] == [ArgumentError] * 5


def test_text_keys_are_utf_8() -> None:
    assert encode_key_request(Verb.READ, "ключ") == b"READ 8:" + "ключ".encode() + b"\n"


@pytest.mark.parametrize("key", [b"", "", b"k" * 1025, "k" * 1025, "я" * 513, "\ud800", None, 5, bytearray(b"k")])
def test_what_is_no_key_is_refused(key: object) -> None:
    with pytest.raises(ArgumentError):
        key_bytes(key)  # type: ignore[arg-type]


def test_the_longest_key_is_taken() -> None:
    assert parse(encode_key_request(Verb.READ, b"k" * 1024)).error == ""


@pytest.mark.parametrize(
    ("verb", "arguments", "options"),
    [
        (Verb.READ, (), {}),
        (Verb.READ, (b"a", b"b"), {}),
        (Verb.READ, (b"",), {}),
        (Verb.READ, (b"k" * 1025,), {}),
        (Verb.READ, (b"a",), {"ex": 1}),
        (Verb.READ, (b"a",), {"nonsense": 1}),
        (Verb.READ, (b"a",), {"sync": 1}),
        (Verb.DELETE, (b"a",), {"replica": 1}),
        (Verb.DELETE, (b"a",), {"sync": 9}),
        (Verb.TOUCH, (b"a",), {"ex": 1, "sync": 1}),
        (Verb.WRITE, (b"a",), {}),
        (Verb.WRITE, (b"a", b"v"), {"ex": 0}),
        (Verb.WRITE, (b"a", b"v"), {"ex": -1}),
        (Verb.WRITE, (b"a", b"v"), {"ex": 1.5}),
        (Verb.WRITE, (b"a", b"v"), {"ex": True}),
        (Verb.WRITE, (b"a", b"v"), {"ex": "60"}),
        (Verb.WRITE, (b"a", b"v"), {"ex": 2**63}),
        (Verb.WRITE, (b"a", b"v"), {"px": 2**63}),
        (Verb.WRITE, (b"a", b"v"), {"ex": 1, "px": 1}),
        (Verb.WRITE, (b"a", b"v"), {"ex": 1, "keepttl": 1}),
        (Verb.WRITE, (b"a", b"v"), {"nx": 1, "xx": 1}),
        (Verb.WRITE, (b"a", b"v"), {"nx": 1, "ver": "x"}),
        (Verb.WRITE, (b"a", b"v"), {"ver": "x", "lease": "x"}),
        (Verb.WRITE, (b"a", b"v"), {"ver": ""}),
        (Verb.WRITE, (b"a", b"v"), {"ver": "x" * 65}),
        (Verb.WRITE, (b"a", b"v"), {"ver": "a b"}),
        (Verb.WRITE, (b"a", b"v"), {"ver": "a\nDELETE 1:k"}),
        (Verb.WRITE, (b"a", b"v"), {"ver": "a\n"}),
        (Verb.WRITE, (b"a", b"v"), {"ver": "ä"}),
        (Verb.WRITE, (b"a", b"v"), {"ver": b"x"}),
        (Verb.WRITE, (b"a", b"v"), {"ver": 1}),
        (Verb.WRITE, (b"a", b"v"), {"ver": None}),
        (Verb.WRITE, (b"a", b"v"), {"stale": 5}),
        (Verb.WRITE, (b"a", b"v"), {"stale": 5, "keepttl": 1}),
        (Verb.WRITE, (b"a", b"v"), {"stale": 0, "ex": 1}),
        (Verb.WRITE, (b"a", b"v"), {"early": 5, "lease": "x"}),
        (Verb.READ, (b"a",), {"early": 5}),
        (Verb.READ, (b"a",), {"lease": 0}),
        (Verb.READ, (b"a",), {"lease": 3_600_001}),
        (Verb.READ, (b"a",), {"lease": "x"}),
        (Verb.DELETE, (b"a",), {"ver": "x", "lease": "x"}),
        (Verb.INCR, (b"a",), {"by": 2**63}),
        (Verb.INCR, (b"a",), {"by": -(2**63) - 1}),
        (Verb.INCR, (b"a",), {"by": 1.0}),
        (Verb.INCR, (b"a",), {"by": True}),
        (Verb.INCR, (b"a",), {"ex": 1, "px": 1}),
        (Verb.INCR, (b"a",), {"keepttl": 1}),
        (Verb.INCR, (b"a", b"1"), {}),
        (Verb.TOUCH, (b"a",), {}),
        (Verb.TOUCH, (b"a",), {"ex": 1, "px": 1}),
        (Verb.AUTH, (b"",), {}),
        (Verb.AUTH, (b"a" * 4097,), {}),
        (Verb.STATS, (b"a",), {}),
    ],
)
def test_what_the_server_would_refuse_is_not_written(
    verb: Verb, arguments: tuple[bytes, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(ArgumentError):
        encode_request(verb, arguments, options)


def test_options_may_be_checked_without_a_request() -> None:
    check_options(Verb.WRITE, {"ex": 5, "stale": 5, "lease": "x"})
    for options in ({"ex": 0}, {"ex": 1, "px": 1}, {"stale": 5}, {"by": 1}):
        with pytest.raises(ArgumentError):
            check_options(Verb.WRITE, options)


def test_no_option_of_the_table_is_refused_by_its_own_limits() -> None:
    for spec in SPECS:
        arguments = tuple(b"a" for _ in spec.arguments)
        for name, form in spec.options.items():
            values: tuple[Any, ...]
            if isinstance(form, range):
                values = (form.start, form.stop - 1)
            else:
                values = (1,) if form is FLAG else ("a", "x" * MAX_TOKEN)
            needed = (*NEEDED.get(name, ()), *spec.needs_one_of)
            others = {needed[0]: 1} if needed and name not in needed else {}
            for value in values:
                frame = parse(encode_request(spec.verb, arguments, {name: value, **others}))
                assert frame.error == ""
                assert set(frame.options) == {name, *others}
