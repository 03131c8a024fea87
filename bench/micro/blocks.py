"""Measures a piece of code in blocks: nanoseconds of CPU per operation.

The clock is the CPU time of this process: nothing that is measured here ever waits, and on a shared machine the time in
which others have the core shall not count. What they do to caches and clock rates does, which is why there are many
short blocks: the minimum is disturbed least, and the median tells how much the rest was.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wireproto.core.build import BUILD

BLOCK = 1_000_000
"""Nanoseconds that a block should take at least. To read the clock twice costs less than one."""
FEWEST_BLOCKS = 3


def _nothing(times: int) -> None:
    pass


@dataclass(frozen=True)
class Benchmark:
    """Something that can be done any number of times, up to `most`, in one block."""

    name: str
    run: Callable[[int], object]
    """Does it so many times. This alone is timed."""
    operations: int = 1
    """How many requests, replies or the like are dealt with each time."""
    before: Callable[[int], object] = _nothing
    """Prepares a block of so many times."""
    after: Callable[[int], object] = _nothing
    """Clears up after it, and may check what came of it."""
    most: int = 1 << 30


@dataclass(frozen=True)
class Result:
    """What one benchmark gave. `min_ns` and `median_ns` are of CPU per operation, over the blocks."""

    name: str
    min_ns: float
    median_ns: float
    blocks: int
    operations: int
    """Of all blocks together."""
    build: str = BUILD

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "build": self.build,
            "ns_per_operation": {"min": self.min_ns, "median": self.median_ns},
            "blocks": self.blocks,
            "operations": self.operations,
        }


class Series:
    """The blocks of one benchmark so far."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self._times = 0
        """How often a block does it; 0 until that is known."""
        self._blocks: list[int] = []
        """The nanoseconds of each."""

    def run(self, seconds: float, fewest: int = 1) -> None:
        """More blocks, for about so many seconds by the clock on the wall, and at least `fewest`."""
        with _no_garbage_collection():
            if not self._times:
                gc.collect()
                self._times = self._times_of_a_block()
            end = len(self._blocks) + fewest
            deadline = time.monotonic() + seconds
            while len(self._blocks) < end or time.monotonic() < deadline:
                self._blocks.append(self._block(self._times))

    def result(self) -> Result:
        """What they come to."""
        operations = self._times * self.benchmark.operations
        return Result(
            name=self.benchmark.name,
            min_ns=min(self._blocks) / operations,
            median_ns=statistics.median(self._blocks) / operations,
            blocks=len(self._blocks),
            operations=operations * len(self._blocks),
        )

    def _times_of_a_block(self) -> int:
        """Enough for a block. To find out warms it up as well."""
        times = 1
        while self._block(times) < BLOCK and times < self.benchmark.most:
            times = min(2 * times, self.benchmark.most)
        return times

    def _block(self, times: int) -> int:
        """The nanoseconds that one block takes."""
        self.benchmark.before(times)
        started = time.process_time_ns()
        self.benchmark.run(times)
        taken = time.process_time_ns() - started
        self.benchmark.after(times)
        return taken


def measure(benchmark: Benchmark, seconds: float) -> Result:
    """One benchmark by itself."""
    series = Series(benchmark)
    series.run(seconds, FEWEST_BLOCKS)
    return series.result()


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The collector would strike in some blocks and not in others, and what it costs is not what is measured."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
