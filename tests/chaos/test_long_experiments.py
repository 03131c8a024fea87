"""The experiments that take long, in short: that they run, and that what no machine can be too slow for holds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bench.chaos.faults import Faults
from bench.chaos.findings import Finding
from bench.chaos.tcp_nodes import proxied_cluster
from bench.hostile import endings, soak
from bench.hostile.observing import MIB, Series
from bench.hostile.offering import KEYS, Offer, Outcome, offer
from bench.hostile.overload import find_peak
from bench.loading import load
from bench.workload import Workload

SLOW_LINK = 100_000
"""Bytes per second: two or three thousand requests."""


def broken(finding: Finding, *but: str) -> list[str]:
    """The names of figures that did not hold, of those that a busy machine cannot spoil."""
    return [figure.name for figure in finding.figures if figure.held is False and not figure.name.startswith(but)]


def test_a_short_soak_leaves_nothing_behind() -> None:
    findings = soak.soak(handshakes=120, seconds=4.0, workers=2)
    for finding in findings:
        # In seconds, memory is still growing to what it will be.
        assert broken(finding, "growth") == [], finding.notes
    figures = {figure.name: figure.values for figure in findings[1].figures}
    assert figures["good clients' requests answered OK"][0] > 100
    assert len(figures["memory of a process at the end, MiB"]) == 3, "a supervisor and two workers"


def test_a_server_ends_under_load_and_answers_what_is_under_way() -> None:
    finding = endings.endings(rounds=1, workers=2, load=replace(endings.GOOD, clients=6))
    assert broken(finding) == [], finding.notes
    figures = {figure.name: figure.values for figure in finding.figures}
    assert figures["requests sent in the second before"][0] > 50


def test_more_than_a_node_can_do_is_answered_busy_and_nothing_else() -> None:
    with proxied_cluster(1, "--max-node-delay", "100ms") as cluster:
        load(cluster.target, Workload(keys=KEYS))
        cluster.proxies[0].to_server = Faults(bandwidth=SLOW_LINK)
        outcome = offer(cluster.target, Offer(rate=8000, seconds=1.5, warm_up=1.0, connections=4))
    assert outcome.wrong == outcome.unanswered == outcome.unsent == 0
    assert outcome.answers.keys() == {"OK", "BUSY"}
    assert outcome.answers.total() == outcome.offered == pytest.approx(12_000, rel=0.01)
    assert outcome.answers["BUSY"] > outcome.answers["OK"] > 0
    assert outcome.milliseconds("BUSY", "p50") < outcome.milliseconds("OK", "p50")


def test_the_peak_is_where_more_load_brings_no_more_answers() -> None:
    tried = []

    def make(rate: float) -> Outcome:
        tried.append(rate)
        return Outcome(in_window=round(min(rate, 5000.0) * 2), seconds=2.0)

    assert find_peak(make, 1000.0) == 5000.0
    assert tried[:2] == [1000.0, 1500.0]
    assert 5000 / 0.9 < tried[-1] < 1.5 * 5000 / 0.9 * 1.01
    with pytest.raises(RuntimeError, match="are no overload"):
        find_peak(lambda rate: Outcome(in_window=math.ceil(rate), seconds=1.0), 1000.0)


def test_growth_counts_from_when_a_fifth_of_the_time_is_over() -> None:
    assert Series([10, 50, *[100] * 20]).growth() == 0.0
    assert Series([100] * 15 + [110] * 5).growth() == pytest.approx(0.1)
    assert Series([7]).growth() == 0.0
    assert Series([MIB * number for number in range(11)]).in_tenths() == "1.0 2.0 3.0 4.0 5.0 6.0 7.0 8.0 9.0 10.0"
