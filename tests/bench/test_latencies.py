"""Percentiles of known data."""

from __future__ import annotations

from collections import Counter

import pytest
from hdrh.histogram import HdrHistogram

from bench.latencies import Latencies


def test_percentiles_of_known_data() -> None:
    summary = Latencies(Counter(dict.fromkeys(range(1, 10001), 1))).summary()
    assert summary == {
        "p50": pytest.approx(5000, rel=1e-3),
        "p90": pytest.approx(9000, rel=1e-3),
        "p99": pytest.approx(9900, rel=1e-3),
        "p99.9": pytest.approx(9990, rel=1e-3),
        "max": pytest.approx(10_000, rel=1e-3),
        "mean": pytest.approx(5000.5),
    }


def test_one_slow_request_in_a_thousand_shows_beyond_p99() -> None:
    summary = Latencies(Counter({100: 998, 50_000: 2})).summary()
    assert summary["p99"] == 100
    assert summary["p99.9"] == pytest.approx(50_000, rel=1e-3)


def test_several_processes_are_one_histogram() -> None:
    latencies = Latencies(Counter({10: 3}))
    latencies.add(Latencies(Counter({10: 1, 20: 4})))
    assert latencies.counts == {10: 4, 20: 4}
    read_back = HdrHistogram.decode(latencies.encoded().encode())
    assert read_back.get_total_count() == 8
    assert read_back.get_value_at_percentile(100) == 20


def test_nothing_measured_is_zero() -> None:
    assert set(Latencies().summary().values()) == {0.0}
