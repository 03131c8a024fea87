"""The table of verbs is whole, and its examples are true."""

from __future__ import annotations

import pytest

from wireproto.core.limits import Limits
from wireproto.core.request_wire import RequestParser
from wireproto.core.verbs import BY_NAME, OPTIONS, SPECS, Verb, VerbSpec, help_text


def test_every_verb_is_declared_once() -> None:
    assert [spec.verb for spec in SPECS] == list(Verb)
    assert {name.decode() for name in BY_NAME} == {verb.name for verb in Verb} | {"GET", "SET", "DEL"}


def test_every_option_is_declared() -> None:
    assert {option for spec in SPECS for option in spec.options} == set(OPTIONS)


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
    parser = RequestParser(Limits())
    parser.trusted = True
    frame, _ = parser.read(text.encode() + b"\n", 0)
    assert frame is not None
    assert (frame.options, frame.text) == (options, error)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.verb.name)
def test_the_example_of_every_verb_is_a_request(spec: VerbSpec) -> None:
    frame, _ = RequestParser(Limits()).read(spec.example.encode() + b"\n", 0)
    assert frame is not None
    assert frame.error == ""
    assert frame.spec is spec
    assert spec.example in help_text()
