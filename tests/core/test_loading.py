"""What is done next to find a value or to load it, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto import errors
from wireproto.core.codec import ABSENT
from wireproto.core.load_steps import (
    ABANDONED,
    Close,
    Fill,
    FillWithoutLease,
    GiveBack,
    Join,
    Joined,
    Landing,
    Load,
    Pause,
    Read,
    Remove,
    Store,
    StoreAbsence,
)
from wireproto.core.load_terms import LoadTerms
from wireproto.core.loading import FIRST_PAUSE, LONGEST_PAUSE, filling, finding, pause_before_look
from wireproto.core.results import Leased
from wireproto.errors import ArgumentError, BusyError, ConfigurationError, CorruptError, LostError, NodeDownError

TERMS = LoadTerms(ttl=60)
HIT: Leased[Any] = Leased(b"v", True, False, None, None)
STALE: Leased[Any] = Leased(b"old", True, True, None, 5.0)
WON: Leased[Any] = Leased(None, False, False, "x1", None)
WON_STALE: Leased[Any] = Leased(b"old", True, True, "x1", None)
HELD: Leased[Any] = Leased(None, False, False, None, 5.0)
FLIGHT, ANOTHER = object(), object()


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Play:
    """Plays the shell: answers each step as the test says."""

    def __init__(self, steps: Generator[Any, Any, Landing[Any]]) -> None:
        self._steps = steps
        self.landing: Landing[Any] | None = None
        self.step: Any = None
        self._move(lambda: next(steps))

    def answer(self, value: Any) -> Play:
        return self._move(lambda: self._steps.send(value))

    def fail(self, error: BaseException) -> Play:
        return self._move(lambda: self._steps.throw(error))

    def _move(self, move: Any) -> Play:
        assert self.landing is None
        try:
            self.step = move()
        except StopIteration as end:
            self.step, self.landing = None, end.value
        return self


def found_by(clock: Clock | None = None, terms: LoadTerms = TERMS, patience: float = 10.0) -> Play:
    return Play(finding(terms, patience, clock or Clock(), lambda: 0.0))


def filled(terms: LoadTerms = TERMS, found: Leased[Any] | None = WON) -> Play:
    return Play(filling(terms, found))


# -- those who want the value


def test_a_value_is_read_and_returned() -> None:
    play = found_by()
    assert play.step == Join(10.0)
    assert play.answer(None).step == Read(None)
    assert play.answer(HIT).landing == Landing(b"v")


def test_a_stale_value_that_another_loads_anew_is_returned_at_once() -> None:
    assert found_by().answer(None).answer(STALE).landing == Landing(b"old")


def test_whoever_gets_the_lease_fills_and_returns_what_came_of_it() -> None:
    play = found_by().answer(None).answer(WON)
    assert play.step == Fill(WON)
    landing: Landing[Any] = Landing(b"v", is_current=False)
    assert play.answer(landing).landing is landing


def test_whoever_joins_a_load_gets_what_came_of_it_unless_the_key_was_changed_meanwhile() -> None:
    assert found_by().answer(Joined(FLIGHT, Landing(b"v"))).landing == Landing(b"v")
    failed: Landing[Any] = Landing(error=KeyError("k"))
    assert found_by().answer(Joined(FLIGHT, failed)).landing is failed
    for landing in (Landing(b"old", is_current=False), ABANDONED):
        play = found_by().answer(Joined(FLIGHT, landing))
        assert play.step == Join(10.0)
        assert play.answer(None).answer(HIT).landing == Landing(b"v")


def test_a_key_that_another_process_loads_is_looked_at_again_after_growing_pauses() -> None:
    clock = Clock()
    play = found_by(clock).answer(None)
    pauses = []
    for _ in range(200):
        assert play.step == Read(None)
        assert isinstance(play.answer(HELD).step, Pause)
        pauses.append(play.step.seconds)
        clock.now += play.step.seconds
        if play.answer(None).step.seconds < 2 * LONGEST_PAUSE:
            break
        play.answer(None)
    assert pauses[0] == FIRST_PAUSE / 2
    assert pauses == sorted(pauses)
    assert max(pauses) == LONGEST_PAUSE / 2
    assert play.answer(None).answer(HIT).landing == Landing(b"v")


def test_at_the_end_of_its_patience_a_caller_loads_the_value_itself() -> None:
    clock = Clock()
    play = found_by(clock).answer(None).answer(HELD)
    clock.now += 10.0
    assert play.answer(None).step == Read(None), "a last look"
    assert play.answer(HELD).step == FillWithoutLease(None, 10.0)
    assert play.answer(Landing(b"v")).landing == Landing(b"v")


def test_a_load_that_takes_too_long_is_joined_once_more_at_most() -> None:
    clock = Clock()
    play = found_by(clock)
    clock.now += 10.0
    assert play.answer(Joined(FLIGHT, None)).step == FillWithoutLease(FLIGHT, 10.0)
    clock.now += 10.0
    assert play.answer(None).step == FillWithoutLease(None, None)
    assert play.answer(Landing(b"v")).landing == Landing(b"v")


def test_a_load_without_a_lease_that_was_abandoned_is_taken_over() -> None:
    clock = Clock()
    play = found_by(clock).answer(None).fail(NodeDownError())
    clock.now += 4.0
    assert play.answer(ABANDONED).step == FillWithoutLease(None, 6.0)
    clock.now += 6.0
    assert play.answer(ABANDONED).step == FillWithoutLease(None, None)


def test_without_patience_nobody_waits() -> None:
    play = found_by(patience=0.0)
    assert play.step == Read(None)
    assert play.answer(HELD).step == FillWithoutLease(None, None)


@pytest.mark.parametrize("code", ["BUSY", "DOWN", "LATE", "TIMEOUT", "LOST", "LIMIT", "CLOSING", "INTERNAL", "PROTO"])
def test_a_cache_that_fails_is_passed_by(code: str) -> None:
    play = found_by().answer(None).fail(errors.BY_CODE[code]())
    assert play.step == FillWithoutLease(None, 10.0)


@pytest.mark.parametrize("code", ["ARG", "VERB", "AUTH", "EXPIRED", "DENIED"])
def test_what_the_program_has_to_see_is_raised(code: str) -> None:
    play = found_by().answer(None)
    with pytest.raises(errors.BY_CODE[code]):
        play.fail(errors.BY_CODE[code]())
    play = found_by().answer(None)
    with pytest.raises(ConfigurationError):
        play.fail(ConfigurationError("closed"))


@pytest.mark.parametrize("removed", [True, NodeDownError(), errors.DeniedError()])
def test_a_value_that_nobody_can_read_is_removed_and_loaded_anew(removed: Any) -> None:
    play = found_by().answer(None).fail(CorruptError())
    assert play.step == Remove()
    play = play.fail(removed) if isinstance(removed, Exception) else play.answer(removed)
    assert play.step == Join(10.0)
    play.answer(None)
    assert play.fail(CorruptError()).step == FillWithoutLease(None, 10.0), "only once"


def test_what_says_that_there_is_nothing_is_none_with_a_codec_and_without() -> None:
    for value in (None, ABSENT):
        found: Leased[Any] = Leased(value, True, False, None, None)
        assert found_by().answer(None).answer(found).landing == Landing(None)


# -- the one who loads it


def test_what_was_loaded_is_stored_when_nobody_may_join_any_more() -> None:
    play = filled()
    assert play.step == Load()
    assert play.answer(b"v").step == Close()
    assert play.answer(None).step == Store(b"v", "x1")
    assert play.answer(True).landing == Landing(b"v")
    assert filled().answer(b"v").answer(None).answer(False).landing == Landing(b"v", is_current=False)


def test_what_was_loaded_without_a_lease_is_not_stored() -> None:
    assert filled(found=None).answer(b"v").landing == Landing(b"v")
    error = KeyError("k")
    assert filled(found=None).fail(error).landing == Landing(error=error)


def test_where_there_is_nothing_the_lease_is_given_back_or_that_is_remembered() -> None:
    play = filled().answer(None).answer(None)
    assert play.step == GiveBack("x1")
    assert play.answer(True).landing == Landing(None)
    assert filled().answer(None).answer(None).answer(False).landing == Landing(None, is_current=False)
    play = filled(LoadTerms(ttl=60, missing_ttl=5)).answer(None).answer(None)
    assert play.step == StoreAbsence("x1")
    assert play.answer(True).landing == Landing(None)


def test_what_is_gone_is_not_served_stale() -> None:
    play = filled(found=WON_STALE).answer(None).answer(None)
    assert play.step == GiveBack("x1")
    assert play.answer(True).step == Remove()
    assert play.answer(True).landing == Landing(None)
    assert filled(found=WON_STALE).answer(None).answer(None).fail(NodeDownError()).step == Remove()


def test_what_another_has_written_is_not_removed_where_the_loader_found_nothing() -> None:
    play = filled(found=WON_STALE).answer(None).answer(None).answer(False)
    assert play.landing == Landing(None, is_current=False)


@pytest.mark.parametrize("given_back", [True, NodeDownError(), errors.DeniedError()])
def test_the_loaders_error_is_raised_and_the_lease_given_back(given_back: Any) -> None:
    error = StopIteration("even this one")
    play = filled().fail(error)
    assert play.step == GiveBack("x1")
    play = play.fail(given_back) if isinstance(given_back, Exception) else play.answer(given_back)
    assert play.landing == Landing(error=error)
    with pytest.raises(StopIteration):
        play.landing.result()


def test_an_error_that_many_raise_does_not_grow() -> None:
    def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError) as caught:
        fail()
    landing = filled().fail(caught.value).answer(True).landing
    assert landing is not None
    depths = set()
    for _ in range(3):
        with pytest.raises(KeyError) as raised:
            landing.result()
        depths.add(len(raised.traceback))
    assert len(depths) == 1


def test_an_old_value_is_good_enough_when_the_loader_fails() -> None:
    assert filled(found=WON_STALE).fail(KeyError("k")).answer(True).landing == Landing(b"old")
    early: Leased[Any] = Leased(b"v", True, False, "x1", None)
    assert filled(found=early).fail(KeyError("k")).answer(True).landing == Landing(b"v")
    marker: Leased[Any] = Leased(ABSENT, True, False, "x1", None)
    assert filled(found=marker).fail(KeyError("k")).answer(True).landing == Landing(None)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), asyncio.CancelledError(), SystemExit()])
@pytest.mark.parametrize("at", ["load", "store"])
def test_a_load_that_is_cut_short_gives_the_lease_back(interruption: BaseException, at: str) -> None:
    play = filled() if at == "load" else filled().answer(b"v").answer(None)
    assert play.fail(interruption).step == GiveBack("x1")
    with pytest.raises(type(interruption)):
        play.answer(True)


def test_a_load_that_is_dropped_does_nothing_more() -> None:
    for steps in (filling(TERMS, WON), filling(TERMS, WON)):
        next(steps)
        steps.close()
    steps = filling(TERMS, WON)
    next(steps)
    steps.send(b"v")
    steps.send(None)
    steps.close()


def test_a_value_that_cannot_be_stored_is_returned_all_the_same() -> None:
    for error in (BusyError(), errors.TooBigError(), errors.LimitError()):
        play = filled().answer(b"v").answer(None).fail(error)
        assert play.step == GiveBack("x1"), "nothing was stored: the others need not wait"
        assert play.answer(True).landing == Landing(b"v")
    for maybe in (LostError(), errors.NotReplicatedError()):
        assert filled().answer(b"v").answer(None).fail(maybe).landing == Landing(b"v")


def test_a_value_that_no_codec_takes_is_its_programs_fault() -> None:
    error = ArgumentError()
    play = filled().answer(object()).answer(None).fail(error)
    assert play.step == GiveBack("x1")
    assert play.answer(True).landing == Landing(error=error)


@given(looks=st.integers(0, 10**6), held=st.none() | st.floats(0, 3600), random=st.floats(0, 1, exclude_max=True))
def test_pauses_are_bounded(looks: int, held: float | None, random: float) -> None:
    pause = pause_before_look(looks, held, random)
    assert 0 < pause <= LONGEST_PAUSE
    assert held is None or pause <= max(held, 0.001)
