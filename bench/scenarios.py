"""The standard scenarios, and what the figures of ours must be beside those of the peers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.plan import Plan
from bench.workload import ValueSizes, Workload

OURS = "wireproto"
PURE = "wireproto, pure"
"""Ours without its compiled build, beside it where there is one."""
PROXIES = "haproxy+twemproxy"
REDIS = "redis"
NO_PEER = "-"

Metric = Literal["throughput", "bytes", "server CPU", "client CPU", "p50", "p99", "connections", "memory"]
BETTER: dict[Metric, Literal["higher", "lower"]] = {
    "throughput": "higher",
    "bytes": "higher",
    "server CPU": "lower",
    "client CPU": "lower",
    "p50": "lower",
    "p99": "lower",
    "connections": "higher",
    "memory": "lower",
}


@dataclass(frozen=True)
class Goal:
    """A bound for ours / theirs: from below where higher is better, else from above. None: shown without a target.

    Against NO_PEER it is a bound for ours itself.
    """

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
    kind: Literal["side by side", "half of the peak", "stopped node", "workers", "idle"] = "side by side"
    contenders: tuple[str, ...] = (OURS, PROXIES, REDIS)


WITH_PURE = (OURS, PURE, PROXIES, REDIS)

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
        contenders=WITH_PURE,
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
        contenders=WITH_PURE,
    ),
    Scenario(
        "mixed",
        "90 % READ, 10 % WRITE, keys by Zipf, 10 in flight on each of 16 connections, values of 100 bytes",
        Plan(depth=10, workload=Workload(popularity="zipf", read_share=0.9)),
        (Goal("throughput", PROXIES, 1.25), Goal("server CPU", PROXIES, 0.7), Goal("throughput", REDIS)),
        contenders=WITH_PURE,
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
    Scenario(
        "client-read",
        "one read after the other by the blocking client, against a redis-py get straight to Redis; values of 100 "
        "bytes, no retries",
        Plan(caller="read", clients=1),
        (Goal("p50", REDIS, 1.4), Goal("client CPU", REDIS)),
        contenders=("wireproto", REDIS),
    ),
    Scenario(
        "client-read-many",
        "read_many of 100 keys by the blocking client (one request here), against a redis-py pipeline of 100 GETs "
        "(transaction=False) straight to Redis; values of 100 bytes, no retries",
        Plan(caller="read_many", clients=1, depth=100),
        (Goal("p50", REDIS, 0.5), Goal("client CPU", REDIS)),
        contenders=("wireproto", REDIS),
    ),
    Scenario(
        "client-asyncio",
        "64 coroutines that read by the asyncio client, against a redis-py asyncio pool of 64 connections straight to "
        "Redis, with hiredis; each in one process on uvloop; values of 100 bytes, no retries",
        Plan(caller="asyncio", clients=64),
        (Goal("throughput", REDIS, 2.0), Goal("client CPU", REDIS)),
        contenders=("wireproto", REDIS),
    ),
    Scenario(
        "idle",
        "10,000 connections (with --quick 1,000) that have logged in with a bearer token and do nothing",
        Plan(clients=10_000),
        (Goal("connections", NO_PEER, 10_000), Goal("memory", NO_PEER, 48.0)),
        kind="idle",
        contenders=("wireproto",),
    ),
)
