"""Who owns a key, and the drawing of the table that tells it. How evenly it does: `python -m bench.ring`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.micro.blocks import Benchmark
from bench.micro.conversation import ring
from bench.ring import Table, key_sets
from wireproto.core.ring import HashRing

KEYS = 10_000


def benchmarks() -> Iterator[Benchmark]:
    """All of this concern."""
    for kind, keys in key_sets(KEYS).items():
        yield look_up(f"look-up, {kind}, 4 nodes", ring(4), keys)
    yield look_up("look-up, user:N, 16 nodes", ring(16), key_sets(KEYS)["user:N"])
    for count in (4, 16):
        yield _drawing(count)


def look_up(name: str, table: Table, keys: Sequence[bytes]) -> Benchmark:
    """Each of these keys once."""

    def run(times: int) -> None:
        index = table.index
        for _ in range(times):
            for key in keys:
                index(key)

    return Benchmark(name, run, operations=len(keys))


def _drawing(count: int) -> Benchmark:
    names = [f"shard-{number}" for number in range(1, count + 1)]

    def run(times: int) -> None:
        for _ in range(times):
            HashRing(names)

    return Benchmark(f"drawing, {count} nodes", run)
