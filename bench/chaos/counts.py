"""Is what clients were told of a counter what one counter could have told them?

INCRs commute, so nothing has to be searched: what a request was told is its place in the order. What is left is to ask
whether places are in time, and whether those that nobody was told can be those of requests of unknown outcome.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bench.chaos.exchanges import Exchange, Kind, Unexplained, effective

ALL_BITS: Final = 63
"""So many different bits a counter has room for: their sum is the largest number."""


def check_counts(exchanges: Iterable[Exchange]) -> list[Unexplained]:
    """The counters, absent at first, that one by one were counted up by 1, and are not explained."""
    return _check(exchanges, _explain_ones)


def check_bits(exchanges: Iterable[Exchange]) -> list[Unexplained]:
    """The same of counters to which each request has added another power of two: each number tells who was before."""
    return _check(exchanges, _explain_bits)


_Explain = Callable[[Sequence[Exchange], Sequence[Exchange]], None]


class _WrongError(Exception):
    """What cannot be explained, and by which exchanges."""

    def __init__(self, reason: str, *about: Exchange) -> None:
        super().__init__(reason)
        self.about = about


def _check(exchanges: Iterable[Exchange], explain: _Explain) -> list[Unexplained]:
    by_key: dict[bytes, list[Exchange]] = {}
    for one in effective(exchanges):
        by_key.setdefault(one.key, []).append(one)
    found = []
    for key, history in by_key.items():
        try:
            explain(_marks(history), [one for one in history if not one.is_sure])
        except _WrongError as wrong:
            about = sorted(wrong.about, key=lambda one: one.started)
            found.append(Unexplained(key, str(wrong), tuple(about)))
    return found


def _marks(history: Sequence[Exchange]) -> list[Exchange]:
    """What was told, by how much: those that counted, then those that read what was there then. It must be in time."""
    marks = [one for one in history if one.is_sure]
    marks.sort(key=lambda one: (_told(one), one.kind is Kind.READ, one.started))
    latest = None
    for mark in marks:
        if latest is not None and mark.ended < latest.started:
            raise _WrongError("more was told before less", mark, latest)
        if latest is None or mark.started > latest.started:
            latest = mark
    return marks


def _told(one: Exchange) -> int:
    """The number that a mark was told; 0 for a key that was absent."""
    number = one.count if one.value is not None else 0
    if number < (1 if one.kind is Kind.COUNT else 0):
        raise _WrongError("a number that no additions give", one)
    return number


def _deadlines(marks: Sequence[Exchange]) -> list[float]:
    """For each mark: by when what it and those behind it were told had happened."""
    found = [math.inf] * (len(marks) + 1)
    for place in range(len(marks) - 1, -1, -1):
        found[place] = min(found[place + 1], marks[place].ended)
    return found


def _explain_ones(marks: Sequence[Exchange], unknown: Sequence[Exchange]) -> None:
    """Raises _WrongError. The missing numbers, the smallest first, are those of the unknown, the earliest first."""
    deadlines = _deadlines(marks)
    spare = sorted(unknown, key=lambda one: one.started)
    used = number = 0
    for place, mark in enumerate(marks):
        missing = _told(mark) - number - (mark.kind is Kind.COUNT)
        if missing < 0:
            raise _WrongError("a number was told twice", mark, marks[place - 1])
        used += missing
        if used > len(spare):
            raise _WrongError("more was counted than was asked for", mark, *marks[place - 1 : place])
        if missing and spare[used - 1].started > deadlines[place]:
            raise _WrongError("it was told before it was asked for", mark, spare[used - 1])
        number = _told(mark)


def _explain_bits(marks: Sequence[Exchange], unknown: Sequence[Exchange]) -> None:
    """Raises _WrongError."""
    deadlines = _deadlines(marks)
    spare = {one.number: one for one in unknown}
    number = 0
    for place, mark in enumerate(marks):
        told, own = _told(mark), mark.number if mark.kind is Kind.COUNT else 0
        if number & ~told:
            raise _WrongError("what had been added is not there any more", mark, marks[place - 1])
        if own & number or own & ~told:
            raise _WrongError("what it has added was there before, or is not there", mark, *marks[:place][-1:])
        for bit in _bits(told & ~number & ~own):
            if bit not in spare:
                raise _WrongError(f"{bit} was added by nobody, or only later", mark)
            if spare[bit].started > deadlines[place]:
                raise _WrongError("it was told before it was asked for", mark, spare[bit])
        number = told


def _bits(number: int) -> list[int]:
    return [1 << place for place in range(number.bit_length()) if number >> place & 1]
