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


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.verb.name)
def test_the_example_of_every_verb_is_a_request(spec: VerbSpec) -> None:
    frame, _ = RequestParser(Limits()).read(spec.example.encode() + b"\n", 0)
    assert frame is not None
    assert frame.error == ""
    assert frame.spec is spec
    assert spec.example in help_text()
