"""The linearizability checker: known histories, random ones of a real register, and all orders tried for short ones."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.chaos.linearizability import Operation, check
from tests.chaos.histories import (
    KEY,
    atomic_history,
    delete,
    has_an_order,
    read,
    with_one_other_answer,
    write,
)

GOOD = {
    "nothing": [],
    "absent at first": [read(None, 0, 1)],
    "one after the other": [write("a", 0, 1), read("a", 2, 3), write("b", 4, 5), read("b", 6, 7)],
    "a read beside a write sees the old": [write("a", 0, 1), write("b", 2, 5), read("a", 3, 4)],
    "a read beside a write sees the new": [write("a", 0, 1), write("b", 2, 5), read("b", 3, 4)],
    "at the same moment is beside": [write("a", 0, 1), read(None, 1, 2)],
    "two writes beside each other, the later begun one first": [
        write("a", 0, 4),
        write("b", 1, 3, client=1),
        read("a", 5, 6),
    ],
    "unknown, seen later": [write("a", 0, 1), write("b", 2, 3, unknown=True), read("a", 4, 5), read("b", 8, 9)],
    "unknown, never seen": [write("a", 0, 1), write("b", 2, 3, unknown=True), read("a", 4, 5), read("a", 8, 9)],
    "unknown, after a later write": [
        write("a", 0, 1, unknown=True),
        write("b", 2, 3),
        read("b", 4, 5),
        read("a", 6, 7),
    ],
    "a delete finds one": [write("a", 0, 1), delete(True, 2, 3), read(None, 4, 5)],
    "a delete finds none": [delete(False, 0, 1), write("a", 2, 3), read("a", 4, 5)],
    "two deletes beside each other, one finds one": [
        write("a", 0, 1),
        delete(True, 2, 5),
        delete(False, 3, 4, client=3),
    ],
    "a delete finds what a write of unknown outcome left": [write("a", 0, 1, unknown=True), delete(True, 2, 3)],
    "two deletes find what two such writes left": [
        write("a", 0, 1, unknown=True),
        write("b", 0, 1, unknown=True),
        delete(True, 2, 3),
        delete(True, 4, 5),
    ],
    "a delete of unknown outcome happens late": [
        write("a", 0, 1),
        delete(None, 2, 3, unknown=True),
        read("a", 4, 5),
        read(None, 6, 7),
    ],
    "a delete of unknown outcome never happens": [write("a", 0, 1), delete(None, 2, 3, unknown=True), read("a", 4, 5)],
    "a delete that tells nothing": [write("a", 0, 1), delete(None, 2, 3), read(None, 4, 5)],
    "a read of unknown outcome is nothing": [
        write("a", 0, 1),
        Operation(1, KEY, "read", b"anything", 2, 3, "unknown"),
    ],
}

BAD = {
    "stale read": [write("a", 0, 1), write("b", 2, 3), read("a", 4, 5)],
    "lost write": [write("a", 0, 1), read(None, 2, 3)],
    "never written": [write("a", 0, 1), read("x", 2, 3)],
    "read before it was written": [read("a", 0, 1), write("a", 2, 3)],
    "a read goes back": [write("a", 0, 1), write("b", 2, 9), read("b", 3, 4), read("a", 5, 6)],
    "readers see two writes in both orders": [
        write("a", 0, 9),
        write("b", 0, 9, client=1),
        read("a", 1, 2),
        read("b", 3, 4),
        read("a", 5, 6),
    ],
    "unknown, seen and then un-seen": [
        write("a", 0, 1),
        write("b", 2, 3, unknown=True),
        read("b", 4, 5),
        read("a", 6, 7),
    ],
    "a delete finds one where there is none": [delete(True, 0, 1)],
    "a delete finds none where there is one": [write("a", 0, 1), delete(False, 2, 3)],
    "two deletes find the same one": [write("a", 0, 1), delete(True, 2, 5), delete(True, 3, 4, client=3)],
    "deleted and back again": [write("a", 0, 1), delete(True, 2, 3), read("a", 4, 5)],
    "there after a delete that tells nothing": [write("a", 0, 1), delete(None, 2, 3), read("a", 4, 5)],
    "one write of unknown outcome for two deletes": [
        write("a", 0, 1, unknown=True),
        delete(True, 2, 3),
        delete(True, 4, 5),
    ],
    "a write of unknown outcome was begun too late": [delete(True, 0, 1), write("a", 2, 3, unknown=True)],
    "a delete of unknown outcome was begun too late": [
        write("a", 0, 1),
        read(None, 2, 3),
        delete(None, 4, 5, unknown=True),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name: str) -> None:
    assert has_an_order(GOOD[name])
    assert check(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name: str) -> None:
    assert not has_an_order(BAD[name])
    (violation,) = check(BAD[name])
    assert violation.key == KEY
    assert not violation.undecided
    assert not has_an_order(violation.operations)  # what is shown is a reason by itself
    assert len(str(violation).splitlines()) == 1 + len(violation.operations)


def test_a_key_may_have_a_value_at_first() -> None:
    seen = [read("old", 0, 1), write("a", 2, 3), read("a", 4, 5)]
    assert check(seen, initial={KEY: b"old"}) == []
    assert len(check(seen)) == 1
    assert len(check([*seen, read("old", 6, 7)], initial={KEY: b"old"})) == 1
    assert check([delete(True, 0, 1), read(None, 2, 3)], initial={KEY: b"old"}) == []
    assert len(check([read(None, 0, 1)], initial={KEY: b"old"})) == 1


def test_values_must_be_written_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        check([write("a", 0, 1), write("a", 2, 3)])
    with pytest.raises(ValueError, match="twice"):
        check([write("a", 0, 1)], initial={KEY: b"a"})


def test_keys_are_checked_by_themselves() -> None:
    other = Operation(0, b"other", "read", None, 4, 5)
    (violation,) = check([*BAD["stale read"], other])
    assert violation.key == KEY
    assert other not in violation.operations


SHORT_HISTORIES = st.builds(
    lambda seed, count, clients, unknown: atomic_history(random.Random(seed), count, clients=clients, unknown=unknown),
    st.integers(0, 1 << 32),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.3, 0.7]),
)


@settings(max_examples=150)
@given(history=SHORT_HISTORIES, seed=st.integers(0, 1 << 32))
def test_short_histories_with_another_answer_are_judged_as_by_trying_all_orders(
    history: list[Operation], seed: int
) -> None:
    assert check(history) == []
    changed = with_one_other_answer(random.Random(seed), history)
    found = check(changed)
    assert has_an_order(changed) == (found == [])
    for violation in found:
        assert not has_an_order(violation.operations)


@st.composite
def any_short_history(draw: st.DrawFn) -> list[Operation]:
    """Operations at any times with any answers, most of which no register gives."""
    history = []
    for number in range(draw(st.integers(1, 6))):
        started = draw(st.integers(0, 8))
        ended = started + draw(st.integers(0, 5))
        kind, unknown = draw(st.sampled_from("rwd")), draw(st.booleans())
        if kind == "w":
            history.append(write(f"v{number}", started, ended, unknown=unknown))
        elif kind == "r":
            history.append(read(draw(st.sampled_from([None, "v0", "v1", "v2", "old"])), started, ended))
        else:
            existed = None if unknown else draw(st.sampled_from([True, False, None]))
            history.append(delete(existed, started, ended, unknown=unknown))
    return history


@settings(max_examples=300)
@given(history=any_short_history(), initial=st.sampled_from([None, b"old"]))
def test_any_short_history_is_judged_as_by_trying_all_orders(history: list[Operation], initial: bytes | None) -> None:
    found = check(history, initial={} if initial is None else {KEY: initial})
    assert has_an_order(history, initial) == (found == [])
    for violation in found:
        assert not violation.undecided


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1 << 32),
    clients=st.sampled_from([2, 8, 32]),
    kinds=st.sampled_from(["rw", "rrwd", "wd", "rrrrrw", "d"]),
    unknown=st.sampled_from([0.0, 0.05, 0.5]),
)
def test_what_a_real_register_shows_is_linearizable(seed: int, clients: int, kinds: str, unknown: float) -> None:
    assert check(atomic_history(random.Random(seed), 300, clients=clients, kinds=kinds, unknown=unknown)) == []


@pytest.mark.parametrize("name", BAD)
def test_the_reason_is_short_also_after_a_long_history(name: str) -> None:
    before = atomic_history(random.Random(1), 1500, clients=8, unknown=0.0)
    end = max(one.ended for one in before) + 2
    before.append(delete(None, end, end + 1))
    bad = [replace(one, started=end + 2 + one.started, ended=end + 2 + one.ended) for one in BAD[name]]
    (violation,) = check([*before, *bad])
    assert len(violation.operations) <= 12
    assert {one.started for one in bad} & {one.started for one in violation.operations}


def crowded(unknown_of_each: int) -> list[Operation]:
    """32 clients who write, read and delete one key all at once, with many operations of unknown outcome."""
    dice = random.Random(7)
    history = atomic_history(dice, 2000, clients=32, kinds="rrwwd", unknown=0.0)
    for number in range(unknown_of_each):
        moment = dice.random() * 100
        history.append(write(f"lost{number}", moment, moment + 1, unknown=True))
        history.append(delete(None, moment, moment + 1, unknown=True))
    return history


def test_many_unknown_outcomes_are_no_obstacle() -> None:
    assert check(crowded(50)) == []


def test_a_key_without_a_verdict_is_told() -> None:
    dice = random.Random(1)
    wrong = [replace(one, value=None) if one.kind == "read" and dice.random() < 0.3 else one for one in crowded(0)]
    (undecided,) = check(wrong, budget=1000)
    assert undecided.undecided
    assert "undecided" in str(undecided)
