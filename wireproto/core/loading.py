"""Find a value, or have it loaded by one of those who want it: what is done next, and what comes of it.

    finding: everybody                       filling: whoever has the lease

    Join     a load in this process?         Load      ─> a value, None, an error
      │ none                                 Close     nobody joins any more
    Read     with a lease ──> a value        Store     ─> stored, or CONFLICT
      │ a lease       │ held                 GiveBack  if there is nothing to store
    Fill            Pause, and again

Both are generators of steps (see `steps`), so that the clients differ only in how they wait. The clock and the dice are
arguments.

What the callers of one process share is the load, not the read: each asks the cache for itself, unless a load is under
way for a key that has no value. That makes it safe to share. Whoever joins a load does so before its WRITE is sent
(`Close`), and the WRITE is done only if nobody has changed the key since the lease was given, which was before the load
began. So nobody gets what was loaded before a DELETE that he has seen answered. If the WRITE is a CONFLICT, whoever has
loaded the value returns it, as fresh as a read without a cache, and those who have joined ask again.

A load without a lease (because the cache fails, or patience is over) is not stored. It too is shared by those who come
while it runs: a cache that is down must not send everybody to what is behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias, TypeVar

from wireproto.core.codec import ABSENT
from wireproto.core.load_steps import (
    Close,
    Fill,
    FillStep,
    FillWithoutLease,
    FindStep,
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
from wireproto.core.results import Leased
from wireproto.errors import (
    ArgumentError,
    AuthError,
    CorruptError,
    DeniedError,
    Effect,
    ExpiredError,
    RequestError,
    VerbError,
    WireprotoError,
)

S = TypeVar("S")
Steps: TypeAlias = Generator[S, Any, Landing[Any]]

FIRST_PAUSE: Final = 0.004
LONGEST_PAUSE: Final = 0.25
"""Seconds between two looks at a key that another loads. They double: a look comes late by about as much as the load
has taken, or by the longest."""
_PART_OF_HELD: Final = 0.25
_MUST_BE_SEEN: Final = (ArgumentError, VerbError, AuthError, ExpiredError, DeniedError)
"""What neither waiting nor loading mends: the program, or what it logs in with, is wrong."""


def pause_before_look(looks: int, held: float | None, random: float) -> float:
    """Seconds until the next look at a key that another loads, and has the lease of for `held` seconds at most.

    `random` is from 0 up to 1: half of the pause is left to it, so that those who wait do not look all at once.
    """
    longest = LONGEST_PAUSE if held is None else min(LONGEST_PAUSE, max(held * _PART_OF_HELD, 0.001))
    return min(longest, FIRST_PAUSE * 2.0 ** min(looks, 16)) * (0.5 + random / 2)


def finding(
    terms: LoadTerms, patience: float, clock: Callable[[], float], dice: Callable[[], float]
) -> Steps[FindStep]:
    """Find the value, or load it. It waits `patience` seconds for the load of another, and for a second one as long."""
    until = clock() + patience
    looks = 0
    has_removed = False
    vain: object | None = None
    while True:
        left = until - clock()
        joined: Joined | None = (yield Join(left)) if left > 0 else None
        if joined is not None:
            if joined.landing is None:
                vain = joined.flight
                break
            if joined.landing.is_current:
                return joined.landing
            continue
        try:
            found: Leased[Any] = yield Read(terms.draw_early(dice()))
        except _MUST_BE_SEEN:
            raise
        except CorruptError:
            # Removed, not overwritten: only what was loaded with a lease is surely not older than the last change.
            if has_removed:
                break
            has_removed = True
            yield from _attempt(Remove())
            continue
        except RequestError:
            break
        if found.lease is not None:
            landing: Landing[Any] = yield Fill(found)
            return landing
        if found.found:
            return Landing(_without_marker(found.value))
        if left <= 0:
            break
        yield Pause(min(left, pause_before_look(looks, found.held, dice())))
        looks += 1
    return (yield from _without_lease(vain, clock() + patience, clock))


def _without_lease(vain: object | None, until: float, clock: Callable[[], float]) -> Steps[FindStep]:
    """Load the value although there is no lease; or share the load of another who does, until a time."""
    while (left := until - clock()) > 0:
        joined: Landing[Any] | None = yield FillWithoutLease(vain, left)
        if joined is None:
            break
        if joined.is_current:
            return joined
    own: Landing[Any] = yield FillWithoutLease(None, None)
    return own


def filling(terms: LoadTerms, found: Leased[Any] | None) -> Steps[FillStep]:
    """Load the value, and store it if `found` has a lease. Where the loader fails, an old value is good enough."""
    lease = None if found is None else found.lease
    try:
        value = yield Load()
    except GeneratorExit:
        raise
    except BaseException as error:
        yield from _give_back(lease)
        if not isinstance(error, Exception):
            raise
        if found is not None and found.found:
            return Landing(_without_marker(found.value))
        return Landing(error=error, trace=error.__traceback__)
    if found is None or lease is None:
        return Landing(value)
    yield Close()
    if value is None and not terms.missing_ttl:
        is_current = (yield from _attempt(GiveBack(lease))) is not False
        if found.found and is_current:
            # It must not be served any longer, stale or not; but what another has written meanwhile is not gone.
            yield from _attempt(Remove())
        return Landing(is_current=is_current)
    try:
        is_current = yield StoreAbsence(lease) if value is None else Store(value, lease)
    except GeneratorExit:
        raise
    except RequestError as error:
        if error.took_effect is Effect.NO:
            yield from _give_back(lease)
        if isinstance(error, _MUST_BE_SEEN):
            return Landing(error=error, trace=error.__traceback__)
        return Landing(value)  # not stored, be it that the cache fails or that the value is too big for it
    except BaseException:
        yield from _give_back(lease)
        raise
    return Landing(value, is_current=is_current)


def _give_back(lease: str | None) -> Generator[FillStep, Any, None]:
    """Where that fails, the lease ends with its time."""
    if lease is not None:
        yield from _attempt(GiveBack(lease))


def _attempt(step: GiveBack | Remove) -> Generator[Any, Any, bool | None]:
    """What came of it; None if it failed."""
    try:
        return bool((yield step))
    except WireprotoError:
        return None


def _without_marker(value: Any) -> Any:
    """Without a codec, the marker that says that there is nothing comes as it is."""
    return None if isinstance(value, bytes) and value == ABSENT else value
