"""One update: what it asks for next, when it waits, and when it gives up."""

from __future__ import annotations

from typing import Any

import pytest

from wireproto.core.calls import Calls
from wireproto.core.codec import Codec
from wireproto.core.results import Versioned
from wireproto.core.update import Update
from wireproto.errors import ArgumentError, ConflictError, DeadlineError, Effect

RAW: Calls[bytes] = Calls(None)


def update(attempts: int = 16, deadline: float = 100.0, **storing: Any) -> Update[bytes]:
    return Update(RAW, "k", attempts, deadline, **storing)


def test_what_was_there_is_written_only_over_the_version_that_was_read() -> None:
    changing = update(ex=60, sync=1)
    assert changing.reading.request == b"READ 1:k ttl ver\n"
    assert changing.note(Versioned(b"v", None, "a")) == b"v"
    assert changing.writing(b"w").request == b"WRITE 1:k 1:w ex=60 sync=1 ver=a\n"
    assert not changing.writing(b"w").kind.harmless


def test_what_was_not_there_is_written_only_if_it_still_is_not() -> None:
    changing = update(keepttl=True)
    assert changing.note(None) is None
    assert changing.writing(b"w").request == b"WRITE 1:k 1:w keepttl nx\n"


def test_each_round_goes_by_what_it_has_read_itself() -> None:
    changing = update()
    changing.note(Versioned(b"v", None, "a"))
    changing.note(None)
    assert changing.writing(b"w").request == b"WRITE 1:k 1:w nx\n"
    changing.note(Versioned(b"x", 5.0, "b"))
    assert changing.writing(b"w").request == b"WRITE 1:k 1:w ver=b\n"


def test_a_value_that_is_none_is_there() -> None:
    json: Calls[Any] = Calls(Codec.json())
    changing: Update[Any] = Update(json, "k", 1, 100.0)
    assert changing.note(Versioned(None, None, "a")) is None
    assert changing.writing([]).request == b"WRITE 1:k 2:[] ver=a\n"


def test_the_delays_grow_and_are_random_from_0() -> None:
    changing = update(attempts=100)
    longest = [changing.delay(0.0, 0.999_999) for _ in range(12)]
    assert longest == sorted(longest)
    assert 0.004 < longest[0] < 0.01
    assert 0.9 < longest[-1] <= 1.0
    assert changing.delay(0.0, 0.0) == 0.0


def test_it_gives_up_after_so_many_attempts() -> None:
    changing = update(attempts=3)
    changing.delay(0.0, 0.5)
    changing.delay(0.0, 0.5)
    with pytest.raises(ConflictError, match="3 times in a row") as caught:
        changing.delay(0.0, 0.5)
    assert caught.value.took_effect is Effect.NO
    with pytest.raises(ConflictError):
        update(attempts=1).delay(0.0, 0.5)


def test_it_gives_up_when_the_time_would_be_used_up() -> None:
    changing = update(deadline=10.0)
    assert changing.time_left(9.0) == 1.0
    changing.delay(9.99, 0.1)
    with pytest.raises(ConflictError, match="2 times in a row"):
        changing.delay(9.999, 0.999)


def test_a_value_that_was_made_too_late_is_not_written() -> None:
    changing = update(deadline=10.0)
    for now in (10.0, 11.0):
        with pytest.raises(DeadlineError, match="not written") as caught:
            changing.time_left(now)
        assert caught.value.took_effect is Effect.NO


@pytest.mark.parametrize("attempts", [0, -1, True, 1.5, "3", None])
def test_attempts_are_a_number(attempts: Any) -> None:
    with pytest.raises(ArgumentError, match="attempts"):
        update(attempts=attempts)


@pytest.mark.parametrize("storing", [{"ex": 0}, {"ex": 1, "px": 1}, {"sync": 9}, {"stale": 5}])
def test_what_cannot_be_stored_is_refused_before_anything_is_read(storing: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        update(**storing)
    with pytest.raises(ArgumentError):
        Update(RAW, "", 1, 100.0)
