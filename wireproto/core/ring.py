"""Which node owns a key: a consistent-hash ring, drawn once as a table.

The circle has 2**18 places. A key's place is the top 18 bits of its hash. Every node sets points on the circle, and a
place belongs to the first point at or after it, going up and around. Points depend only on their node's name and the
seed; so a node that comes takes keys for itself and a node that goes leaves its keys to the others, but no key moves
between two nodes that stay. `docs/PROTOCOL.md` says it exactly, so that a client in any language finds the same owners.

Nothing here knows what a node is. Where a loop has no time for a call, it may write `place` and the look-up out:

    table[mmh3_32_uintdigest(key, seed) >> SHIFT]       (for a key without BRACE, otherwise for hashed_part(key))
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from operator import mul
from typing import Final, NoReturn

from mmh3 import mmh3_32_uintdigest, mmh3_x64_128_digest

from wireproto.errors import ConfigurationError

PLACE_BITS: Final = 18
PLACES: Final = 1 << PLACE_BITS
SHIFT: Final = 32 - PLACE_BITS
"""A 32-bit hash, shifted right by this many bits, is a place."""

BRACE: Final = 0x7B
"""`{`, which opens a hash tag. As an int: `BRACE in key` takes 20 ns, `key.find(BRACE)` 66, `b"{" in key` 155."""

POINTS_PER_WEIGHT: Final = 32_768
"""Points of a node of weight 1. A node's share strays from its due by about 0.5 % (one standard deviation, falling with
the root of the points); half as many would break 2 % for one set of four names in a hundred, twice as many would take
twice as long to draw, which for four nodes is 50 to 80 ms already (`python -m bench micro ring`)."""

MAX_SEED: Final = 0xFFFF_FFFF
MAX_POINTS: Final = 1 << 25
"""Points of a whole ring: 1,024 nodes of weight 1. Drawing them takes 7 to 17 s; more is a slip in the weights."""
MAX_NODES: Final = 0xFFFF

_POINTS_PER_DIGEST: Final = 4
_MAX_NARROW: Final = 0xFF
_RANK_MASK: Final = (1 << SHIFT) - 1
_NO_RANK: Final = 0xFFFF
_TAKEN: Final = bytes([0]) + bytes([1]) * 255
"""For `bytes.translate`: 0 stays 0, the rest becomes 1."""


class HashRing:
    """An immutable ring over names, each with a weight (a plain list of names: weight 1 each).

    `names` are sorted, so that the order of the configuration does not matter; `table[place]` is an index into them
    (bytes, or an array of 16-bit integers for more than 255 names; not to be written to). Draws `points` points per
    weight; two rings agree only if names, weights, seed and points agree. Takes 7 to 20 ms per node of weight 1.
    """

    __slots__ = ("names", "narrow_table", "seed", "table")

    names: tuple[str, ...]
    seed: int
    table: bytes | array[int]
    narrow_table: bytes
    """The table where it is `bytes`, else empty: a loop that is compiled looks up bytes faster."""

    def __init__(
        self, weights: Mapping[str, float] | Iterable[str], *, seed: int = 0, points: int = POINTS_PER_WEIGHT
    ) -> None:
        check_seed(seed)
        counts = point_counts(weights, points)
        names = tuple(sorted(counts))
        rows = [node_points(name, counts[name], seed) for name in names]
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "seed", seed)
        table = _draw(rows)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "narrow_table", table if isinstance(table, bytes) else b"")

    def owner(self, key: bytes) -> str:
        """The name of the node that owns the key."""
        return self.names[self.index(key)]

    def index(self, key: bytes) -> int:
        """The owner as an index into `names`."""
        if BRACE in key:
            key = hashed_part(key)
        return self.table[mmh3_32_uintdigest(key, self.seed) >> SHIFT]

    def shares(self) -> dict[str, float]:
        """The share of the circle, from 0 to 1, that each name owns."""
        places = Counter(self.table)
        return {name: places[index] / PLACES for index, name in enumerate(self.names)}

    def __repr__(self) -> str:
        return f"HashRing({list(self.names)!r}, seed={self.seed})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a HashRing is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a HashRing is immutable: {name} cannot be deleted")


def place(key: bytes, seed: int) -> int:
    """The key's place on the circle, from 0 to PLACES - 1."""
    return mmh3_32_uintdigest(hashed_part(key), seed) >> SHIFT


def hashed_part(key: bytes) -> bytes:
    """The bytes of a key that decide its place: its hash tag, or all of it.

    The tag is what stands between the first `{` and the first `}` after it, unless that is empty (the rule of Redis
    Cluster). Keys with the same tag have the same owner.
    """
    tag, close, _ = key.partition(b"{")[2].partition(b"}")
    return tag if tag and close else key


