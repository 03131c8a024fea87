"""The search for an order of one key's operations: what is put in order, and how.

Every value is written once, so a value's write and all reads of it stand next to each other in every order that
explains a history: they are one move (the zones of Gibbons and Korach). Between moves a key is only present or absent.
A write of unknown outcome that is never read, and a delete of unknown outcome, need not have happened; it is called
upon only just before an operation that cannot be explained without it. Of moves of a kind that could come next, the one
whose answer came first is tried alone: exchanging it with another never spoils an order. So without deletes there is
nothing to choose, and with them at most four moves at each step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

NOW_AND_EVER: Final = -math.inf


class Kind(IntEnum):
    """What a move needs and what it leaves behind."""

    VALUE = 0
    """A value's write and its reads: the key is present afterwards."""
    TAKE = 1
    """A delete that found the key: it was present and is absent."""
    ERASE = 2
    """A delete that says nothing of what it found: the key is absent afterwards."""
    ABSENT = 3
    """A read or delete that found nothing: the key is absent, before and after."""


@dataclass(slots=True)
class Move:
    """Operations that are put in order as one. Another move comes before it if it ends before `starts`.

    `starts`: when the last of the operations was begun. `ends`: when the first of them was answered.
    """

    kind: Kind
    starts: float
    ends: float
    value: bytes | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A move that may come next, perhaps just after a spare write or delete."""

    move: int
    spare_writes: int = 0
    spare_deletes: int = 0


@dataclass(slots=True)
class _Step:
    """What is needed to take a choice back and try the next."""

    choice: Choice
    others: Sequence[Choice]
    was_present: bool
    furthest: int


@dataclass(slots=True)
class Search:
    """A depth-first search over orders, after Wing and Gong, which remembers where it has been, as Lowe's does.

    `run` gives True if there is an order, False if there is none, None if the budget of steps was used up.
    """

    moves: list[Move]
    spare_writes: list[float] = field(default_factory=list)
    """When the writes of unknown outcome that nobody read were begun, in order."""
    spare_deletes: list[float] = field(default_factory=list)
    """The same of deletes of unknown outcome."""
    steps: int = 0
    stuck_at: list[Move] = field(default_factory=list)
    """The first moves, by their ends, that were left when most of them had a place."""
    _seen: dict[tuple[int, bytes, bool], list[tuple[int, int]]] = field(default_factory=dict)
    """Where the search has been: what had a place, whether the key was present, how many spare operations were used."""
    _next: list[int] = field(default_factory=list)
    _previous: list[int] = field(default_factory=list)
    _placed: bytearray = field(default_factory=bytearray)
    _furthest: int = -1
    """No move beyond it has a place."""
    _count: int = 0
    _most: int = -1
    _present: bool = False
    _used_writes: int = 0
    _used_deletes: int = 0

    def __post_init__(self) -> None:
        self.moves.sort(key=lambda move: move.ends)
        self._placed = bytearray(len(self.moves))
        self._link()

    def _link(self) -> None:
        """A doubly linked list of what happened when: move `n` starts in entry 2n and ends in entry 2n + 1."""
        count = len(self.moves)
        times = [time for move in self.moves for time in (move.starts, move.ends)]
        # What happens at the same moment is taken to be at the same time: starts come first.
        order = sorted(range(2 * count), key=lambda entry: (times[entry], entry & 1))
        circle = [2 * count, *order, 2 * count]
        self._next, self._previous = [0] * (2 * count + 1), [0] * (2 * count + 1)
        for before, after in itertools.pairwise(circle):
            self._next[before], self._previous[after] = after, before

    def run(self, budget: int) -> bool | None:
        """Look for an order, in at most so many steps."""
        self._seen.clear()
        path: list[_Step] = []
        while self._count < len(self.moves):
            if self.steps >= budget:
                return None
            choices, first = self._choices()
            if len(choices) > 1:
                if self._was_here(first):
                    choices = []
            elif not choices and self._count > self._most:
                self._most = self._count
                self.stuck_at = [self.moves[number] for number in self._left(first, 4)]
            while not choices:
                if not path:
                    return False
                choices = self._undo(path.pop())
            path.append(_Step(choices[0], choices[1:], self._present, self._furthest))
            self._do(choices[0])
        return True

    def _was_here(self, first: int) -> bool:
        """Whether the same moves had their places before, in the same state, with no fewer spare operations left."""
        here = (first, bytes(self._placed[first : self._furthest + 1]), self._present)
        writes, deletes = self._used_writes, self._used_deletes
        known = self._seen.setdefault(here, [])
        if any(used[0] <= writes and used[1] <= deletes for used in known):
            return True
        known.append((writes, deletes))
        return False

    def _left(self, first: int, count: int) -> list[int]:
        found = (number for number in range(first, len(self.moves)) if not self._placed[number])
        return [number for number, _ in zip(found, range(count), strict=False)]

    def _choices(self) -> tuple[Sequence[Choice], int]:
        """What may come next, the most urgent first; and the first of all moves that are left."""
        best, first = self._possible()
        moves, limit = self.moves, self.moves[first].ends
        value, take, erase, absent = best
        if absent >= 0 and not self._present:
            return (Choice(absent),), first
        found = [Choice(move) for move in (value, erase) if move >= 0]
        if take >= 0:
            if self._present:
                found.append(Choice(take))
            elif _is_begun(self.spare_writes, self._used_writes, limit):
                found.append(Choice(take, spare_writes=1))
        if absent >= 0 and _is_begun(self.spare_deletes, self._used_deletes, limit):
            found.append(Choice(absent, spare_deletes=1))
        if len(found) > 1:
            found.sort(key=lambda choice: moves[choice.move].ends)
        return found, first

    def _possible(self) -> tuple[list[int], int]:
        """For each kind the earliest move that no other has to precede, or -1; and the first of all that are left."""
        best = [-1, -1, -1, -1]
        following, moves = self._next, self.moves
        end = 2 * len(moves)
        entry = following[end]
        while not entry & 1:
            number = entry >> 1
            kind = moves[number].kind
            if best[kind] < 0 or number < best[kind]:
                best[kind] = number
            entry = following[entry]
        first = entry >> 1
        if moves[first].starts > moves[first].ends:
            # A value that was read again after its first answer: it alone does not have to wait for that answer.
            entry = following[entry]
            while not entry & 1 and entry != end:
                if entry >> 1 == first:
                    best[moves[first].kind] = first
                    break
                entry = following[entry]
        return best, first

    def _do(self, choice: Choice) -> None:
        following, previous = self._next, self._previous
        for entry in (2 * choice.move, 2 * choice.move + 1):
            before, after = previous[entry], following[entry]
            following[before], previous[after] = after, before
        self._present = self.moves[choice.move].kind is Kind.VALUE
        self._used_writes += choice.spare_writes
        self._used_deletes += choice.spare_deletes
        self._placed[choice.move] = 1
        self._furthest = max(self._furthest, choice.move)
        self._count += 1
        self.steps += 1

    def _undo(self, step: _Step) -> Sequence[Choice]:
        following, previous = self._next, self._previous
        choice = step.choice
        for entry in (2 * choice.move + 1, 2 * choice.move):
            before, after = previous[entry], following[entry]
            following[before], previous[after] = entry, entry
        self._present, self._furthest = step.was_present, step.furthest
        self._used_writes -= choice.spare_writes
        self._used_deletes -= choice.spare_deletes
        self._placed[choice.move] = 0
        self._count -= 1
        return step.others


def _is_begun(spare: Sequence[float], used: int, limit: float) -> bool:
    """Whether one more of the spare operations, after those that are used, was begun by then."""
    return used < len(spare) and spare[used] <= limit
