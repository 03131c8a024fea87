"""The client libraries as callers: what they are answered is compared, and all is counted as of any other load."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Literal

import pytest

from bench.figures import Figure
from bench.library_load import LibraryLoad
from bench.measuring import measure
from bench.plan import Plan
from bench.run import Options, run_scenario
from bench.scenarios import STANDARD
from bench.tally import Tally
from bench.targets import Target
from bench.workload import Workload

PLANS = {
    "read": Plan(caller="read", clients=1),
    "read_many": Plan(caller="read_many", clients=1, depth=20),
    "asyncio": Plan(caller="asyncio", clients=4),
}


def outcome(target: Target, plan: Plan, **changes: Any) -> Tally:
    usual: dict[str, Any] = {"seconds": 0.1, "warm_up": 0.0}
    load = LibraryLoad(target, replace(plan, **{**usual, **changes}))
    return load.run(time.monotonic_ns(), lambda what, calls: None)


@pytest.mark.parametrize("caller", PLANS)
@pytest.mark.parametrize("name", ["ours", "redis"])
def test_right_values_are_no_errors(name: str, caller: str, request: pytest.FixtureRequest) -> None:
    tally = outcome(request.getfixturevalue(name), PLANS[caller])
    assert tally.errors == {}
    assert tally.requests == sum(tally.latencies.counts.values()) > 5
    assert tally.received == 100 * PLANS[caller].depth * tally.requests
    assert 0.1 <= tally.seconds < 1  # from when the warm-up has really ended
    assert 0 < tally.cpu_seconds < 2 * tally.seconds


@pytest.mark.parametrize("caller", PLANS)
@pytest.mark.parametrize("name", ["ours", "redis"])
def test_a_value_that_is_missing_or_another_is_noticed(name: str, caller: str, request: pytest.FixtureRequest) -> None:
    """The keys from 10,000 on are not there; and with another size every value is another."""
    target, plan = request.getfixturevalue(name), PLANS[caller]
    half = Workload(keys=20_000, only=tuple(range(9_980, 10_020)))
    tally = outcome(target, plan, workload=half)
    assert 0 < tally.errors["wrong value"] <= tally.requests + 2 * plan.clients
    shorter = Workload(only=tuple(range(40)), sizes=Workload().sizes.parse("99"))
    tally = outcome(target, plan, workload=shorter)
    assert tally.errors["wrong value"] == tally.requests + 2 * plan.clients  # two more each before the window


def test_a_call_that_fails_is_counted_by_its_error(ours: Target) -> None:
    refused = Target(**{**vars(ours), "api_key": "wp_00000000_wrong"})
    assert outcome(refused, PLANS["read"]).errors.keys() == {"AuthError"}


def test_it_is_measured_in_a_process_of_its_own(ours: Target) -> None:
    measurement = measure(ours, replace(PLANS["asyncio"], seconds=0.2, warm_up=0.1))
    assert measurement.tally.errors == {}
    assert measurement.generator_cpu_us
    assert measurement.server_cpu_us
    assert "generator" not in measurement.warnings


def test_idle_connections_are_held_against_a_bound_without_a_peer() -> None:
    scenario = next(one for one in STANDARD if one.name == "idle")
    idle = run_scenario(scenario, {}, Options(connections=20))
    connections, memory = idle.figures()
    assert (connections.ours, connections.theirs, connections.met) == (20, None, None)
    assert memory.ours > 0
    assert memory.unit == "KiB/connection"
    assert idle.notes[0].startswith("20 connections opened")


@pytest.mark.parametrize(
    ("ours", "better", "met"), [(48.0, "lower", True), (48.1, "lower", False), (49, "higher", True)]
)
def test_a_figure_without_a_peer_is_bounded_itself(ours: float, better: Literal["higher", "lower"], met: bool) -> None:
    figure = Figure("idle: memory", "-", ours, None, "KiB", better, 48.0)
    assert figure.ratio is None
    assert figure.met is met