def check_seed(seed: int) -> None:
    """Refuse what is not an unsigned 32-bit integer: mmh3 takes no other seed."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise ConfigurationError(f"ring: the seed must be an integer from 0 to {MAX_SEED}, not {seed!r}")


def point_counts(weights: Mapping[str, float] | Iterable[str], points: int = POINTS_PER_WEIGHT) -> dict[str, int]:
    """How many points each name sets: weight times points, rounded (a half to the even neighbour)."""
    if not isinstance(points, int) or isinstance(points, bool) or not 1 <= points <= MAX_POINTS:
        raise ConfigurationError(f"ring: points per weight must be an integer from 1 to {MAX_POINTS}, not {points!r}")
    counts: dict[str, int] = {}
    for name, weight in _pairs(weights):
        _check_name(name)
        if name in counts:
            raise ConfigurationError(f"ring: the name {name!r} is given twice")
        # The comparison also refuses NaN, and an upper bound infinity and integers that no float can hold.
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= MAX_POINTS:
            raise ConfigurationError(f"ring: the weight of {name!r} must be a finite number above 0, not {weight!r}")
        counts[name] = round(weight * points)
        if not counts[name]:
            raise ConfigurationError(f"ring: the weight of {name!r} is too small ({weight!r}): it gives no point")
    if not counts:
        raise ConfigurationError("ring: no names are given")
    if len(counts) > MAX_NODES:
        raise ConfigurationError(f"ring: {len(counts)} names are given, at most {MAX_NODES} are possible")
    if (total := sum(counts.values())) > MAX_POINTS:
        raise ConfigurationError(
            f"ring: the weights add up to {total / points:g}, at most {MAX_POINTS / points:g} is possible"
        )
    return counts


def _pairs(weights: Mapping[str, float] | Iterable[str]) -> Iterable[tuple[str, float]]:
    if isinstance(weights, Mapping):
        return weights.items()
    if isinstance(weights, (str, bytes)):
        raise ConfigurationError(f"ring: names must be a list, not the single text {weights!r}")
    return [(name, 1.0) for name in weights]


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"ring: a name must be a text that is not empty, not {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"ring: the name {name!r} cannot be written in UTF-8") from error


def node_points(name: str, count: int, seed: int) -> tuple[int, ...]:
    """A node's first `count` points, 32 bits each: four from every digest of `name:0`, `name:1` and so on.

    A smaller weight takes fewer of the same points. So a node whose weight grows only gains keys.
    """
    prefix = name.encode() + b":"
    digests = range(-(-count // _POINTS_PER_DIGEST))
    data = b"".join([mmh3_x64_128_digest(prefix + b"%d" % number, seed) for number in digests])
    return struct.unpack_from(f"<{count}I", data)


def _draw(rows: Sequence[Sequence[int]]) -> bytes | array[int]:
    """The table for each node's points, in the order of the names.

    A place that several points share goes to the smallest of them, and between equal points to the first name. Any
    order of points that others cannot change would keep keys from moving between nodes that stay; this one, unlike
    that of the names, favours nobody (with 16 nodes, half of the points share a place with another).
    """
    narrow = len(rows) <= _MAX_NARROW
    holders: bytearray | array[int] = bytearray(PLACES) if narrow else array("H", bytes(2 * PLACES))
    ranks = array("H", [_NO_RANK]) * PLACES
    for holder, points in enumerate(rows, 1):  # 0: nobody holds a point here
        for point in points:
            spot = point >> SHIFT
            rank = point & _RANK_MASK
            if rank < ranks[spot]:
                ranks[spot] = rank
                holders[spot] = holder
    return _fill(holders)


def _fill(holders: bytearray | array[int]) -> bytes | array[int]:
    """Give every place to the first holder at or after it. One `bytes * gap` per point is faster than slices."""
    if isinstance(holders, bytearray):
        taken = holders.translate(_TAKEN)
        owners: Sequence[int] = holders.translate(None, b"\0")
        entries = [bytes([index]) for index in range(_MAX_NARROW)]
    else:
        taken = bytearray(map(bool, holders))
        owners = list(compress(holders, taken))
        entries = [array("H", [index]).tobytes() for index in range(max(owners))]
    gaps = [len(free) + 1 for free in taken.split(b"\1")]
    tail = gaps.pop() - 1  # the places after the last point belong to the first one: the circle closes here
    pieces = list(map(mul, [entries[holder - 1] for holder in owners], gaps))
    pieces.append(entries[owners[0] - 1] * tail)
    table = b"".join(pieces)
    return table if isinstance(holders, bytearray) else array("H", table)
