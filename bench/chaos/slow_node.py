"""One of three nodes is slow, trickles or is silent: `python -m bench.chaos.slow_node`.

Load are tagged reads of the two good nodes in a closed loop. Three rounds of it make a turn, in an order that rotates,
since others use the machine too:

    alone       nobody asks the third node
    healthy     beside them each connection reads from the third node, at most ten times a second, one at a time
    faulty      the same, and the third node has its fault, from when counting begins: to notice it counts too

What is judged is `faulty` to `alone`: requests to the third node are load themselves, more of it while it is healthy,
so that beside `healthy` a fault can look like a gain. Figures are medians over the turns of the ratio in one turn.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

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
FAULTS: Mapping[str, Faults] = {
    "slow, 200 ms": Faults(latency=0.2),
    "trickling, 4 bytes every 50 ms": Faults(piece=4, pause=0.05),
    "silent": Faults(silence=Silence.HOLD),
}
"""Of what the node answers."""
LEAST_THROUGHPUT = 0.95
MOST_P99 = 1.2
BAD = 2
"""The number of the node that the fault is at."""


@dataclass(frozen=True)
class _Turn:
    """One round of each kind."""

    alone: Measurement
    healthy: Measurement
    faulty: Measurement

    @property
    def errors(self) -> Counter[str]:
        """Answers of the good nodes that were not as they must be."""
        return self.alone.tally.errors + self.healthy.tally.errors + self.faulty.tally.errors


def run(rounds: int = 9, seconds: float = 2.0, repetitions: int = 20) -> list[Figure]:
    """The whole experiment: so many turns with each fault, and so many returns."""
    with proxied_cluster(3) as cluster:
        figures = neighbours(cluster, rounds, seconds)
        key = _keys_of_the_bad_node(cluster, Workload())[0]
        figures += aside_figures(EXPERIMENT, cluster, BAD, key, FAULTS)
        return figures + return_figures(EXPERIMENT, cluster, BAD, key, repetitions)


def neighbours(
    cluster: Cluster, rounds: int, seconds: float, all_faults: Mapping[str, Faults] = FAULTS
) -> list[Figure]:
    """What becomes of the requests to the other nodes."""
    workload = Workload()
    load(cluster.target, workload)
    bad = _keys_of_the_bad_node(cluster, workload)
    others = tuple(sorted(set(range(workload.keys)) - set(bad)))
    plan = Plan(Workload(only=others), clients=16, depth=10, seconds=seconds, warm_up=0.3, tagged=True, side_key=bad[0])
    figures = []
    for name, faults in all_faults.items():
        turns = [_turn(cluster, plan, faults, number) for number in range(rounds)]
        figures += _neighbour_figures(name, turns)
    return figures


def _keys_of_the_bad_node(cluster: Cluster, workload: Workload) -> list[int]:
    names = [name for name, _ in owners(cluster.target, workload, range(workload.keys))]
    return [number for number, name in enumerate(names) if name == f"node-{BAD}"]


def _turn(cluster: Cluster, plan: Plan, faults: Faults, number: int) -> _Turn:
    """One round of each kind, beginning with another each time."""
    proxy, found = cluster.proxies[BAD], {}
    kinds = ["alone", "healthy", "faulty"]
    for kind in kinds[number % 3 :] + kinds[: number % 3]:
        begin: Callable[[], None] | None = functools.partial(_set, proxy, faults) if kind == "faulty" else None
        its_plan = replace(plan, side_key=None) if kind == "alone" else plan
        try:
            found[kind] = measure(cluster.target, its_plan, at_window=begin)
        finally:
            proxy.heal()
        assert plan.side_key is not None
        wait_until_up(cluster.target, plan.workload, plan.side_key)
    return _Turn(**found)


def _set(proxy: FaultProxy, faults: Faults) -> None:
    proxy.to_client = faults


def _ratio(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}) of {len(values)}"


def _neighbour_figures(name: str, turns: list[_Turn]) -> list[Figure]:
    throughput = [turn.faulty.requests_per_second / turn.alone.requests_per_second for turn in turns]
    p99 = [turn.faulty.latency["p99"] / turn.alone.latency["p99"] for turn in turns]
    with_healthy = [turn.healthy.requests_per_second / turn.alone.requests_per_second for turn in turns]
    replies = sum((turn.faulty.tally.side_replies for turn in turns), Counter[str]())
    errors = sum((turn.errors for turn in turns), Counter[str]())
    usual = statistics.median(turn.alone.requests_per_second for turn in turns)
    usual_p99 = statistics.median(turn.alone.latency["p99"] for turn in turns)
    is_fast, is_prompt = statistics.median(throughput) >= LEAST_THROUGHPUT, statistics.median(p99) <= MOST_P99
    told = ", ".join(f"{count} {status}" for status, count in replies.most_common())
    ratio, ratio_of_p99 = f"{_ratio(throughput)}, to {usual:,.0f}/s", f"{_ratio(p99)}, to {usual_p99:,.0f} us"
    return [
        Figure(EXPERIMENT, f"{name}: throughput of the others", ratio, f">= {LEAST_THROUGHPUT}", is_fast),
        Figure(EXPERIMENT, f"{name}: p99 of the others", ratio_of_p99, f"<= {MOST_P99}", is_prompt),
        Figure(EXPERIMENT, f"{name}: throughput beside the healthy node", _ratio(with_healthy), "", None),
        Figure(EXPERIMENT, f"{name}: wrong answers of the others", str(errors.total()), "0", not errors),
        Figure(EXPERIMENT, f"{name}: the bad node's requests", told, "", None),
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.slow_node", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="turns with each fault (9)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round (2)")
    parser.add_argument("--repetitions", type=int, default=20, metavar="N", help="returns of each kind (20)")
    given = parser.parse_args(arguments)
    return report(run(given.rounds, given.seconds, given.repetitions))


if __name__ == "__main__":
    sys.exit(main())
