"""The checkers of counters: known histories, random ones of a real counter, and all orders tried for short ones."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.chaos.counts import check_bits, check_counts
from bench.chaos.exchanges import NO_ANSWER, Exchange, Kind

KEY = b"k"


def count(told: int | None, started: float, ended: float = 0.0, *, by: int = 1) -> Exchange:
    """An INCR; None: its outcome is unknown."""
    one = Exchange(0, KEY, Kind.COUNT, started, number=by)
    return one if told is None else replace(one, value=b"%d" % told, ended=ended, outcome="OK")


def read(told: int | None, started: float, ended: float) -> Exchange:
    """A READ of a number; None: a MISS."""
    value = None if told is None else b"%d" % told
    return Exchange(1, KEY, Kind.READ, started, value, ended=ended, outcome="MISS" if told is None else "OK")


GOOD = {
    "nothing": [],
    "absent": [read(None, 0, 1)],
    "one after the other": [count(1, 0, 1), read(1, 2, 3), count(2, 4, 5), read(2, 6, 7)],
    "beside each other, in any order": [count(2, 0, 9), count(1, 1, 8), count(3, 2, 7), read(0, 0, 3), read(3, 3, 9)],
    "unknown, in": [count(1, 0, 1), count(None, 2), count(3, 4, 5)],
    "unknown, in later": [count(1, 0, 1), count(None, 2), count(2, 4, 5), read(3, 6, 7)],
    "unknown, out": [count(1, 0, 1), count(None, 2), count(2, 4, 5), read(2, 6, 7)],
    "two of three unknown": [count(None, 0), count(None, 0), count(None, 0), read(1, 1, 2), count(3, 3, 4)],
    "a refusal is nothing": [replace(count(None, 0), outcome="DOWN"), read(None, 1, 2)],
    "at the same moment is beside": [count(2, 0, 1), count(1, 1, 2)],
}
BAD = {
    "told twice": [count(1, 0, 9), count(1, 1, 8)],
    "lost": [count(1, 0, 1), count(1, 2, 3)],
    "lost, seen by a reader": [count(1, 0, 1), read(None, 2, 3)],
    "out of time": [count(2, 0, 1), count(1, 2, 3)],
    "a reader goes back": [count(1, 0, 1), count(2, 2, 9), read(2, 3, 4), read(1, 5, 6)],
    "counted twice": [count(1, 0, 1), count(3, 2, 3)],
    "counted by nobody": [read(1, 0, 1)],
    "one unknown for two": [count(None, 0), count(3, 1, 2)],
    "unknown, begun too late": [count(2, 0, 1), count(None, 2), read(2, 3, 4)],
    "unknown, in and then out": [count(1, 0, 1), count(None, 2), read(2, 3, 4), read(1, 5, 6)],
    "unknown, the second begun too late": [count(None, 0), count(3, 1, 2), count(None, 3), read(3, 4, 5)],
    "none": [count(0, 0, 1)],
    "a refusal that counted": [replace(count(None, 0), outcome="DOWN"), read(1, 1, 2)],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name: str) -> None:
    assert has_an_order(GOOD[name])
    assert check_counts(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name: str) -> None:
    assert not has_an_order(BAD[name])
    (found,) = check_counts(BAD[name])
    assert found.key == KEY
    assert found.exchanges
    assert len(str(found).splitlines()) == 1 + len(found.exchanges)


BITS_GOOD = {
    "any order": [count(4, 0, 9, by=4), count(5, 0, 9, by=1), count(7, 0, 9, by=2), read(5, 3, 4)],
    "unknown, in": [count(None, 0, by=4), count(5, 1, 2, by=1), read(5, 3, 4)],
    "unknown, out": [count(None, 0, by=4), count(1, 1, 2, by=1)],
    "unknown, in later": [count(None, 0, by=4), count(1, 1, 2, by=1), count(7, 3, 4, by=2)],
    "the largest": [count(2**62, 0, 1, by=2**62), count(2**62 + 1, 2, 3)],
}
BITS_BAD = {
    "lost": [count(4, 0, 1, by=4), count(1, 2, 3, by=1)],
    "not in itself": [count(4, 0, 1, by=2)],
    "twice": [count(2, 0, 1, by=1)],
    "neither before the other": [count(5, 0, 9, by=4), count(5, 0, 9, by=1)],
    "by nobody": [count(5, 0, 1, by=4)],
    "out of time": [count(5, 0, 1, by=4), count(1, 2, 3, by=1)],
    "unknown, begun too late": [count(5, 0, 1, by=4), count(None, 2, by=1)],
    "unknown, in and then out": [count(None, 0, by=4), count(5, 1, 2, by=1), count(3, 3, 4, by=2)],
    "a refusal that counted": [replace(count(None, 0, by=4), outcome="LATE"), count(5, 1, 2, by=1)],
    "below none": [read(-1, 0, 1)],
}


@pytest.mark.parametrize("name", BITS_GOOD)
def test_good_histories_of_bits(name: str) -> None:
    assert has_an_order(BITS_GOOD[name])
    assert check_bits(BITS_GOOD[name]) == []


@pytest.mark.parametrize("name", BITS_BAD)
def test_bad_histories_of_bits(name: str) -> None:
    assert not has_an_order(BITS_BAD[name])
    assert len(check_bits(BITS_BAD[name])) == 1


# -- random histories


def has_an_order(history: Sequence[Exchange]) -> bool:
    """Every order of every choice of unknown counts is tried: for short histories only."""
    sure = [one for one in history if one.is_sure]
    perhaps = [one for one in history if not one.is_sure and one.outcome == NO_ANSWER]
    return any(
        _is_in_time(order) and _adds_up(order)
        for number in range(len(perhaps) + 1)
        for happened in itertools.combinations(perhaps, number)
        for order in itertools.permutations([*sure, *happened])
    )


def _is_in_time(order: Sequence[Exchange]) -> bool:
    return not any(later.ended < earlier.started for earlier, later in itertools.combinations(order, 2))


def _adds_up(order: Sequence[Exchange]) -> bool:
    number = 0
    for one in order:
        number += one.number
        if one.is_sure and int(one.value or b"0") != number:
            return False
    return True


def counter_history(dice: random.Random, length: int, *, bits: bool, unknown: float) -> list[Exchange]:
    """What clients see of a real counter; half of the unknown counts never happen, the others perhaps late."""
    planned = []
    for place in range(length):
        started = dice.random() * length
        ended = started + dice.random() * 4
        is_read = dice.random() < 0.3
        is_unknown = not is_read and dice.random() < unknown
        moment = started + dice.random() * (ended - started)
        if is_unknown:
            moment = started + dice.random() * 10 if dice.random() < 0.5 else float("inf")
        planned.append((moment, place, started, ended, is_read, is_unknown))
    number, history = 0, []
    for moment, place, started, ended, is_read, is_unknown in sorted(planned):
        by = 1 << place if bits else 1
        if is_read:
            history.append(read(number or None, started, ended))
            continue
        number += by if moment < float("inf") else 0
        history.append(count(None if is_unknown else number, started, ended, by=by))
    return history


HISTORIES = st.tuples(st.integers(0, 1 << 32), st.booleans(), st.sampled_from([0.0, 0.3, 0.7]))


@settings(max_examples=200)
@given(drawn=HISTORIES, length=st.integers(1, 6))
def test_short_histories_with_another_answer_are_judged_as_by_trying_all_orders(
    drawn: tuple[int, bool, float], length: int
) -> None:
    seed, bits, unknown = drawn
    dice = random.Random(seed)
    check = check_bits if bits else check_counts
    history = counter_history(dice, length, bits=bits, unknown=unknown)
    assert check(history) == []
    place = dice.randrange(length)
    if history[place].is_sure:
        history[place] = replace(history[place], value=b"%d" % dice.choice((1, 2, 3, 5, 7, 32)))
    assert has_an_order(history) == (check(history) == [])


@settings(max_examples=50)
@given(drawn=HISTORIES)
def test_what_a_real_counter_tells_is_explained(drawn: tuple[int, bool, float]) -> None:
    seed, bits, unknown = drawn
    check = check_bits if bits else check_counts
    assert check(counter_history(random.Random(seed), 60, bits=bits, unknown=unknown)) == []
