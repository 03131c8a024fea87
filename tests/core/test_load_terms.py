"""How a loaded value is kept, and how patient its callers are."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from wireproto.core.load_terms import LoadTerms
from wireproto.errors import ArgumentError


def test_times_in_the_protocols_units() -> None:
    terms = LoadTerms(ttl=1.5, stale=0.2, missing_ttl=0.0001)
    assert (terms.ttl_ms, terms.stale_seconds, terms.missing_ms) == (1500, 1, 1)
    assert LoadTerms(ttl=1e-9).ttl_ms == 1
    assert LoadTerms(ttl=1).stale_seconds is None
    assert LoadTerms(ttl=1, stale=2).stale_seconds == 2


def test_patience_is_the_leases_time_unless_it_is_said() -> None:
    assert LoadTerms(ttl=1).patience(None) == 10.0
    assert LoadTerms(ttl=1, lease=3).patience(None) == 3
    assert LoadTerms(ttl=1, wait=0).patience(5.0) == 0
    assert LoadTerms(ttl=1, wait=7).patience(5.0) == 5.0


@pytest.mark.parametrize("name", ["ttl", "stale", "early", "lease", "missing_ttl", "wait"])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "5", True, 1e11])
def test_what_is_no_time_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=name):
        LoadTerms(**{"ttl": 1.0, name: value})


@pytest.mark.parametrize("terms", [{"ttl": 0}, {"ttl": 1, "lease": 0}, {"ttl": 1, "lease": 3601}])
def test_some_times_have_bounds_of_their_own(terms: dict[str, float]) -> None:
    with pytest.raises(ArgumentError):
        LoadTerms(**terms)


def test_early_is_drawn_from_an_exponential_distribution() -> None:
    terms = LoadTerms(ttl=60, early=2.0)
    dice = random.Random(5)
    drawn = [terms.draw_early(dice.random()) or 0.0 for _ in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, rel=0.05)
    for seconds in (1.0, 4.0):
        later = sum(draw > seconds for draw in drawn) / len(drawn)
        assert later == pytest.approx(math.exp(-seconds / 2.0), rel=0.1)
    assert LoadTerms(ttl=60).draw_early(0.5) is None


def test_early_stays_within_what_the_protocol_takes() -> None:
    assert LoadTerms(ttl=60, early=2.0).draw_early(0.0) == 0.001
    assert LoadTerms(ttl=60, early=86_400).draw_early(1 - 2**-53) == 86_400.0
