"""Is what clients saw of each key what one register with versions and leases could have shown them?

As in `linearizability`, but of requests that hold only under a condition. A version is as good as the value that it is
of, since each value is written once, so the state of a key is a value and a lease.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.chaos.exchanges import Exchange, Kind, Unexplained, effective
from bench.chaos.order_search import OrderSearch
from wireproto.core.reply_wire import CONFLICT, MISS, OK

BUDGET: Final = 200_000
"""Steps of the search for one key, besides one for each exchange."""
SHOWN: Final = 12
SLACK: Final = 0.05
"""Seconds by which clocks may differ where a lease ends with its time."""


@dataclass(frozen=True, slots=True)
class State:
    """What a key holds: a value (None: it is absent), and the lease that is given."""

    value: bytes | None = None
    lease: str | None = None


ABSENT: Final = State()


class _ImpossibleError(Exception):
    """Exchanges that no order can explain, found without a search."""

    def __init__(self, reason: str, *about: Exchange) -> None:
        super().__init__(reason)
        self.about = about


def check_conditions(exchanges: Iterable[Exchange], *, budget: int = BUDGET) -> list[Unexplained]:
    """The keys, absent at first, whose histories are not explained, or undecided after so many steps.

    Raises ValueError when a value was written twice.
    """
    by_key: dict[bytes, list[Exchange]] = {}
    for one in effective(exchanges):
        by_key.setdefault(one.key, []).append(one)
    found = []
    for key, history in by_key.items():
        try:
            search = _search_of(history)
        except _ImpossibleError as impossible:
            found.append(Unexplained(key, str(impossible), _by_time(impossible.about)))
            continue
        verdict = search.run(len(history) + budget)
        if verdict is None:
            found.append(Unexplained(key, f"no verdict after {search.steps:,} steps", undecided=True))
        elif not verdict:
            found.append(_explained(key, history, budget))
    return found


def _search_of(history: Sequence[Exchange]) -> OrderSearch[Exchange, State]:
    """Raises _ImpossibleError when it is known that there is no order."""
    return OrderSearch(history, _Register(history).apply, _only_looks, ABSENT)


def _explained(key: bytes, history: Sequence[Exchange], budget: int) -> Unexplained:
    """The shortest beginning of a history that has no order, and its last part."""
    moments = sorted({one.ended for one in history if one.is_sure})
    low, high = 0, len(moments) - 1
    while low < high:
        middle = (low + high) // 2
        if _search_of(_until(history, moments[middle])).run(len(history) + budget) is False:
            high = middle
        else:
            low = middle + 1
    part = _until(history, moments[high])
    search = _search_of(part)
    search.run(len(part) + budget)
    shown = _by_time(part)[-SHOWN:]
    stuck = "; ".join(f"client {one.client}: {one.kind.value}" for one in search.stuck_at)
    return Unexplained(key, f"of the last {len(shown)} of {len(part)} these find no place: {stuck}", shown)


def _until(history: Sequence[Exchange], moment: float) -> list[Exchange]:
    """What was begun by then; what had no answer by then has an unknown outcome, and a read has none."""
    begun = [one for one in history if one.started <= moment]
    cut = [one if one.ended <= moment else replace(one, ended=math.inf) for one in begun]
    return [one for one in cut if one.is_sure or one.kind is not Kind.READ]


def _by_time(exchanges: Iterable[Exchange]) -> tuple[Exchange, ...]:
    return tuple(sorted(exchanges, key=lambda one: (one.started, one.ended)))


class _Register:
    """What each exchange does to a key. Raises _ImpossibleError for tokens that cannot be explained."""

    def __init__(self, history: Sequence[Exchange]) -> None:
        self._value_of = _values_of_versions(history)
        self._lease_ends = _ends_of_leases(history)
        self._effects: Mapping[Kind, Callable[[State, Exchange], State | None]] = {
            Kind.READ: self._read,
            **dict.fromkeys((Kind.WRITE, Kind.CREATE, Kind.SWAP), self._write),
            Kind.FILL: self._fill,
            Kind.DELETE: self._delete,
            Kind.REMOVE: self._remove,
            Kind.TAKE: self._take,
            Kind.GIVE_BACK: self._give_back,
        }
        # What is never answered matters only if it happens before something that is.
        self._horizon = max((one.ended for one in history if one.is_sure), default=0.0)

    def apply(self, state: State, one: Exchange) -> State | None:
        """The state afterwards; None if it was answered what it cannot be in this state."""
        return self._effects[one.kind](state, one)

    @staticmethod
    def _read(state: State, one: Exchange) -> State | None:
        return state if state.value == one.value else None

    def _write(self, state: State, one: Exchange) -> State | None:
        """A write, perhaps with a condition that a value must meet."""
        holds = True
        if one.kind is Kind.CREATE:
            holds = state.value is None
        elif one.kind is Kind.SWAP:
            holds = self._is_version_of(one.named, state.value)
        return _done(state, State(one.value), one, holds=holds)

    def _remove(self, state: State, one: Exchange) -> State | None:
        if state.value is None:
            return state if not one.is_sure or one.outcome == MISS else None
        return _done(state, ABSENT, one, holds=self._is_version_of(one.named, state.value))

    def _is_version_of(self, version: str | None, value: bytes | None) -> bool:
        return value is not None and version is not None and self._value_of.get(version) == value

    @staticmethod
    def _delete(state: State, one: Exchange) -> State | None:
        if not one.is_sure or one.outcome == (MISS if state.value is None else OK):
            return ABSENT
        # What it says of a key that had only a lease is left open.
        return ABSENT if one.outcome == OK and state.lease is not None else None

    # -- leases

    def _take(self, state: State, one: Exchange) -> State | None:
        if state.value is not None:
            return state if not one.is_sure or one.value == state.value else None
        may_hold, may_be_over = self._lease_at(state.lease, one)
        if not one.is_sure:
            return State(None, _unknown_lease(one)) if may_be_over else state
        if one.outcome != MISS:
            return None
        if one.told is None:
            return state if may_hold else None
        return State(None, one.told) if may_be_over else None

    def _fill(self, state: State, one: Exchange) -> State | None:
        return self._with_lease(state, State(one.value), one)

    def _give_back(self, state: State, one: Exchange) -> State | None:
        return self._with_lease(state, State(state.value), one)

    def _with_lease(self, state: State, after: State, one: Exchange) -> State | None:
        """What is done only if the named lease holds."""
        if state.lease != one.named:
            return _done(state, after, one, holds=False)
        may_hold, may_be_over = self._lease_at(state.lease, one)
        if one.is_sure and one.outcome == CONFLICT:
            return state if may_be_over else None
        return _done(state, after, one, holds=may_hold)

    def _lease_at(self, lease: str | None, one: Exchange) -> tuple[bool, bool]:
        """Whether the lease may hold, and whether it may be over, when something happens."""
        if lease is None:
            return False, True
        earliest, latest = self._lease_ends[lease]
        return one.started <= latest, min(one.ended, self._horizon) >= earliest


def _only_looks(one: Exchange) -> bool:
    """Whether its answer says that it has changed nothing."""
    if one.kind is Kind.TAKE:
        return not one.is_granted
    return one.kind is Kind.READ or one.outcome == CONFLICT or (one.kind is Kind.REMOVE and one.outcome == MISS)


def _done(state: State, after: State, one: Exchange, *, holds: bool) -> State | None:
    """What becomes of a state where something is done if its condition holds."""
    if not one.is_sure:
        return after if holds else None
    if one.outcome == OK:
        return after if holds else None
    return state if one.outcome == CONFLICT and not holds else None


def _unknown_lease(take: Exchange) -> str:
    """A name for the lease that a take has got which was not answered."""
    return f"? of client {take.client} at {take.started}"


def _ends_of_leases(history: Sequence[Exchange]) -> Mapping[str, tuple[float, float]]:
    """When each lease ends with its time: not before one moment, and surely by another."""
    ends: dict[str, tuple[float, float]] = {}
    for take in history:
        if take.kind is not Kind.TAKE:
            continue
        seconds = take.number / 1000
        if take.is_granted:
            assert take.told is not None
            if take.told in ends:
                raise _ImpossibleError("a lease was given twice", take)
            ends[take.told] = (take.started + seconds - SLACK, take.ended + seconds + SLACK)
        if not take.is_sure:
            ends[_unknown_lease(take)] = (take.started + seconds - SLACK, math.inf)
    return ends


def _values_of_versions(history: Sequence[Exchange]) -> Mapping[str, bytes]:
    """Which value each version is of: as READs tell, and those that have written with a version."""
    written: set[bytes] = set()
    for one in history:
        if one.kind in (Kind.WRITE, Kind.CREATE, Kind.SWAP, Kind.FILL) and one.outcome != CONFLICT:
            assert one.value is not None
            if one.value in written:
                raise ValueError(f"{one.value!r} was written twice to {one.key!r}")
            written.add(one.value)
    values: dict[str, bytes] = {}
    versions: dict[bytes, str] = {}
    for one in history:
        if not one.is_sure or one.value is None:
            continue
        if one.kind in (Kind.READ, Kind.TAKE) and one.value not in written:
            raise _ImpossibleError("a value was read that was never written", one)
        if one.told is None or one.kind not in (Kind.READ, Kind.SWAP):
            continue
        if values.setdefault(one.told, one.value) != one.value or versions.setdefault(one.value, one.told) != one.told:
            raise _ImpossibleError("a value has two versions, or a version two values", one)
    return values
