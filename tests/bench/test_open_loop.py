"""Coordinated omission: an open loop sees a stall in all requests that it would have delayed, a closed one does not."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Literal

import pytest

from bench.closed_loop import ClosedLoop
from bench.load import SECOND
from bench.open_loop import OpenLoop, due_times
from bench.plan import Plan
from bench.tally import Tally
from bench.workload import Workload
from tests.bench.fake_target import fake_target

STALL = 0.3
WORKLOAD = Workload(keys=50)


def with_one_stall(plan: Plan) -> Tally:
    def answer(number: int, reply: bytes) -> bytes:
        if number == 100:
            time.sleep(STALL)
        return reply

    with fake_target(answer, WORKLOAD) as target:
        load_type = ClosedLoop if plan.rate is None else OpenLoop
        return load_type(target, plan).run(time.monotonic_ns(), lambda what, replies: None)


def test_a_closed_loop_hides_a_stall() -> None:
    tally = with_one_stall(Plan(WORKLOAD, clients=1, seconds=1.0, warm_up=0))
    assert tally.latencies.summary()["max"] > STALL * 0.9e6
    assert tally.latencies.summary()["p99"] < STALL * 0.3e6


def test_an_open_loop_shows_a_stall() -> None:
    tally = with_one_stall(Plan(WORKLOAD, clients=1, seconds=1.0, warm_up=0, rate=1000.0))
    summary = tally.latencies.summary()
    assert summary["max"] > STALL * 0.9e6
    assert summary["p99"] > STALL * 0.7e6
    # a third of all requests were due during the stall, or waited behind those that were
    assert summary["p90"] > STALL * 0.3e6
    assert tally.errors == {}


def test_the_rate_is_kept_after_a_stall() -> None:
    tally = with_one_stall(Plan(WORKLOAD, clients=2, seconds=1.0, warm_up=0, rate=1000.0, depth=5))
    assert tally.requests == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize(("arrivals", "deviation"), [("fixed", 0.0), ("poisson", 1.0)])
def test_requests_are_due_at_the_rate(arrivals: Literal["fixed", "poisson"], deviation: float) -> None:
    plan = Plan(rate=1000.0, arrivals=arrivals)
    times = list(itertools.islice(due_times(plan, 0, 1000.0), 20_000))
    gaps = [(later - earlier) / SECOND * 1000 for earlier, later in itertools.pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(1.0, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(deviation, abs=0.05)
