"""Requests follow from numbers and a seed alone, and are as popular, as long and as often reads as was asked for."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from bench.dialects import DIALECTS
from bench.script import make_script
from bench.workload import ValueSizes, Workload


def drawn(workload: Workload, count: int = 50_000, stream: int = 0) -> list[tuple[bool, int]]:
    return list(itertools.islice(workload.requests(stream), count))


@pytest.mark.parametrize("popularity", ["uniform", "zipf"])
def test_the_same_seed_makes_the_same_requests_and_another_others(popularity: str) -> None:
    assert drawn(Workload(popularity=popularity), 500) == drawn(Workload(popularity=popularity), 500)
    assert drawn(Workload(popularity=popularity), 500) != drawn(Workload(popularity=popularity, seed=2), 500)
    assert drawn(Workload(popularity=popularity), 500) != drawn(Workload(popularity=popularity), 500, stream=1)


def test_zipf_gives_each_rank_its_weight() -> None:
    workload = Workload(keys=1000, popularity="zipf", zipf_exponent=1.0)
    seen = [count for _, count in Counter(number for _, number in drawn(workload, 200_000)).most_common()]
    total = sum(1 / rank for rank in range(1, 1001))
    for rank in (1, 2, 5, 10, 50):
        assert seen[rank - 1] == pytest.approx(200_000 / rank / total, rel=0.1)


def test_uniform_gives_each_key_the_same() -> None:
    seen = Counter(number for _, number in drawn(Workload(keys=100)))
    assert len(seen) == 100
    assert max(seen.values()) < 1.3 * min(seen.values())


def test_only_the_chosen_keys_are_asked_for() -> None:
    for popularity in ("uniform", "zipf"):
        workload = Workload(popularity=popularity, only=(3, 5, 8))
        assert {number for _, number in drawn(workload, 1000)} == {3, 5, 8}


def test_the_read_share_is_kept() -> None:
    reads = sum(is_read for is_read, _ in drawn(Workload(read_share=0.9)))
    assert reads / 50_000 == pytest.approx(0.9, abs=0.01)


def test_values_have_the_lengths_asked_for_and_name_their_key() -> None:
    workload = Workload(sizes=ValueSizes.parse("100:0.9,2000:0.1"))
    values = [workload.value(number) for number in range(5000)]
    assert Counter(map(len, values))[2000] / 5000 == pytest.approx(0.1, abs=0.02)
    assert len(set(values)) == 5000
    assert values[7] == workload.value(7)
    assert Workload(sizes=ValueSizes.parse("0")).value(1) == b""


@pytest.mark.parametrize("text", ["", "x", "-1", "10:0", "10:-1,5:1"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ValueSizes.parse(text)


def test_a_script_repeats_and_knows_its_offsets() -> None:
    script = make_script(Workload(sizes=ValueSizes.parse("10:0.5,300:0.5")), DIALECTS["resp"], 0, depth=50)
    assert script.count % 50 == 0
    end = script.reply_offsets[-1]
    assert script.replies_before(0) == 0
    assert script.replies_before(script.reply_position(17) - 1) == 16
    assert script.replies_before(end) == script.count
    assert script.replies_before(end + script.reply_offsets[3]) == script.count + 3
    assert script.expected(end - 5, 12) == script.replies[-5:] + script.replies[:7]
    over_the_end = b"".join(script.request_slice(script.count - 1, 2))
    assert over_the_end == bytes(script.requests[script.request_offsets[-2] :]) + bytes(
        script.requests[: script.request_offsets[1]]
    )
