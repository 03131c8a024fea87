"""Codecs that need a library, and the value that says that there is nothing."""

from __future__ import annotations

import dataclasses
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto import Codec
from wireproto.core.codec import ABSENT, decoded, encoded
from wireproto.errors import ArgumentError, ConfigurationError, CorruptError


class User(msgspec.Struct):
    """A type of msgspec's own."""

    name: str
    age: int = 0


@dataclasses.dataclass
class Point:
    """A type that it knows."""

    x: int
    tags: list[str]


def test_values_of_one_type() -> None:
    users = Codec.msgspec(User)
    assert decoded(users, encoded(users, User("Ada", 36))) == User("Ada", 36)
    points = Codec.msgspec(Point)
    assert decoded(points, encoded(points, Point(1, ["a"]))) == Point(1, ["a"])
    with pytest.raises(CorruptError, match="ValidationError"):
        decoded(users, encoded(points, Point(1, ["a"])))
    with pytest.raises(CorruptError):
        decoded(users, b"\xc1")
    with pytest.raises(ArgumentError):
        encoded(Codec.msgspec(object), object())


def test_without_msgspec_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ConfigurationError, match=r"wireproto\[msgspec\]"):
        Codec.msgspec(User)


def test_compressed_values_and_those_from_before() -> None:
    plain, codec = Codec.json(), Codec.compressed(Codec.json(), threshold=100)
    value = {"text": "a" * 1000}
    data = encoded(codec, value)
    assert len(data) < 100
    assert decoded(codec, data) == value
    assert decoded(codec, encoded(plain, value)) == value
    assert encoded(codec, [1]) == b"[1]"
    with pytest.raises(CorruptError):
        decoded(codec, data[:-1])
    with pytest.raises(ArgumentError):
        encoded(Codec.compressed(Codec.text(), max_size=10), "a" * 11)


@given(st.text())
def test_no_text_and_no_json_says_that_there_is_nothing(text: str) -> None:
    for codec in (Codec.text(), Codec.json(), Codec.msgspec(str), Codec.compressed(Codec.text(), threshold=0)):
        assert not encoded(codec, text).startswith(b"\xc1a")
        assert decoded(codec, encoded(codec, text)) == text


def test_what_says_that_there_is_nothing_is_none_with_any_codec() -> None:
    for codec in (Codec.bytes(), Codec.text(), Codec.json(), Codec.msgspec(User), Codec.compressed(Codec.json())):
        assert decoded(codec, ABSENT) is None
    assert decoded(None, ABSENT) == ABSENT
