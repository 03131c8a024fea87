"""Runs the benchmarks of the concerns that are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

from bench.micro import frames, resp, ring, sealing, session, tokens
from bench.micro.blocks import Benchmark, Result, Series

CONCERNS: Mapping[str, Callable[[], Iterator[Benchmark]]] = {
    "frames": frames.benchmarks,
    "resp": resp.benchmarks,
    "session": session.benchmarks,
    "ring": ring.benchmarks,
    "tokens": tokens.benchmarks,
    "sealing": sealing.benchmarks,
}
SECONDS = 0.2
"""For each benchmark; all of them then take less than 20."""


ROUNDS = 4


def run(concerns: Iterable[str], seconds: float, tell: Callable[[str], None]) -> list[Result]:
    """Each benchmark for so many seconds; `tell` is called with the name of the one whose turn it is.

    All take turns in several rounds: what disturbs the machine for a second then disturbs no benchmark all the time.
    """
    all_series = [
        Series(dataclasses.replace(benchmark, name=f"{concern}: {benchmark.name}"))
        for concern in concerns
        for benchmark in CONCERNS[concern]()
    ]
    for _ in range(ROUNDS):
        for series in all_series:
            tell(series.benchmark.name)
            series.run(seconds / ROUNDS)
    return [series.result() for series in all_series]
