"""The ring: exact by golden vectors and a slow reference, even, steady, fast."""

from __future__ import annotations

import bisect
import random
from typing import Any

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ring import key_sets, look_up_time, name_sets, spread
from wireproto.core.ring import PLACES, HashRing, hashed_part, node_points, place
from wireproto.errors import ConfigurationError

FOUR = ("shard-1", "shard-2", "shard-3", "shard-4")

GOLDEN = [
    # key, seed, hash, place, owner among FOUR
    (b"my_key", 0, 0xEF9DEFA4, 981470, "shard-3"),
    (b"{user42}:cart", 0, 0xF1F546E5, 991060, "shard-1"),
    (b"user42", 0, 0xF1F546E5, 991060, "shard-1"),
    (b"{}x", 0, 0x2F182ECA, 192898, "shard-1"),
    (b"a{b", 0, 0x71EEEC71, 466670, "shard-1"),
    (b"\xff\x00\n", 0, 0xD2370E09, 861040, "shard-3"),
    (b"key:00000001", 0, 0xA03AA000, 656298, "shard-1"),
    (b"my_key", 7, 0xE196B96F, 924011, "shard-3"),
    (b"{}x", 7, 0xFE10E714, 1040654, "shard-2"),
    (b"\xff\x00\n", 7, 0x4D725571, 317221, "shard-1"),
]


class SlowRing:
    """The definition of docs/PROTOCOL.md, word by word, with sorted points instead of a table."""

    def __init__(self, weights: dict[str, float], seed: int, points: int) -> None:
        self.seed = seed
        self.owners: dict[int, tuple[int, str]] = {}
        for name, weight in weights.items():
            for index in range(round(weight * points)):
                digest = mmh3.hash_bytes(f"{name}:{index // 4}".encode(), seed)
                start = index % 4 * 4
                point = int.from_bytes(digest[start : start + 4], "little")
                candidate = (point, name)
                self.owners[point >> 12] = min(candidate, self.owners.get(point >> 12, candidate))
        self.places = sorted(self.owners)

    def owner(self, key: bytes) -> str:
        start = key.find(b"{")
        stop = key.find(b"}", start + 1)
        if start >= 0 and stop > start + 1:
            key = key[start + 1 : stop]
        spot = mmh3.hash(key, self.seed, signed=False) >> 12
        next_place = self.places[bisect.bisect_left(self.places, spot) % len(self.places)]
        return self.owners[next_place][1]


@pytest.mark.parametrize(("key", "seed", "digest", "spot", "owner"), GOLDEN)
def test_golden_vectors(key: bytes, seed: int, digest: int, spot: int, owner: str) -> None:
    assert mmh3.hash(hashed_part(key), seed, signed=False) == digest
    assert place(key, seed) == spot
    ring = HashRing(FOUR, seed=seed)
    assert ring.owner(key) == owner
    assert ring.names[ring.index(key)] == owner


def test_golden_points() -> None:
    assert mmh3.hash_bytes(b"shard-1:0", 0).hex() == "c87c4db50ecb24f477a15ba4e93be71c"
    assert node_points("shard-1", 5, 0) == (0xB54D7CC8, 0xF424CB0E, 0xA45BA177, 0x1CE73BE9, 0xC2C362F0)


@pytest.mark.parametrize(
    ("weights", "seed", "points"),
    [
        (dict.fromkeys(FOUR, 1.0), 0, 32_768),
        ({"a": 1.0, "b": 2.5, "ä": 0.3}, 7, 1000),
        ({"only": 1.0}, 1, 3),
        ({f"n{number}": 1.0 for number in range(300)}, 2**32 - 1, 64),
    ],
)
def test_the_table_agrees_with_the_definition(weights: dict[str, float], seed: int, points: int) -> None:
    ring, slow = HashRing(weights, seed=seed, points=points), SlowRing(weights, seed, points)
    choose = random.Random(1)
    keys = [b"key:%d" % number for number in range(3000)]
    keys += [b"a{%d}b{c}" % number for number in range(200)] + [b"{", b"}{", b"{}a", b"{{x}", b"{x", b"x}"]
    keys += [choose.randbytes(choose.randrange(1, 40)) for _ in range(1000)]
    assert [ring.owner(key) for key in keys] == [slow.owner(key) for key in keys]


