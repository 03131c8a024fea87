"""Ten thousand connections that say nothing, and thousands that say a byte a second: a good client must not feel them.

They are dropped when their time is over, which no byte prolongs, or before, where they take the place of others.
"""

from __future__ import annotations

import argparse
from typing import Final

from bench.chaos.findings import Bound, Figure, Finding
from bench.hostile.crowd import Kind, crowd
from bench.hostile.visits import percentile, visits
from bench.targets import read_stats, wireproto_server

NAME: Final = "half-open"
HANDSHAKE: Final = 5.0
AUTH: Final = 10.0
"""Seconds that a server gives by itself for the handshake, and from there to AUTH."""
TOLD_LATE: Final = 1.5
"""Seconds by which it may be late on a machine that has a crowd, too: it looks at its clocks twice a second."""
MOST_FOR_A_VISIT: Final = 0.1
FILLING: Final = 30.0
"""Seconds in which the crowd is to be there."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--half-open", type=int, default=10_000, metavar="N", help="silent connections (10,000)")
    parser.add_argument("--trickling", type=int, default=4_000, metavar="N", help="that send a byte a second (4,000)")
    parser.add_argument("--visits", type=int, default=50, metavar="N", help="of the good client, each time (50)")


def run(options: argparse.Namespace) -> list[Finding]:
    """One finding for each kind of crowd."""
    return [
        crowded("silent", options.half_open, HANDSHAKE, options.visits),
        crowded("hello", options.trickling, HANDSHAKE, options.visits),
        crowded("login", options.trickling, AUTH, options.visits),
    ]


def crowded(kind: Kind, count: int, deadline: float, tries: int, *flags: str) -> Finding:
    """A crowd of this kind before a server with `flags`, and visits as soon as all have come."""
    with wireproto_server(*flags) as server:
        assert server.plain_port is not None
        before = visits(server, tries)
        with crowd(server, kind, count) as others:
            complete = others.wait_until_all_are_there(FILLING)
            # So that those who came last have their time, too.
            during = visits(server, tries, deadline + 2 * TOLD_LATE)
            counted = read_stats(server.plain_port, server.api_key)["connections"]
            seen = others.end()
    finding = Finding(f"{NAME}: {kind}", f"{count:,} clients of this kind, and {len(during)} visits of a good one")
    worst = percentile(during, 0.99)
    finding.figures = [
        Figure("connections of the crowd at once", [float(seen.most)]),
        Figure("closed after, s", seen.ages, Bound(deadline + TOLD_LATE)),
        Figure("visit without a crowd, s", before),
        Figure("visit, s", during),
        Figure("99 % of visits, s", [worst], Bound(MOST_FOR_A_VISIT, is_strict=True)),
        Figure("visits that failed", [float(during.count(float("inf")))], Bound(0)),
    ]
    finding.notes = [
        f"{seen.opened:,} came, {seen.failed:,} not so far; {'all' if complete else 'NOT all'} were there at once",
        f"closed by limit: {counted['closed_by_limit']}; handshakes failed: {counted['handshake_failures']:,}",
    ]
    return finding
