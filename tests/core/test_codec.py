"""Values become bytes and back, and what fails in between is an error of ours."""

from __future__ import annotations

from typing import Any

import pytest

from wireproto.core.codec import Codec, decoded, encoded
from wireproto.errors import ArgumentError, CorruptError


def test_values_are_bytes_unless_a_codec_takes_others() -> None:
    for value in (b"v", bytearray(b"v"), memoryview(b"v")):
        data = encoded(None, value)
        assert (data, type(data)) == (b"v", bytes)
    for wrong in ("v", 5, None, ["v"]):
        with pytest.raises(ArgumentError, match="codec"):
            encoded(None, wrong)
    assert decoded(None, b"v") == b"v"


def test_text() -> None:
    assert encoded(Codec.bytes(), b"\xff\0") == b"\xff\0"
    assert decoded(Codec.bytes(), b"\xff\0") == b"\xff\0"
    assert encoded(Codec.text(), "й") == b"\xd0\xb9"
    assert decoded(Codec.text(), b"\xd0\xb9") == "й"


@pytest.mark.parametrize(
    ("value", "data"), [({"a": [1, None]}, b'{"a":[1,null]}'), ("й", '"й"'.encode()), (None, b"null"), (1.5, b"1.5")]
)
def test_json(value: Any, data: bytes) -> None:
    assert encoded(Codec.json(), value) == data
    assert decoded(Codec.json(), data) == value


def test_what_a_codec_cannot_do_is_an_error_that_does_not_quote_the_value() -> None:
    with pytest.raises(CorruptError) as caught:
        decoded(Codec.text(), b"\xff")
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    assert "xff" not in str(caught.value)
    with pytest.raises(ArgumentError, match="of type set") as refused:
        encoded(Codec.json(), {"secret"})
    assert "secret" not in str(refused.value)
    with pytest.raises(ArgumentError, match="made str of a value"):
        encoded(Codec(encode=str, decode=int), 5)  # type: ignore[arg-type]
