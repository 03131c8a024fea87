"""One of three nodes is slow, trickles or is silent: `python -m bench.chaos.slow_node`.

What is compared are rounds with and without the fault, one after the other, through the same proxy and under the same
load: tagged reads of the other two nodes in a closed loop, beside which each connection also asks the bad node, at
most ten times a second and with one such request in flight. The fault begins when counting begins, so that what it
takes to notice counts too. Figures are medians over the rounds of the ratio in a pair of rounds.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.chaos.fault_proxy import FaultProxy
from bench.chaos.faults import Faults, Silence
from bench.chaos.figures import Figure, report
from bench.chaos.returning import aside_figures, return_figures
from bench.chaos.tcp_nodes import Cluster, proxied_cluster
from bench.loading import load
from bench.measurement import Measurement
from bench.measuring import measure
from bench.owners import owners, wait_until_up
from bench.plan import Plan
from bench.workload import Workload

EXPERIMENT = "slow node"
FAULTS = {
    "slow, 200 ms": Faults(latency=0.2),
    "trickling, 4 bytes every 50 ms": Faults(piece=4, pause=0.05),
    "silent": Faults(silence=Silence.HOLD),
}
LEAST_THROUGHPUT = 0.95
MOST_P99 = 1.2
BAD = 2
"""The number of the node that the fault is at."""


@dataclass
class _Pairs:
    """Rounds without and with a fault."""

    throughput: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    typical_p99: list[float] = field(default_factory=list)
    """Microseconds, without the fault."""
    bad_replies: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, before: Measurement, during: Measurement) -> None:
        """One pair."""
        self.throughput.append(during.requests_per_second / before.requests_per_second)
        self.p99.append(during.latency["p99"] / before.latency["p99"])
        self.typical_p99.append(before.latency["p99"])
        self.bad_replies += during.tally.side_replies
        self.errors += before.tally.errors + during.tally.errors


def run(rounds: int = 9, seconds: float = 2.0, repetitions: int = 20) -> list[Figure]:
    """The whole experiment: so many pairs of rounds with each fault, and so many returns."""
    with proxied_cluster(3) as cluster:
        figures = neighbours(cluster, rounds, seconds)
        key = _keys_of_the_bad_node(cluster, Workload())[0]
        figures += aside_figures(EXPERIMENT, cluster, BAD, key, FAULTS)
        return figures + return_figures(EXPERIMENT, cluster, BAD, key, repetitions)


def neighbours(cluster: Cluster, rounds: int, seconds: float) -> list[Figure]:
    """What becomes of the requests to the other nodes."""
    workload = Workload()
    load(cluster.target, workload)
    bad = _keys_of_the_bad_node(cluster, workload)
    others = tuple(sorted(set(range(workload.keys)) - set(bad)))
    plan = Plan(Workload(only=others), clients=16, depth=10, seconds=seconds, warm_up=0.3, tagged=True, side_key=bad[0])
    figures = []
    for name, faults in FAULTS.items():
        pairs = _Pairs()
        for number in range(rounds):
            pairs.add(*_pair(cluster, plan, faults, fault_first=number % 2 == 1))
        figures += _neighbour_figures(name, pairs)
    return figures


def _keys_of_the_bad_node(cluster: Cluster, workload: Workload) -> list[int]:
    names = [name for name, _ in owners(cluster.target, workload, range(workload.keys))]
    return [number for number, name in enumerate(names) if name == f"node-{BAD}"]


def _pair(cluster: Cluster, plan: Plan, faults: Faults, *, fault_first: bool) -> tuple[Measurement, Measurement]:
    """A round without the fault and one with it. Which is first alternates: the machine may become slower in time."""
    proxy, found = cluster.proxies[BAD], {}
    for is_faulty in (fault_first, not fault_first):
        begin: Callable[[], None] | None = functools.partial(_set, proxy, faults) if is_faulty else None
        try:
            found[is_faulty] = measure(cluster.target, plan, at_window=begin)
        finally:
            proxy.heal()
        assert plan.side_key is not None
        wait_until_up(cluster.target, plan.workload, plan.side_key)
    return found[False], found[True]


def _set(proxy: FaultProxy, faults: Faults) -> None:
    proxy.faults = faults


def _neighbour_figures(name: str, pairs: _Pairs) -> list[Figure]:
    def ratio(values: list[float]) -> str:
        spread = f"({min(values):.3f} to {max(values):.3f})"
        return f"{statistics.median(values):.3f} {spread} of {len(values)}"

    throughput, p99 = statistics.median(pairs.throughput), statistics.median(pairs.p99)
    told = ", ".join(f"{count} {status}" for status, count in pairs.bad_replies.most_common())
    base = f" (without: {statistics.median(pairs.typical_p99):,.0f} us)"
    return [
        Figure(
            EXPERIMENT,
            f"{name}: throughput of the others, to that without",
            ratio(pairs.throughput),
            f">= {LEAST_THROUGHPUT}",
            throughput >= LEAST_THROUGHPUT,
        ),
        Figure(
            EXPERIMENT,
            f"{name}: p99 of the others, to that without",
            ratio(pairs.p99) + base,
            f"<= {MOST_P99}",
            p99 <= MOST_P99,
        ),
        Figure(EXPERIMENT, f"{name}: wrong answers of the others", str(pairs.errors.total()), "0", not pairs.errors),
        Figure(EXPERIMENT, f"{name}: what the bad node's requests were answered", told, "", None),
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.slow_node", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="pairs of rounds with each fault (9)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round (2)")
    parser.add_argument("--repetitions", type=int, default=20, metavar="N", help="returns of each kind (20)")
    given = parser.parse_args(arguments)
    return report(run(given.rounds, given.seconds, given.repetitions))


if __name__ == "__main__":
    sys.exit(main())
