"""The hostile experiments, in short: that they run, and that what no machine can be too slow for holds."""

from __future__ import annotations

import pytest

from bench.chaos.findings import Figure, Finding
from bench.hostile import hoarders
from bench.hostile.crowd import Kind
from bench.hostile.half_open import crowded


def figure(finding: Finding, name: str) -> Figure:
    return next(each for each in finding.figures if each.name == name)


@pytest.mark.parametrize("kind", ["silent", "hello", "login"])
def test_a_crowd_comes_and_is_closed_in_time_and_visits_succeed(kind: Kind) -> None:
    flags = ("--shards", "1", "--handshake-timeout", "1s", "--auth-timeout", "1s")
    finding = crowded(kind, 60, 1.0, 3, *flags)
    assert figure(finding, "connections of the crowd at once").values == [60]
    ages = figure(finding, "closed after, s").values
    assert len(ages) >= 60
    assert min(ages) > 0.9
    assert figure(finding, "visits that failed").held


def test_hoarders_are_cut_and_counted() -> None:
    flags = ("--shards", "1", "--frame-timeout", "1s", "--max-client-memory", "16MiB")
    finding = hoarders.hoard("a few", 40, hoarders._write_a_part, "frame_timeout", 1.0, 200.0, *flags)
    assert figure(finding, "closed and not counted").values == [0]
    assert "'memory': 2" in finding.notes[0]
