"""How often somebody may do something: what is counted, and what the counters mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.rate_windows import FixedWindow, Kind, RateLimit, SlidingWindow, rate_window
from wireproto.core.results import Value
from wireproto.errors import ArgumentError, ValueTypeError

KINDS: tuple[Kind, ...] = ("fixed", "sliding")
FIXED = FixedWindow(10, 60, "rate:")
SLIDING = SlidingWindow(10, 60, "rate:")


def test_a_fixed_window_counts_and_asks_how_long_it_lasts() -> None:
    requests = [call.request for call in FIXED.calls("me", 1, 0.0)]
    assert requests == [b"INCR 15:rate:60000:{me} px=60000\n", b"READ 15:rate:60000:{me} ttl\n"]
    assert FIXED.calls(b"\xff", 3, 0.0)[0].request == b"INCR 14:rate:60000:{\xff} px=60000 by=3\n"


def test_a_fixed_window_allows_its_limit() -> None:
    assert FIXED.verdict([1, Value(b"1", 60.0)], 1, 0.0) == RateLimit(True, 9, 0.0)
    assert FIXED.verdict([10, Value(b"10", 30.0)], 1, 0.0) == RateLimit(True, 0, 0.0)
    assert FIXED.verdict([11, Value(b"11", 30.0)], 1, 0.0) == RateLimit(False, 0, 30.0)
    assert FIXED.verdict([11, None], 1, 0.0) == RateLimit(False, 0, 0.001), "its time is just over"
    assert FIXED.verdict([11, Value(b"11", None)], 1, 0.0) == RateLimit(False, 0, 60.0), "somebody else's counter"


def test_a_sliding_window_counts_in_this_window_and_reads_the_one_before() -> None:
    requests = [call.request for call in SLIDING.calls("me", 1, 60.0 * 7 + 1)]
    assert requests == [b"INCR 17:rate:60000:{me}:7 px=180000\n", b"READ 17:rate:60000:{me}:6\n"]


def test_a_sliding_window_weighs_the_one_before() -> None:
    def verdict(current: int, previous: int, elapsed: float, cost: int = 1) -> RateLimit:
        return SLIDING.verdict([current, b"%d" % previous], cost, 60.0 * 7 + elapsed)

    assert SLIDING.verdict([1, None], 1, 0.0) == RateLimit(True, 9, 0.0)
    assert verdict(5, 10, 30.0) == RateLimit(True, 0, 0.0)
    for refused, seconds in (
        (verdict(1, 10, 0.0), 12.0),
        (verdict(6, 10, 30.0), 12.0),
        (verdict(6, 10**9, 30.0), 12.0),  # more than the limit was not allowed
        (verdict(11, 0, 30.0), 36.0),  # in the next window
        (verdict(12, 0, 30.0, cost=10), 90.0),
    ):
        assert (refused.allowed, refused.remaining) == (False, 0)
        assert refused.retry_after == pytest.approx(seconds)


@given(current=st.integers(1, 30), previous=st.integers(0, 30), elapsed=st.floats(0, 59.9), cost=st.integers(1, 10))
def test_a_hit_after_the_time_told_would_have_been_allowed(
    current: int, previous: int, elapsed: float, cost: int
) -> None:
    start = 60.0 * 7
    current = max(current, cost)
    told = SLIDING.verdict([current, b"%d" % previous], cost, start + elapsed)
    if told.allowed:
        assert told.retry_after == 0.0
        return

    def asked_again(after: float) -> RateLimit:
        now = start + elapsed + after
        windows = int((now - start) // 60.0)
        results: list[list[Any]] = [[current + cost, b"%d" % previous], [cost, b"%d" % current], [cost, None]]
        return SLIDING.verdict(results[windows], cost, now)

    assert asked_again(told.retry_after + 1e-6).allowed
    assert told.retry_after <= 0.01 or not asked_again(told.retry_after - 0.01).allowed


def test_limits_of_different_lengths_have_counters_of_their_own() -> None:
    keys = {
        rate_window(kind, 5, window, prefix).calls(who, 1, 10.0)[0].request
        for kind in KINDS
        for window in (1, 10, 0.001)
        for prefix in ("rate:", "r")
        for who in ("me", "me}:1", "{me}")
    }
    assert len(keys) == 2 * 3 * 2 * 3


@pytest.mark.parametrize(
    "arguments", [(0, 1), (True, 1), (1.5, 1), (1, 0), (1, -1), (1, True), (1, "1"), (1, float("nan")), (1, 1e12)]
)
def test_what_is_no_limit_is_refused(arguments: tuple[Any, Any]) -> None:
    limit, window = arguments
    with pytest.raises(ArgumentError):
        rate_window("fixed", limit, window, "rate:")


def test_whoever_chooses_an_odd_name_is_counted_too() -> None:
    for window in (FIXED, SLIDING):
        names = ("", "\ud800", b"\xff", "}", "x" * 256, "x" * 5000, "x" * 4999 + "y")
        assert len({window.calls(name, 1, 0.0)[0].request for name in names}) == len(names)


def test_what_is_no_hit_is_refused() -> None:
    for cost in (0, 11, 1.0, True):
        with pytest.raises(ArgumentError):
            FIXED.calls("me", cost, 0.0)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        FIXED.calls(5, 1, 0.0)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        rate_window("leaky", 1, 1, "")  # type: ignore[arg-type]
    for counter in (b"one", b"", b"9" * 5000):
        with pytest.raises(ValueTypeError):
            SLIDING.verdict([1, counter], 1, 0.0)
