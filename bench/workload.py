"""What is asked for: keys, how popular each is, how long their values are, and how many requests read.

Everything follows from the numbers given here and a seed. The value of a key follows from the key and its length alone,
so every reply can be compared with what it must be, whoever wrote it and when. (A write writes what was there before.)
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

KEY_LENGTH = 12


@dataclass(frozen=True)
class ValueSizes:
    """Lengths of values in bytes, each with its share of the keys."""

    shares: tuple[tuple[int, float], ...] = ((100, 1.0),)

    @classmethod
    def parse(cls, text: str) -> ValueSizes:
        """From `100`, or `100:0.9,10240:0.1`. Raises ValueError."""
        pairs = [word.partition(":") for word in text.split(",")]
        shares = tuple((int(size), float(share) if share else 1.0) for size, _, share in pairs)
        if any(size < 0 or share <= 0 for size, share in shares):
            raise ValueError(f"{text}: sizes are 0 or more, shares above 0")
        return cls(shares)

    def __str__(self) -> str:
        if len(self.shares) == 1:
            return str(self.shares[0][0])
        return ",".join(f"{size}:{share:g}" for size, share in self.shares)

    def of_key(self, number: int) -> int:
        """The length of a key's value: the same at every call."""
        if len(self.shares) == 1:
            return self.shares[0][0]
        bounds = list(itertools.accumulate(share for _, share in self.shares))
        chosen = random.Random(number).random() * bounds[-1]
        return self.shares[bisect.bisect_right(bounds, chosen)][0]


@dataclass(frozen=True)
class Workload:
    """Which requests are made."""

    keys: int = 10_000
    popularity: Literal["uniform", "zipf"] = "uniform"
    zipf_exponent: float = 0.99
    """The key of rank r is asked for with a weight of 1 / r ** exponent."""
    sizes: ValueSizes = field(default_factory=ValueSizes)
    read_share: float = 1.0
    seed: int = 1
    only: tuple[int, ...] | None = None
    """If given, the numbers of the keys that are asked for; else 0 to `keys`."""

    def key(self, number: int) -> bytes:
        """The number-th key, from 0."""
        return b"key:%08d" % number

    def value(self, number: int) -> bytes:
        """Its value: its number again and again, in printable characters, so that no two are alike."""
        size = self.sizes.of_key(number)
        text = b"%08d." % number
        return (text * (size // len(text) + 1))[:size]

    def requests(self, stream: int) -> Iterator[tuple[bool, int]]:
        """An endless stream of requests, (whether it is a read, the key's number); another for every number given."""
        choose = random.Random(f"{self.seed}/{stream}")
        numbers = self._key_of_rank
        while True:
            if self.popularity == "uniform":
                number = numbers[choose.randrange(len(numbers))]
            else:
                number = self._by_rank(choose.random())
            yield choose.random() < self.read_share, number

    def _by_rank(self, point: float) -> int:
        rank = bisect.bisect_right(self._cumulative_weights, point * self._cumulative_weights[-1])
        return self._key_of_rank[min(rank, len(self._key_of_rank) - 1)]

    @cached_property
    def _cumulative_weights(self) -> list[float]:
        return list(itertools.accumulate(1 / rank**self.zipf_exponent for rank in range(1, len(self._key_of_rank) + 1)))

    @cached_property
    def _key_of_rank(self) -> list[int]:
        """Popular keys lie anywhere among the numbers."""
        numbers = list(range(self.keys) if self.only is None else self.only)
        random.Random(self.seed).shuffle(numbers)
        return numbers