@pytest.mark.parametrize("count", [4, 16])
@pytest.mark.parametrize("kind", ["shard-N", "hosts", "letters", "uuids"])
def test_keys_spread_evenly_and_move_little(count: int, kind: str) -> None:
    names = name_sets(count)[kind]
    keys = key_sets()["user:N" if count == 4 else "session/hex"]
    assert len(keys) >= 200_000
    seen = spread(names, keys, seed=count)
    assert seen.peak_to_mean <= (1.02 if count == 4 else 1.06)
    assert seen.moved <= 1.05
    assert seen.between_stayers == 0


def test_a_look_up_is_fast() -> None:
    keys = key_sets(50_000)["user:N"]
    assert look_up_time(HashRing(FOUR), keys) <= 0.4e-6
    tagged = [b"{user:%d}:cart" % number for number in range(50_000)]
    assert look_up_time(HashRing(FOUR), tagged) <= 0.6e-6


@pytest.mark.parametrize("weight", [0.5, 2.0, 3.0])
def test_weights_share_out_the_circle(weight: float) -> None:
    shares = HashRing({"a": 1.0, "b": 1.0, "c": weight}).shares()
    assert shares["c"] == pytest.approx(weight / (2 + weight), rel=0.02)
    assert sum(shares.values()) == pytest.approx(1)


def test_a_node_whose_weight_grows_only_gains_keys() -> None:
    before, after = HashRing({"a": 1.0, "b": 1.0}), HashRing({"a": 1.0, "b": 1.5})
    for number in range(20_000):
        key = b"key:%d" % number
        assert before.owner(key) == after.owner(key) or after.owner(key) == "b"


names_of_nodes = st.lists(st.text(min_size=1, max_size=8).filter(str.isprintable), min_size=2, max_size=6, unique=True)


@given(names_of_nodes, st.integers(0, 2**32 - 1), st.lists(st.binary(min_size=1, max_size=30), max_size=30), st.data())
def test_no_key_moves_between_nodes_that_stay(names: list[str], seed: int, keys: list[bytes], data: Any) -> None:
    leaver = data.draw(st.sampled_from(names))
    shuffled = data.draw(st.permutations(names))
    full = HashRing(shuffled, seed=seed, points=50)
    assert full.names == tuple(sorted(names))
    rest = HashRing([name for name in names if name != leaver], seed=seed, points=50)
    for key in keys:
        assert full.owner(key) in (rest.owner(key), leaver)


@given(
    st.binary(max_size=40),
    st.binary(min_size=1, max_size=10).filter(lambda tag: b"}" not in tag),
    st.binary(max_size=9),
)
def test_keys_with_the_same_tag_stay_together(head: bytes, tag: bytes, tail: bytes) -> None:
    head = head.replace(b"{", b"")
    assert hashed_part(head + b"{" + tag + b"}" + tail) == tag


@given(st.binary(max_size=40).filter(lambda key: b"{" not in key or b"}" not in key))
def test_a_key_without_a_tag_is_hashed_whole(key: bytes) -> None:
    assert hashed_part(key) == key


def test_a_ring_cannot_be_changed() -> None:
    ring = HashRing(FOUR)
    assert len(ring.table) == PLACES
    with pytest.raises(AttributeError):
        ring.seed = 5
    with pytest.raises(AttributeError):
        del ring.names


@pytest.mark.parametrize(
    "weights",
    [
        *([], {}, [""], ["a", "a"], "abc", ["\ud800"], [5]),
        *({"a": 0}, {"a": -1}, {"a": float("nan")}, {"a": float("inf")}, {"a": True}),
        *({"a": "1"}, {"a": 1e-9}, {"a": 10**400}),
    ],
)
def test_what_cannot_be_a_ring(weights: Any) -> None:
    with pytest.raises(ConfigurationError):
        HashRing(weights)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "1", True, None])
def test_what_cannot_be_a_seed(seed: Any) -> None:
    with pytest.raises(ConfigurationError):
        HashRing(FOUR, seed=seed)
