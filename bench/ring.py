"""How evenly the ring spreads keys, and how few of them move: `python -m bench.ring`. How fast: `bench.micro.ring`.

Bounds that `tests/core/test_ring.py` holds: the fullest node has at most 1.02 times the mean with 4 nodes and 1.06 with
16; when a node comes or goes at most 1.05 times the ideal number of keys move, and none between nodes that stay.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wireproto.core.ring import HashRing

KEYS = 200_000


def name_sets(count: int) -> dict[str, list[str]]:
    """Names as people choose them."""
    choose = random.Random(count)
    return {
        "shard-N": [f"shard-{number}" for number in range(1, count + 1)],
        "hosts": [f"cache-{number:02d}.eu-west-1.example.com" for number in range(count)],
        "letters": [chr(ord("a") + number) for number in range(count)],
        "uuids": [str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)) for number in range(count)],
        "random": [choose.randbytes(6).hex() for _ in range(count)],
    }


def key_sets(count: int = KEYS) -> dict[str, list[bytes]]:
    """Keys as services have them."""
    choose = random.Random(count)
    return {
        "user:N": [b"user:%d" % number for number in range(count)],
        "session/hex": [b"session/%032x" % (number * 0x9E3779B97F4A7C15 % 2**64) for number in range(count)],
        "uuid": [str(uuid.UUID(int=choose.getrandbits(128))).encode() for _ in range(count)],
        "bytes": [choose.randbytes(choose.randrange(8, 60)) for _ in range(count)],
        "{tag}:cart": tagged_keys(count),
    }


def tagged_keys(count: int) -> list[bytes]:
    """Keys with a hash tag each."""
    return [b"{customer:%d}:cart" % number for number in range(count)]


class Table(Protocol):
    """Something like a ring."""

    @property
    def names(self) -> Sequence[str]:
        """Of the nodes."""
        ...

    def index(self, key: bytes) -> int:
        """The owner of a key among them."""
        ...


@dataclass(frozen=True)
class Spread:
    """What happened to a set of keys. Each figure is at best 1, and `between_stayers` 0."""

    peak_to_mean: float
    moved: float
    between_stayers: int


def rings(names: list[str], seed: int = 0) -> tuple[HashRing, HashRing]:
    """The ring of all names, and that without the name in the middle."""
    leaver = names[len(names) // 2]
    return HashRing(names, seed=seed), HashRing([name for name in names if name != leaver], seed=seed)


def spread(full: Table, rest: Table, keys: Sequence[bytes]) -> Spread:
    """Take the one node out that `rest` lacks. (When it joins, the same keys move back: a ring has no past.)"""
    (leaver,) = set(full.names) - set(rest.names)
    owners = [full.names[full.index(key)] for key in keys]
    after = [rest.names[rest.index(key)] for key in keys]
    moved = [old for old, new in zip(owners, after, strict=True) if old != new]
    loads = Counter(owners)
    ideal = len(keys) / len(full.names)
    return Spread(
        peak_to_mean=max(loads.values()) / ideal,
        moved=len(moved) / ideal,
        between_stayers=sum(old != leaver for old in moved),
    )


def main() -> None:
    """Measure and print."""
    sets = key_sets()
    print(f"{KEYS:,} keys")
    print(f"{'nodes':>5}  {'names':<8} {'keys':<12} {'peak/mean':>9} {'moved/ideal':>11} {'between stayers':>15}")
    for count in (4, 16):
        for names_of, names in name_sets(count).items():
            full, rest = rings(names)
            for keys_of, keys in sets.items():
                seen = spread(full, rest, keys)
                print(
                    f"{count:>5}  {names_of:<8} {keys_of:<12} {seen.peak_to_mean:>9.4f} {seen.moved:>11.4f}"
                    f" {seen.between_stayers:>15}"
                )


if __name__ == "__main__":
    main()
