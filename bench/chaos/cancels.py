"""Calls that are given up and clients that vanish, each ten thousand times: `python -m bench.chaos.cancels`.

All share the server's connections to its nodes, so that one answer too many or too few would be seen by everybody
after it: the value of each key names the key, and every answer is compared with what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable

import psutil

from bench.chaos.figures import Figure, report
from bench.chaos.giving_up import cancel_many, time_out_many
from bench.chaos.vanishing import vanish_many
from bench.cpu import server_processes
from bench.loading import load
from bench.targets import Target, wireproto_server
from bench.workload import Workload

EXPERIMENT = "cancels"
SETTLED = 2.0
"""Seconds within which descriptors must be back to where they were."""
ASYNC_PATIENCE, BLOCKING_PATIENCE = 0.01, 0.01
"""Seconds within which calls are given up: about what an answer takes under this load."""


def run(count: int = 10_000) -> list[Figure]:
    """So many of each kind."""
    with wireproto_server() as target:
        before = _descriptors(target)
        figures = _given_up(
            "asyncio client", count, lambda: asyncio.run(cancel_many(target.url, count, ASYNC_PATIENCE))
        )
        figures += _given_up("blocking client", count, lambda: time_out_many(target.url, count, BLOCKING_PATIENCE))
        workload = Workload(keys=500)
        load(target, workload)
        found = vanish_many(target, workload, count)
        told = f"{found.wrong} of {found.answers:,} answers of others, while {found.left:,} vanished"
        figures.append(Figure(EXPERIMENT, "clients that vanish: wrong", told, "0", found.wrong == 0))
        return [*figures, _descriptor_figure(target, before)]


def _given_up(who: str, count: int, give_up: Callable[[], Counter[str]]) -> list[Figure]:
    """An answer that was wrong has ended the run."""
    try:
        outcomes = give_up()
    except AssertionError as error:
        return [Figure(EXPERIMENT, f"{who}: wrong answers", str(error), "0", False)]
    told = ", ".join(f"{number:,} {what}" for what, number in outcomes.most_common())
    enough = outcomes["cancelled"] + outcomes["timed out"] >= count
    return [
        Figure(EXPERIMENT, f"{who}: calls", told, f"{count:,} given up", enough),
        Figure(EXPERIMENT, f"{who}: wrong answers", "0", "0", True),
    ]


def _descriptors(target: Target) -> int:
    return sum(psutil.Process(pid).num_fds() for pid in server_processes(target))


def _descriptor_figure(target: Target, before: int) -> Figure:
    began = time.monotonic()
    while (now := _descriptors(target)) > before and time.monotonic() - began < SETTLED:
        time.sleep(0.01)
    value = f"{before} before, {now} after, in {time.monotonic() - began:.2f} s"
    return Figure(EXPERIMENT, "descriptors of the server", value, f"no more within {SETTLED:g} s", now <= before)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.cancels", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="of each kind (10,000)")
    return report(run(parser.parse_args(arguments).count))


if __name__ == "__main__":
    sys.exit(main())
