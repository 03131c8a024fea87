"""Three times the load that can be carried: what can be done is done, and who is refused knows at once.

What limits is either a node, here by a narrow link to it, or the server's own process. First the load is raised until
no more is answered, which is the peak. Then half of it, all of it, twice and three times as much is offered, whatever
becomes of it: an open loop of tagged requests.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.chaos.faults import Faults
from bench.chaos.findings import Bound, Figure, Finding
from bench.chaos.tcp_nodes import proxied_cluster
from bench.hostile.offering import KEYS, Offer, Outcome, offer
from bench.loading import load
from bench.progress import tell
from bench.targets import Target, wireproto_server
from bench.workload import Workload

NAME: Final = "overload"
LINK: Final = 400_000
"""Bytes per second to the node, some 9,000 requests."""
STEPS: Final = (0.5, 1.0, 2.0, 3.0)
LEAST_GOODPUT: Final = 0.9
MOST_FOR_BUSY_MS: Final = 50.0
RAISE: Final = 1.5
SATURATED: Final = 0.9
"""The peak is found where less than this share of what is offered is answered."""
LONGEST_RAMP: Final = 12
SLOW_VERB: Final = b"read"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long each offer is made, in seconds, and where the search for the peak begins, in requests per second."""

    seconds: float = 4.0
    warm_up: float = 1.5
    node_start: float = 4000.0
    process_start: float = 20_000.0
    connections: int = 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--offer-seconds", type=float, default=4.0, metavar="S", help="of each offer that counts (4)")


def run(options: argparse.Namespace) -> list[Finding]:
    """A finding for each of what may limit: a node, the process with few connections, and with many."""
    few, many = Sizes(options.offer_seconds), Sizes(options.offer_seconds, connections=200)
    return [node_is_the_limit(few), process_is_the_limit(few), process_is_the_limit(many)]


def node_is_the_limit(sizes: Sizes, *flags: str) -> Finding:
    """A node behind a narrow link, before a server with these flags."""
    with proxied_cluster(1, *flags) as cluster:
        load(cluster.target, Workload(keys=KEYS))
        cluster.proxies[0].to_server = Faults(bandwidth=LINK)
        return _offers(cluster.target, "a node is the limit", sizes, sizes.node_start, b"READ")


def process_is_the_limit(sizes: Sizes, *flags: str) -> Finding:
    """One worker before four nodes, and requests that cost it the most."""
    with wireproto_server(*flags) as target:
        load(target, Workload(keys=KEYS))
        what = f"the process is the limit, {sizes.connections} connections"
        finding = _offers(target, what, sizes, sizes.process_start, SLOW_VERB)
    finding.notes.append("to refuse costs nearly what answering does: what is too much is not read, and waits")
    return finding


def _offers(target: Target, what: str, sizes: Sizes, start: float, verb: bytes) -> Finding:
    def make(rate: float) -> Outcome:
        tell(f"{what}: {rate:,.0f} requests per second")
        return offer(target, Offer(rate, sizes.seconds, sizes.warm_up, sizes.connections, verb=verb))

    peak = find_peak(make, start)
    outcomes = {step: make(step * peak) for step in STEPS}
    shares = [outcomes[step].goodput / peak for step in (2.0, 3.0)]
    busy = [outcome.milliseconds("BUSY", "p99") for outcome in outcomes.values() if outcome.answers["BUSY"]]
    at_once = Bound(MOST_FOR_BUSY_MS) if verb != SLOW_VERB else None
    failed = [float(_failed(outcome)) for outcome in outcomes.values()]
    # What is lost, so that a bound is on the most: 0.1 is 90 % of the peak.
    lost = [1.0 - share for share in shares]
    finding = Finding(f"{NAME}: {what}", f"peak {peak:,.0f} requests per second, and {len(STEPS)} offers of that")
    finding.figures = [
        Figure("share of the peak lost at 2 and 3 times", lost, Bound(1.0 - LEAST_GOODPUT)),
        Figure("99 % of BUSY, ms", busy, at_once),
        Figure("answered otherwise, or wrong", failed, Bound(0)),
    ]
    finding.notes = [_told(step, outcome) for step, outcome in outcomes.items()]
    return finding


def find_peak(make: Callable[[float], Outcome], start: float) -> float:
    """The most that is answered in a second, when more and more is offered. Raises RuntimeError if there is no end."""
    rate, peak = start, 0.0
    for _ in range(LONGEST_RAMP):
        outcome = make(rate)
        peak = max(peak, outcome.goodput)
        if outcome.goodput < SATURATED * rate:
            return peak
        rate *= RAISE
    raise RuntimeError(f"{rate:,.0f} requests per second are no overload")


def _failed(outcome: Outcome) -> int:
    expected = outcome.answers["OK"] + outcome.answers["BUSY"]
    return outcome.answers.total() - expected + outcome.wrong


def _told(step: float, outcome: Outcome) -> str:
    held = outcome.held.summary()
    return (
        f"{step:g} times: {outcome.offered / outcome.seconds:,.0f} offered, {outcome.goodput:,.0f} OK, "
        f"{outcome.per_second('BUSY'):,.0f} BUSY per second, "
        f"{(outcome.unsent + outcome.unanswered) / outcome.seconds:,.0f} wait on; "
        f"OK p50 {outcome.milliseconds('OK', 'p50'):,.1f} ms, p99 {outcome.milliseconds('OK', 'p99'):,.1f} "
        f"({held['p99'] / 1000:,.1f} from when it was sent); BUSY p99 {outcome.milliseconds('BUSY', 'p99'):,.1f}"
    )
