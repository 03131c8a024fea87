"""The table of verbs is whole, and its examples are true."""

from __future__ import annotations

import pytest

from wireproto.core.limits import Limits
from wireproto.core.request_wire import Frame, RequestParser
from wireproto.core.verbs import (
    BY_NAME,
    EXCLUSIVE,
    FLAG,
    MAX_TOKEN,
    NEEDED,
    OPAQUE,
    OPTIONS,
    SPECS,
    Verb,
    VerbSpec,
    contradiction,
    help_text,
)


def test_every_verb_is_declared_once() -> None:
    assert [spec.verb for spec in SPECS] == list(Verb)
    assert {name.decode() for name in BY_NAME} == {verb.name for verb in Verb} | {"GET", "SET", "DEL"}


def test_every_option_is_declared() -> None:
    assert {option for spec in SPECS for option in spec.options} == set(OPTIONS)


def read(text: str) -> Frame:
    parser = RequestParser(Limits())
    parser.trusted = True
    frame, _ = parser.read(text.encode() + b"\n", 0)
    assert frame is not None
    return frame


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("READ 1:k replica", {"replica": 1}, ""),
        ("READ 1:k ttl replica trace", {"ttl": 1, "replica": 1, "trace": 1}, ""),
        ("WRITE 1:k 1:v sync=0", {"sync": 0}, ""),
        ("WRITE 1:k 1:v nx sync=8 ex=5", {"nx": 1, "sync": 8, "ex": 5}, ""),
        ("DELETE 1:k sync=2", {"sync": 2}, ""),
        ("WRITE 1:k 1:v sync=9", {}, "option sync takes a whole number from 0 to 8"),
        ("WRITE 1:k 1:v sync", {}, "option sync takes a whole number from 0 to 8"),
        ("READ 1:k replica=1", {}, "option replica takes no value"),
        ("READ 1:k sync=1", {}, "READ takes no such option"),
        ("WRITE 1:k 1:v replica", {}, "WRITE takes no such option"),
        ("TOUCH 1:k ex=1 sync=1", {"ex": 1}, "TOUCH takes no such option"),
    ],
)
def test_options_about_replicas(text: str, options: dict[str, int], error: str) -> None:
    frame = read(text)
    assert (frame.options, frame.text) == (options, error)


@pytest.mark.parametrize(
    ("text", "numbers", "tokens"),
    [
        ("READ 1:k ver", {"ver": 1}, {}),
        ("READ 1:k lease=3600000", {"lease": 3_600_000}, {}),
        ("READ 1:k ttl ver replica lease=1 early=86400000", None, {}),
        ("WRITE 1:k 1:v ver=q4hT0aYb0000001f", {"ver": 1}, {"ver": b"q4hT0aYb0000001f"}),
        ("WRITE 1:k 1:v lease=-+. ex=5", {"lease": 1, "ex": 5}, {"lease": b"-+."}),
        ("WRITE 1:k 1:v px=1 stale=10000000000", {"px": 1, "stale": 10_000_000_000}, {}),
        ("WRITE 1:k 1:v ver=" + "x" * MAX_TOKEN, {"ver": 1}, {"ver": b"x" * MAX_TOKEN}),
        ("DELETE 1:k ver=7 sync=1", {"ver": 1, "sync": 1}, {"ver": b"7"}),
        ("DELETE 1:k lease=7", {"lease": 1}, {"lease": b"7"}),
        ("INCR 1:k", {}, {}),
        ("INCR 1:k by=-9223372036854775808 px=5", {"by": -(2**63), "px": 5}, {}),
        ("INCR 1:k by=9223372036854775807", {"by": 2**63 - 1}, {}),
        ("INCR 1:k by=-007", {"by": -7}, {}),
    ],
)
def test_numbers_and_tokens(text: str, numbers: dict[str, int] | None, tokens: dict[str, bytes]) -> None:
    frame = read(text)
    assert (frame.text, frame.tokens) == ("", tokens)
    assert numbers is None or frame.options == numbers


def test_the_same_option_may_take_another_form_with_another_verb() -> None:
    forms = {spec.verb: spec.options for spec in SPECS}
    assert (forms[Verb.READ]["ver"], forms[Verb.WRITE]["ver"], forms[Verb.DELETE]["ver"]) == (FLAG, OPAQUE, OPAQUE)
    assert isinstance(forms[Verb.READ]["lease"], range)
    assert (forms[Verb.WRITE]["lease"], forms[Verb.DELETE]["lease"]) == (OPAQUE, OPAQUE)


def test_what_excludes_and_what_needs_another_is_an_option() -> None:
    for group in EXCLUSIVE:
        assert set(group) <= set(OPTIONS)
    for name, others in NEEDED.items():
        assert {name, *others} <= set(OPTIONS)
    for spec in SPECS:
        assert set(spec.option_permissions) <= set(spec.options)


def test_a_read_may_want_the_version_and_the_lease_at_once() -> None:
    assert contradiction(BY_NAME[b"READ"], {"ver", "lease"}) == ""
    assert contradiction(BY_NAME[b"WRITE"], {"ver", "lease"}) == "at most one of nx xx ver lease"
    assert contradiction(BY_NAME[b"DELETE"], {"ver", "lease"}) == "at most one of ver lease"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.verb.name)
def test_the_example_of_every_verb_is_a_request(spec: VerbSpec) -> None:
    frame, _ = RequestParser(Limits()).read(spec.example.encode() + b"\n", 0)
    assert frame is not None
    assert frame.error == ""
    assert frame.spec is spec
    assert spec.example in help_text()
