"""Ways to tell which node owns a key: `python -m bench.kept.ring_tables`.

How much the fullest node has, how many keys move when a node in the middle goes, and how many of them between nodes
that stay, which need not move; and the time of a look-up. Only the way that was chosen looks for hash tags here.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence

from mmh3 import mmh3_32_uintdigest, mmh3_x64_128_uintdigest

from bench.micro.blocks import measure
from bench.micro.ring import look_up
from bench.ring import Table, spread
from bench.table import Row, aligned
from wireproto.core.ring import POINTS_PER_WEIGHT, HashRing, node_points

KEYS = 100_000
SECONDS = 0.1
"""For each look-up."""
MAGLEV_PLACES = 65_537
"""A prime, as Maglev needs."""
KETAMA_POINTS = 160
"""What libketama and its followers set for each node."""


class BisectedRing:
    """A ring whose points are kept in order, and found by bisection."""

    def __init__(self, names: Sequence[str], points: int) -> None:
        self.names = names
        owned = sorted((point, index) for index, name in enumerate(names) for point in node_points(name, points, 0))
        self._points = [point for point, _ in owned]
        self._owners = [index for _, index in owned]

    def index(self, key: bytes) -> int:
        """The owner of the first point at or after the key's, and around."""
        found = bisect_left(self._points, mmh3_32_uintdigest(key, 0))
        return self._owners[found if found < len(self._owners) else 0]


class Maglev:
    """Every node takes the next free place of its own order of all places, in turn, until the table is full."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        table = [-1] * MAGLEV_PLACES
        orders = []
        for name in names:
            digest = mmh3_x64_128_uintdigest(name.encode(), 0)
            orders.append([(digest >> 64) % MAGLEV_PLACES, digest % (MAGLEV_PLACES - 1) + 1])
        free = MAGLEV_PLACES
        while free:
            for index, order in enumerate(orders[:free]):
                place, step = order
                while table[place] >= 0:
                    place = (place + step) % MAGLEV_PLACES
                table[place] = index
                order[0] = place
                free -= 1
        self._table = table

    def index(self, key: bytes) -> int:
        """One hash and one look into the table."""
        return self._table[mmh3_32_uintdigest(key, 0) % MAGLEV_PLACES]


class Jump:
    """Jump consistent hash (Lamping and Veach, 2014): no table; only the last node can go."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def index(self, key: bytes) -> int:
        """As in the paper."""
        state = mmh3_x64_128_uintdigest(key, 0) & 0xFFFFFFFFFFFFFFFF
        bucket, jump = -1, 0
        while jump < len(self.names):
            bucket = jump
            state = (state * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
            jump = int((bucket + 1) * (2**31 / ((state >> 33) + 1)))
        return bucket


WAYS: dict[str, Callable[[Sequence[str]], Table]] = {
    "ring as a table, 32,768 points (chosen)": HashRing,
    "ring, bisection, 160 points": lambda names: BisectedRing(names, KETAMA_POINTS),
    "ring, bisection, 1,000 points": lambda names: BisectedRing(names, 1000),
    "ring, bisection, 32,768 points": lambda names: BisectedRing(names, POINTS_PER_WEIGHT),
    "Maglev, 65,537 places": Maglev,
    "jump hash": Jump,
}


def row(way: str, count: int, keys: Sequence[bytes], seconds: float) -> Row:
    """What one way does for so many nodes."""
    names = [f"shard-{number:02d}" for number in range(1, count + 1)]
    middle = names[count // 2]
    started = time.process_time()
    full = WAYS[way](names)
    made = time.process_time() - started
    seen = spread(full, WAYS[way]([name for name in names if name != middle]), keys)
    return (
        str(count),
        way,
        f"{seen.peak_to_mean:.3f}",
        f"{seen.moved / count:.1%}",
        f"{seen.between_stayers / len(keys):.1%}",
        f"{measure(look_up(way, full, keys[:1000]), seconds).min_ns:.0f}",
        f"{made * 1000:.0f}",
    )


def main(count_of_keys: int = KEYS, seconds: float = SECONDS) -> None:
    """Measure and print."""
    keys = [b"user:%d" % number for number in range(count_of_keys)]
    heads = ("nodes", "way", "peak/mean", "moved", "between stayers", "ns/look-up", "ms to make")
    print(f"{count_of_keys:,} keys; moved when one node in the middle goes: at best the share that it had")
    print(aligned([heads, *(row(way, count, keys, seconds) for count in (4, 16) for way in WAYS)], left=2))


if __name__ == "__main__":
    main()
