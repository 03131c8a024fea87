"""A host's seconds as a time to live."""

from __future__ import annotations

import math

import pytest

from wireproto.adapters.lifetimes import lifetime
from wireproto.core.request_encoding import encode_request
from wireproto.core.verbs import Verb


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, {}),
        (1, {"ex": 1}),
        (300, {"ex": 300}),
        (2.0, {"ex": 2}),
        (0.5, {"px": 500}),
        (100.2, {"px": 100_200}),
        (0.0001, {"px": 1}),
        (9_999_999_999.5, {"px": 9_999_999_999_500}),
        (10_000_000_000, {"ex": 10_000_000_000}),
        (10**30, {"ex": 10_000_000_000}),
        (math.inf, {"ex": 10_000_000_000}),
    ],
)
def test_seconds(seconds: float | None, expected: dict[str, int]) -> None:
    assert lifetime(seconds) == expected
    assert encode_request(Verb.WRITE, (b"k", b"v"), lifetime(seconds))


def test_what_is_no_time_is_no_lifetime() -> None:
    with pytest.raises(ValueError, match="NaN"):
        lifetime(math.nan)
