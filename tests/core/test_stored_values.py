"""Values as they are stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.stored_values import from_stored, to_stored


@given(st.one_of(st.binary(max_size=50), st.binary(max_size=50).map(lambda tail: b"\xff" + tail)))
def test_every_value_comes_back(value: bytes) -> None:
    assert from_stored(to_stored(value)) == value


@given(st.text())
def test_text_is_stored_as_it_is(text: str) -> None:
    assert to_stored(text.encode()) == text.encode()


@pytest.mark.parametrize("stored", [b"\xff", b"\xff\x00", b"\xff\x00value", b"\xff\x01", b"\xff\x01value", b"\xff\xff"])
def test_unknown_formats_are_told_apart(stored: bytes) -> None:
    assert from_stored(stored) is None
