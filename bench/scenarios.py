"""The standard scenarios, and what the figures of ours must be beside those of the peers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.plan import Plan
from bench.workload import ValueSizes, Workload

PROXIES = "haproxy+twemproxy"
REDIS = "redis"

Metric = Literal["throughput", "bytes", "server CPU", "p99"]
BETTER: dict[Metric, Literal["higher", "lower"]] = {
    "throughput": "higher",
    "bytes": "higher",
    "server CPU": "lower",
    "p99": "lower",
}


@dataclass(frozen=True)
class Goal:
    """A bound for ours / theirs: from below where higher is better, else from above. None: shown without a target."""

    metric: Metric
    against: str
    pure: float | None = None
    compiled: float | None = None
    """The bound when the server runs its compiled build, if that is another."""

    def target(self, build: str) -> float | None:
        """The bound for a build, `pure` or `compiled`."""
        return self.compiled if build == "compiled" and self.compiled is not None else self.pure


@dataclass(frozen=True)
class Scenario:
    """One way to load all contenders. `kind` says how it is run (`bench.run`)."""

    name: str
    description: str
    plan: Plan
    goals: tuple[Goal, ...]
    kind: Literal["side by side", "half of the peak", "stopped node", "workers"] = "side by side"
    contenders: tuple[str, ...] = ("wireproto", PROXIES, REDIS)


STANDARD: tuple[Scenario, ...] = (
    Scenario(
        "in-flight-50",
        "READ, 50 in flight on each of 16 connections, values of 100 bytes",
        Plan(depth=50),
        (
            Goal("throughput", PROXIES, 1.0, 1.6),
            Goal("server CPU", PROXIES, 0.8, 0.35),
            Goal("throughput", REDIS),
            Goal("server CPU", REDIS),
        ),
    ),
    Scenario(
        "in-flight-1",
        "READ, 1 in flight on each of 16 connections, values of 100 bytes",
        Plan(depth=1),
        (
            Goal("throughput", PROXIES, 1.25),
            Goal("server CPU", PROXIES, 0.6),
            Goal("throughput", REDIS),
            Goal("server CPU", REDIS),
        ),
    ),
    Scenario(
        "mixed",
        "90 % READ, 10 % WRITE, keys by Zipf, 10 in flight on each of 16 connections, values of 100 bytes",
        Plan(depth=10, workload=Workload(popularity="zipf", read_share=0.9)),
        (Goal("throughput", PROXIES, 1.25), Goal("server CPU", PROXIES, 0.7), Goal("throughput", REDIS)),
    ),
    Scenario(
        "values-10k",
        "READ of values of 10 KiB, 4 in flight on each of 16 connections",
        Plan(depth=4, workload=Workload(keys=1000, sizes=ValueSizes(((10 * 1024, 1.0),)))),
        (Goal("bytes", PROXIES, 1.0), Goal("server CPU", PROXIES), Goal("bytes", REDIS)),
    ),
    Scenario(
        "values-1m",
        "READ of values of 1 MiB, 1 in flight on each of 16 connections",
        Plan(depth=1, workload=Workload(keys=64, sizes=ValueSizes(((1024 * 1024, 1.0),)))),
        (Goal("bytes", PROXIES, 1.0), Goal("server CPU", PROXIES), Goal("bytes", REDIS)),
    ),
    Scenario(
        "half-peak-1",
        "READ in open loop, one by one, at half of the peer's rate with 1 in flight on each of 16 connections",
        Plan(depth=1),
        (Goal("p99", PROXIES, 1.0), Goal("server CPU", PROXIES)),
        kind="half of the peak",
        contenders=("wireproto", PROXIES),
    ),
    Scenario(
        "half-peak-50",
        "READ in open loop, in bursts of 50, at half of the peer's rate with 50 in flight on each of 16 connections",
        Plan(depth=50),
        (Goal("p99", PROXIES, 1.0), Goal("server CPU", PROXIES)),
        kind="half of the peak",
        contenders=("wireproto", PROXIES),
    ),
    Scenario(
        "stopped-node",
        "tagged READ of keys of three nodes while the fourth is stopped, 10 in flight on each of 16 connections",
        Plan(depth=10, tagged=True),
        (Goal("throughput", "before the stop", 0.95), Goal("p99", "before the stop", 1.2)),
        kind="stopped node",
        contenders=("wireproto",),
    ),
    Scenario(
        "workers",
        "READ, 50 in flight on each of 16 connections, two server processes beside one",
        Plan(depth=50),
        (Goal("throughput", "1 worker"), Goal("server CPU", "1 worker")),
        kind="workers",
        contenders=("wireproto",),
    ),
)
